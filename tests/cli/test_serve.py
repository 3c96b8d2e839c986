import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from extauthz.documents import read_documents

Command = Callable[..., Any]


def shown(text: str) -> list[str]:
    """The indented blocks of a text."""
    return re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)


def test_serves_the_configuration(run: Command, app: Any) -> None:
    """The server gets the configuration, and its exit code is the command's."""
    Path("mine.yaml").write_text("check: {grace: 1s}", "utf-8")
    app.code = 0
    assert run("serve", "--config", "mine.yaml").code == 0
    assert run("serve", "-c", "mine.yaml").code == 0
    assert [served.check.grace for served in app.served] == [1.0, 1.0]


@pytest.mark.parametrize("text", ["check: {deadlin: 1s}", "- a"])
def test_broken_configuration(run: Command, app: Any, text: str) -> None:
    """A configuration that can't be used stops the start: problems on standard error, exit code 2."""
    Path("extauthz.yaml").write_text(text, "utf-8")
    result = run("serve")
    assert (result.code, result.out, app.served) == (2, "", [])
    assert result.err.startswith("extauthz.yaml:1:")
    assert result.err.endswith("extauthz: 1 problem to mend first (see extauthz validate)\n")


@pytest.mark.parametrize("folder", ["missing", "empty", "other files"])
def test_first_steps(run: Command, app: Any, folder: str) -> None:
    """Without a policy it says how to begin, and serves: everything is denied."""
    if folder != "missing":
        Path("policies").mkdir()
    if folder == "other files":
        Path("policies/.hidden.yaml").touch()
        Path("policies/README.md").touch()
    result = run("serve")
    assert result.code == 0
    assert len(app.served) == 1
    assert "every request is denied" in result.err
    assert "policies/first.yaml" in result.err


def test_first_steps_are_right(run: Command, app: Any) -> None:
    """The policy that it shows is one, in the group that is configured."""
    Path("extauthz.yaml").write_text("policies: {group: policy.example}", "utf-8")
    policy, _ = shown(run("serve").err)
    [document], problems = read_documents(policy, "shown")
    assert not problems
    assert document.value == {
        "apiVersion": "policy.example/v1",
        "kind": "AuthPolicy",
        "metadata": {"name": "first"},
        "spec": {"rules": [{"role": "user"}]},
    }


def test_first_provider(run: Command, app: Any) -> None:
    """Without a provider no token is good for anything: it shows one, which can be pasted into the configuration."""
    _, provider = shown(run("serve").err)
    Path("extauthz.yaml").write_text(dedent(provider), "utf-8")
    assert "vouches" not in run("serve").err
    assert [one.name for one in app.served[-1].providers] == ["corporate"]


@pytest.mark.parametrize("name", ["a.yaml", "b.yml"])
def test_no_first_steps(run: Command, app: Any, name: str) -> None:
    """With a policy it says nothing of the kind."""
    Path("policies").mkdir()
    Path("policies", name).touch()
    assert run("serve").err == ""
