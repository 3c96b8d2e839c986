"""Compiles the rooms of the decision path to machine code, beside their sources, which stay what is written and read.

Model: mypyc takes modules as they are, with the types that mypy has checked anyway, and writes C for the interpreter that
runs this script. Python imports an extension module before the .py file of the same name, so whoever has built them runs
them, and whoever removes them runs the sources again: nothing else changes, and all tests pass with both
(docs/decisions/0017).

Trade-off: what is compiled takes no monkeypatching, checks types of arguments when it is called, and is stale as soon as a
source changes (`make compiled` again, or `make pure`). So it is for servers whose CPU counts, and not for development.

    python compiled/build.py             compile; about a minute, needs a C compiler and the headers of Python
    python compiled/build.py --remove    remove what it made

Needs mypy and setuptools of the dependency group `compiled`.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
GROUP = "extauthz"
"""What mypyc calls the module that holds all the code, with `__mypyc` added; it stands beside the package."""

ROOMS = (
    ("canonical", "address", "charge", "header", "host", "path"),
    ("check", "journey", "request"),
    ("identity", "authenticator", "token_cache"),
    ("limits", "memory", "window"),
    (
        "policy",
        "callers",
        "coverage",
        "facts",
        "masks",
        "meter",
        "path_trie",
        "paths",
        "patterns",
        "policy",
        "response",
    ),
    ("policy", "rule", "selection", "snapshot", "words"),
    ("serving", "handler"),
    ("telemetry", "answered", "loaded", "observer", "phases", "record", "sampled"),
    ("wire", "allowed", "decode", "encode", "rate_limits", "tags", "usual"),
)
"""What a warm Check walks through, but for `model` and `credentials`: the interpreter makes their values as fast, and mypyc
compares values of classes with a decorator that it does not know, such as theirs, by identity."""


def sources() -> list[str]:
    """The modules to compile, as paths from the project's folder."""
    return [f"extauthz/{room}/{name}.py" for room, *names in ROOMS for name in names]


def built() -> Iterator[Path]:
    """The extension modules that are there."""
    yield from PROJECT.glob(f"{GROUP}__mypyc.*")
    for folder in {(PROJECT / source).parent for source in sources()}:
        for suffix in (".so", ".pyd"):
            yield from folder.glob(f"*{suffix}")


def remove() -> int:
    """Remove the extension modules; how many there were."""
    found = list(built())
    for file in found:
        file.unlink()
    return len(found)


def build() -> None:
    """Compile. Raises SystemExit with what the compilers said."""
    from mypyc.build import mypycify
    from setuptools import Distribution  # type: ignore[import-untyped]

    remove()
    os.chdir(PROJECT)
    told = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="extauthz-compiled-") as folder, contextlib.redirect_stdout(told):
        try:
            extensions = mypycify(sources(), opt_level="3", debug_level="0", group_name=GROUP, target_dir=folder)
            command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
            command.inplace, command.build_temp, command.build_lib = True, folder, folder
            command.ensure_finalized()
            command.run()
        except (SystemExit, Exception):
            remove()
            sys.stderr.write(told.getvalue())
            raise


def main() -> int:
    """Build or remove."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remove", action="store_true", help="remove the extension modules")
    if parser.parse_args().remove:
        print(f"removed {remove()} extension modules")
        return 0
    build()
    print(f"compiled {len(sources())} modules for Python {sys.version.split()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
