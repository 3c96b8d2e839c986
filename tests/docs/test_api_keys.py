"""The commands of docs/api-keys.md do what the page says."""

import re
import shlex
from pathlib import Path

import pytest

from extauthz.cli import main
from extauthz.identity.api_key_form import key_id_of
from tests.conftest import PROJECT

PAGE = (PROJECT / "docs" / "api-keys.md").read_text()
COMMANDS = re.findall(r"^\$ extauthz (keys api .*)$", PAGE, re.MULTILINE)


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of the page, with the id of the key that was made in place of the one that is shown."""
    monkeypatch.chdir(tmp_path)
    assert [command.split()[2] for command in COMMANDS] == ["create", "list", "revoke", "create"]
    made = ""
    for command in COMMANDS:
        assert main(shlex.split(command.replace("eak_7Ht2kQ9xWbLm", made))) == 0, command
        shown = capsys.readouterr().out
        made = key_id_of(shown.strip()) or made
        assert made in shown


def test_the_form_of_the_page_is_that_of_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pattern for scanners finds a key, in the middle of a text as well."""
    main(["keys", "api", "create", "--file", str(tmp_path / "k.yaml"), "--subject", "a"])
    key = capsys.readouterr().out.strip()
    [pattern] = re.findall(r"`(eak_\[[^`]*)`", PAGE)
    assert re.findall(pattern, f'curl -H "x-api-key: {key}"') == [key]
