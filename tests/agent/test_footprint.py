"""What an agent carries: it runs beside each workload, so it imports what it uses and no more."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

FACES = ("extauthz.app", "extauthz.identity", "extauthz.serving", "extauthz.telemetry")
FOREIGN = (
    "cel_expr_python",
    "cryptography",
    "extauthz._pb",
    "extauthz.check",
    "extauthz.config",
    "extauthz.policy",
    "extauthz.stores",
    "extauthz.vault",
    "google.protobuf",
    "grpc",
    "hvac",
    "jwt",
    "opentelemetry",
    "pydantic",
    "redis",
    "sqlite3",
    "yaml",
)
"""Of these an agent with a secret has no need; together they were half of its memory and most of its time to start."""


AGENT = """
import sys
from extauthz.serving import PageServer, probe_app, token_app  # which --once leaves out
from extauthz.cli import main
code = main(["agent", *sys.argv[1:]])
print(*sys.modules, sep="\\n")
raise SystemExit(code)
"""


def test_an_agent_imports_what_it_uses(tmp_path: Path) -> None:
    """The whole way of an agent with a secret, up to a service that is not there."""
    (tmp_path / "secret").write_text("x" * 40)
    words = ["--service", "http://127.0.0.1:1", "--allow-http", "--client-id", "a", "--once", "--patience", "1s"]
    files = ["--client-secret-file", str(tmp_path / "secret"), "--token-file", str(tmp_path / "token")]
    told = subprocess.run(
        [sys.executable, "-c", AGENT, *words, *files],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if not name.startswith("EXTAUTHZ_")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert told.returncode == 1, told.stderr[-2000:]
    imported = set(told.stdout.split())
    assert {"extauthz.agent.keeper", "httpx2", "uvicorn", "extauthz.serving.token_page"} <= imported
    assert sorted(imported & set(FOREIGN)) == []


@pytest.mark.parametrize("package", FACES)
def test_a_face_has_what_it_says(package: str) -> None:
    """To type checkers, to ``import *``, and when it runs; each name leads to a thing and to no module."""
    room = importlib.import_module(package)
    assert room.__file__ is not None
    file = Path(room.__file__)
    tree = ast.parse(file.read_text())
    (told,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    homes = {alias.name: node.module for node in told.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    ((_, names),) = (
        (call, ast.literal_eval(call.args[1]))
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "face"
    )
    assert homes == {name: f"{package}.{module}" for module, said in names.items() for name in said.split()}
    assert set(homes) <= set(room.__all__)
    assert set(homes).isdisjoint(path.stem for path in file.parent.iterdir())
    for name in room.__all__:
        assert not isinstance(getattr(room, name), type(room)), name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        room.nothing  # noqa: B018 - the look-up is what is tried
