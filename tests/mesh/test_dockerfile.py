"""The Dockerfile: valid, locked, with no compiler in what it makes, and its commands do what they say."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesh.proxy import PROJECT
from tests.mesh.conftest import tool_path


@dataclass
class Stage:
    """One FROM, with what follows it."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def arguments(self, instruction: str) -> list[str]:
        """Of each instruction of this kind."""
        return [argument for name, argument in self.instructions if name == instruction]


def stages() -> dict[str, Stage]:
    """Of the Dockerfile, by name."""
    text = re.sub(r"^#.*\n", "", (PROJECT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    found: dict[str, Stage] = {}
    for line in filter(None, text.splitlines()):
        instruction, _, argument = line.partition(" ")
        if instruction == "FROM":
            base, _, name = argument.partition(" AS ")
            found[name] = Stage(name, base)
        else:
            [*found.values()][-1].instructions.append((instruction, argument))
    return found


STAGES = stages()
IGNORED = (PROJECT / ".dockerignore").read_text().splitlines()
BUILDING = ("locked", "compiler", "build")
"""Those that run commands on what is copied, in their order."""


def test_it_passes_hadolint() -> None:
    linter = tool_path("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed")
    checked = subprocess.run(
        [linter, str(PROJECT / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_what_it_copies_is_there_and_is_sent() -> None:
    """`.dockerignore` leaves out everything that it does not name."""
    sent = {line[1:].rstrip("/") for line in IGNORED if line[0] == "!"}
    copied = {
        source
        for stage in STAGES.values()
        for argument in stage.arguments("COPY")
        if not argument.startswith("--from=")
        for source in shlex.split(argument)[:-1]
    }
    assert sent == copied
    assert all((PROJECT / source).exists() for source in copied)


def test_nothing_is_fetched_that_is_not_locked() -> None:
    """Packages by their hashes or from the stage before, and no package of the system."""
    commands = [command for stage in STAGES.values() for run in stage.arguments("RUN") for command in run.split(" && ")]
    assert not [command for command in commands if re.search(r"\b(apt|apt-get|curl|wget|git)\b", command)]
    installing = [command for command in commands if " pip " in command]
    assert len(installing) == 4
    for command in installing:
        words = set(command.split())
        assert {"--no-index", "--require-hashes"} & words or {"--no-deps", "--no-build-isolation"} <= words, command


def test_only_a_wheel_leaves_the_compiler() -> None:
    """Neither the C compiler nor mypy is in an image."""
    copied = [argument for stage in STAGES.values() for argument in stage.arguments("COPY")]
    assert [argument for argument in copied if "compiler" in argument] == ["--from=compiler /wheels /wheels"]
    assert "compiler" not in {stage.base for stage in STAGES.values()}


def test_one_python_compiles_and_runs() -> None:
    """Machine code is for one minor version of it, and one C library."""
    images = {stage.base.removesuffix("-bookworm").removesuffix("-slim") for stage in STAGES.values()} - set(STAGES)
    assert len(images) == 1
    assert all("-bookworm" in stage.base for stage in STAGES.values() if stage.base not in STAGES)


def test_the_compiler_is_the_one_that_is_tested() -> None:
    """What the image is compiled with, `make compiled` uses too."""
    locks = [(PROJECT / "requirements" / name).read_text() for name in ("compiled.txt", "dev.txt")]
    image, dev = (dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)) for lock in locks)
    assert {"mypy", "setuptools"} <= image.keys()
    assert image.items() <= dev.items()


@pytest.fixture
def file_systems() -> Iterator[Path]:
    """Apart from what tests leave behind, which is searched for secrets: half a gigabyte would take minutes."""
    with tempfile.TemporaryDirectory(prefix="extauthz-image-") as folder:
        yield Path(folder)


@pytest.mark.system("gcc")
@pytest.mark.timeout(1800)
@pytest.mark.skipif("IMAGE" not in os.environ, reason="installs and compiles for minutes: make soak does")
def test_its_commands_make_a_compiled_server(file_systems: Path) -> None:
    """All that its build stages run, each in a folder that stands for its file system."""
    python = file_systems / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]} "$@"\n')
    python.chmod(0o755)
    environment = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PIP_QUIET": "1"}
    for name in BUILDING:
        root = file_systems / name
        if STAGES[name].base in BUILDING:
            shutil.copytree(file_systems / STAGES[name].base, root, symlinks=True)
        (root / "src").mkdir(parents=True, exist_ok=True)
        for instruction, argument in STAGES[name].instructions:
            if instruction == "COPY":
                _copy(argument, root, file_systems)
            elif instruction == "RUN":
                there = re.sub(r"(?<![\w.])/(opt|wheels)\b", rf"{root}/\1", argument)
                subprocess.run(there, shell=True, cwd=root / "src", env=environment, check=True)
            else:
                assert (instruction, argument) == ("WORKDIR", "/src")
    installed = file_systems / "build" / "opt" / "extauthz"
    told = subprocess.run(
        [installed / "bin" / "python", "-m", "extauthz", "version", "--output", "json"],
        cwd=file_systems,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(told.stdout)["compiled"] is True
    assert not [*installed.glob("lib/*/site-packages/mypy*")]


def _copy(argument: str, root: Path, stages: Path) -> None:
    """COPY, into the folder of a stage: from another one, or of the checkout what is sent of it."""
    *sources, target = shlex.split(argument)
    if sources[0].startswith("--from="):
        folder = stages / sources.pop(0).removeprefix("--from=")
        shutil.copytree(folder / sources[0].lstrip("/"), root / target.lstrip("/"), symlinks=True)
        return
    kept_back = [line.removeprefix("**/") for line in IGNORED if line.startswith("**/")]
    for source in sources:
        place = root / "src" / source
        if (PROJECT / source).is_dir():
            shutil.copytree(PROJECT / source, place, ignore=shutil.ignore_patterns(*kept_back))
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / source, place)
