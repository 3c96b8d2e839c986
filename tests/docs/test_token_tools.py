"""The commands of the pages about tokens and about the audit log run, in the order in which they stand there."""

import io
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from extauthz.cli import main
from tests.conftest import PROJECT

FAMILY = "AAECAwQFBgcICQoLDA0ODw"


def words_of(page: str, language: str) -> list[str]:
    text = (PROJECT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["token-tools.md", "audit.md"])
def test_the_commands_of_the_page(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the configuration of the page; a shell's `<` and `>` mean what they mean there."""
    monkeypatch.chdir(tmp_path)
    Path("extauthz.yaml").write_text(words_of(page, "yaml")[0])
    assert main(["keys", "rotate"]) == 0
    assert main(["token", "client", "add", "billing"]) == 0
    assert main(["token", "client", "remove", "billing"]) == 0
    if page == "token-tools.md":
        capsys.readouterr()
        assert main(["token", "mint", "--subject", "alice"]) == 0
        Path("token.txt").write_text(capsys.readouterr().out)
    lines = [line for block in words_of(page, "console") for line in block.splitlines()]
    assert len(lines) >= 3
    for line in lines:
        capsys.readouterr()
        words = shlex.split(line.removeprefix("$ extauthz "))
        if "<" in words:
            at = words.index("<")
            raw = io.BytesIO(Path(words[at + 1]).read_bytes())
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=raw, isatty=lambda: False))
            del words[at:]
        into = words.pop() if words[-2:-1] == [">"] else None
        words = words[:-1] if into else words
        code = main(words)
        # There are no refused events here, and no session of that name.
        none = "--refused" in words or FAMILY in words
        assert (code in (1, 2)) if none else code == 0, line
        if into:
            Path(into).write_text(capsys.readouterr().out)
