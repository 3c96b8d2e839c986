import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extauthz import __version__, envoy_config
from extauthz.errors import ServingError

Command = Callable[..., Any]
PROJECT = Path(__file__).resolve().parent.parent.parent


def test_alone(run: Command) -> None:
    """Without a command it tells which there are."""
    result = run()
    assert result.code == 0
    for command in ("serve", "validate", "envoy-config", "version"):
        assert command in result.out


@pytest.mark.parametrize("command", ["", "serve", "validate", "envoy-config", "version"])
def test_help(run: Command, command: str) -> None:
    """Every command has help with an example."""
    result = run(*command.split(), "--help")
    assert result.code == 0
    assert f"Example: extauthz {command}".rstrip() in result.out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nope"], "nope"),
        (["serve", "--nope"], "--nope"),
        (["serve", "file.yaml"], "file.yaml"),
        (["serve", "--config"], "--config"),
        (["validate", "--output", "xml"], "xml"),
        (["envoy-config"], "KIND"),
        (["envoy-config", "nginx"], "nginx"),
        (["version", "--output"], "--output"),
    ],
)
def test_wrong_use(run: Command, app: Any, argv: list[str], words: str) -> None:
    """Wrong use is one line on standard error, and exit code 2."""
    result = run(*argv)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("extauthz: ")
    assert words.lower() in result.err.lower()
    assert result.err.count("\n") == 1


def test_wrong_use_names_the_help_of_the_command(run: Command, app: Any) -> None:
    """The help that is named is the one that helps."""
    assert run("serve", "extra", "words").err == (
        "extauthz: there is no place for 'extra words' (see extauthz serve --help)\n"
    )
    assert run("nope").err.endswith("(see extauthz --help)\n")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["token", "mint"], "--subject is missing (see extauthz token mint --help)"),
        (["token", "client", "add"], "ID is missing (see extauthz token client add --help)"),
        (["serve", "--config"], "--config needs a value (see extauthz serve --help)"),
        (["agent", "--service", "https://x", "--grant"], "--grant needs a value (see extauthz agent --help)"),
    ],
)
def test_what_is_missing_is_said_in_the_words_of_the_help(run: Command, argv: list[str], told: str) -> None:
    """And nothing of how commands are built."""
    assert run(*argv).err == f"extauthz: {told}\n"


@pytest.mark.parametrize("command", ["agent", "token client add", "audit verify", "explain"])
def test_help_says_what_matters(run: Command, command: str) -> None:
    """No default that is nothing, no variable beside each option."""
    told = run(*command.split(), "--help").out
    for noise in ('default: ""', "default: False", "env var", "EXTAUTHZ_AGENT_TOKEN"):
        assert noise not in told


def test_version(run: Command) -> None:
    """The version is told to people and to programs."""
    assert run("version").out.startswith(f"extauthz {__version__}\n")
    written = json.loads(run("version", "--output", "json").out)
    assert written["extauthz"] == __version__
    assert written["libraries"]["pydantic"]
    assert run("--version").out.strip() == __version__


def test_version_tells_the_form(run: Command) -> None:
    """Whether Checks are decided by what `make compiled` has made, or by the sources."""
    machine_code = not str(sys.modules["extauthz.wire.usual"].__file__).endswith(".py")
    told = "decision path compiled" if machine_code else "decision path from sources"
    assert told in run("version").out.splitlines()
    assert json.loads(run("version", "--output", "json").out)["compiled"] is machine_code


def test_interrupt(run: Command, app: Any) -> None:
    """Ctrl-C ends a command without a word, with the code that shells give it."""
    app.code = KeyboardInterrupt()
    result = run("serve")
    assert result.code == 130
    assert "Traceback" not in result.err


def test_errors_are_one_line(run: Command, app: Any) -> None:
    """An error that was foreseen is a line and exit code 2, and can't write control characters to the terminal."""
    app.code = ServingError("127.0.0.1:9000 is in use\x1b[2J")
    result = run("serve")
    assert result.code == 2
    assert result.err.endswith("extauthz: 127.0.0.1:9000 is in use\\x1b[2J\n")


@pytest.mark.parametrize("kind", envoy_config.names())
def test_envoy_config(run: Command, kind: str) -> None:
    """Each kind of configuration for proxies can be printed."""
    result = run("envoy-config", kind, "--authz", "authz.example:9999")
    assert result.code == 0
    assert "9999" in result.out


def test_envoy_config_takes_the_names_of_the_configuration(run: Command) -> None:
    """The proxy allows the headers that the configuration gives to policies."""
    Path("extauthz.yaml").write_text("headers: {allowed: [x-tenant]}", "utf-8")
    assert "x-tenant" in run("envoy-config", "filter").out


def test_envoy_config_refuses(run: Command) -> None:
    """A value that a kind has no place for is wrong use."""
    result = run("envoy-config", "istio", "--listen", "0.0.0.0:1")
    assert result.code == 2
    assert "no place for listen" in result.err


def _python(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_what_is_missing_is_named(run: Command) -> None:
    """An option that was not given is told apart from one without its value."""
    assert "extauthz: --file is missing (see extauthz keys api create --help)" in run("keys", "api", "create").err
    assert "--file needs a value" in run("keys", "api", "create", "--file").err


def test_module() -> None:
    """``python -m extauthz`` is the command line."""
    result = _python("-m", "extauthz", "version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("extauthz ")
    assert _python("-m", "extauthz", "nope").returncode == 2


def test_light_start() -> None:
    """Help and version load neither gRPC nor CEL nor OpenTelemetry, nor the models of the configuration."""
    heavy = ("grpc", "opentelemetry", "cel_expr_python", "prometheus_client", "jwt", "httpx2", "starlette", "pydantic")
    program = (
        "import sys; from extauthz.cli import main; main(['version']); main(['serve', '--help']); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert _python("-c", program).stdout.splitlines()[-1] == "[]"


def test_closed_pipe() -> None:
    """A reader that has enough, as ``head`` does, is no error to tell, and no success: a pipeline may want to know."""
    program = (
        "import os, sys; reader, writer = os.pipe(); os.dup2(writer, 1); os.close(writer); os.close(reader); "
        "from extauthz.cli import main; sys.exit(main(['envoy-config', 'envoy']))"
    )
    result = _python("-c", program)
    assert (result.returncode, result.stderr) == (141, "")
