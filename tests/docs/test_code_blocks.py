"""What the documentation shows works: every block of YAML loads, every command exists."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from extauthz.cli import main
from extauthz.config import load_config
from extauthz.documents import read_documents
from extauthz.identity.api_key_records import read_records
from extauthz.policy import PolicySettings, PolicyText, load
from tests.conftest import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
LINKED = [
    *PAGES,
    PROJECT / "CHANGELOG.md",
    PROJECT / "bench" / "README.md",
    *(PROJECT / "docs" / "decisions").glob("*.md"),
]
COMMANDS = (
    "serve",
    "validate",
    "explain",
    "replay",
    "test",
    "bench",
    "top",
    "convert",
    "envoy-config",
    "keys",
    "token",
    "audit",
    "agent",
    "version",
)
SETTINGS = PolicySettings(providers=frozenset({"corporate", "own", "partner"}), mesh_providers=frozenset({"mesh"}))


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All blocks in these languages."""
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text()
        found += [
            Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])
            for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
            if match[1] in languages
        ]
    return found


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_blocks_load(block: Block, tmp_path: Path) -> None:
    """Policies compile, configurations are accepted, and the rest is YAML without surprises."""
    documents, problems = read_documents(block.text, str(block))
    assert problems == []
    for document in documents:
        if document.value.get("kind") == "AuthPolicy":
            load([PolicyText(str(block), block.text)], SETTINGS, 1)
        elif "keys" in document.value:
            assert read_records(block.text, str(block))[1] == []
        elif not {"kind", "meshConfig"} & document.value.keys():
            file = tmp_path / "extauthz.yaml"
            file.write_text(block.text)
            load_config(str(file), {})


def test_there_are_blocks() -> None:
    """The test above has something to read."""
    assert len(blocks("yaml")) >= 8


@pytest.mark.parametrize("block", blocks("console"), ids=str)
def test_commands_exist(block: Block) -> None:
    """``make`` targets are in the Makefile, subcommands have a help text."""
    makefile = (PROJECT / "Makefile").read_text()
    for line in block.text.splitlines():
        program, verb, *_ = line.removeprefix("$ ").split()
        if program == "make":
            assert re.search(rf"^{verb}:", makefile, re.MULTILINE), line
        elif program != "envoy":
            assert program == "extauthz"
            assert verb in COMMANDS, line


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and a line to copy."""
    assert main([verb, "--help"]) == 0
    assert "Example" in capsys.readouterr().out


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there, and a heading of it if it names one."""
    for target, heading in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text()):
        if "://" not in target:
            file = page.parent / target if target else page
            assert file.exists(), target
            assert not heading or heading in anchors(file), f"{target}#{heading}"


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def test_metrics_of_the_docs_are_real() -> None:
    """Every metric that a page or a rule names is one that the server has, as the page that is made of the code lists them."""
    listed = set(re.findall(r"`(extauthz_\w+)`", (PROJECT / "docs" / "metrics.md").read_text()))
    rules = PROJECT / "mesh" / "observability" / "rules.yaml"
    for page in (*PAGES, rules):
        for name in re.findall(r"(?<![\w.:/-])(extauthz_\w+)(?!\.\w)", page.read_text()):
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            assert {name, base} & listed or name.startswith("extauthz_agent_"), f"{page.name}: {name}"
