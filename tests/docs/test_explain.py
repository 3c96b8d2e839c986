"""docs/explain.md shows what the command really prints."""

import re
import shlex
from pathlib import Path

import pytest

from extauthz.cli import main
from tests.conftest import PROJECT

PAGE = (PROJECT / "docs" / "explain.md").read_text("utf-8")
YAML = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
[RECORD] = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
RUNS = re.findall(r"^```console\n\$ extauthz (.*?)\n```\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("command", "output"), RUNS, ids=[command for command, _ in RUNS])
def test_the_output_is_real(
    command: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the configuration, the policy and the record of the page."""
    monkeypatch.chdir(tmp_path)
    configuration, policy = YAML
    Path("extauthz.yaml").write_text(configuration, "utf-8")
    Path("policies").mkdir()
    Path("policies/orders.yaml").write_text(policy, "utf-8")
    Path("decisions.log").write_text(RECORD, "utf-8")
    assert main(shlex.split(command)) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (output, "")


def test_there_are_runs() -> None:
    """The test above has something to compare."""
    assert len(RUNS) == 3
