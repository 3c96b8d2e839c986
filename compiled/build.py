"""Compiles the rooms of the decision path to machine code, beside their sources, which stay what is written and read.

Model: mypyc takes modules as they are, with the types that mypy has checked anyway, and writes C for the interpreter that
runs this script. Python imports an extension module before the .py file of the same name, so whoever has built them runs
them, and whoever removes them runs the sources again: nothing else changes, and all tests pass with both
(docs/decisions/0017).

Trade-off: what is compiled takes no monkeypatching, checks types of arguments when it is called, and is stale as soon as a
source changes (`make compiled` again, or `make pure`). So it is for servers whose CPU counts, and not for development.

    python compiled/build.py                 compile; about a minute, needs a C compiler and the headers of Python
    python compiled/build.py --remove        remove what it made
    python compiled/build.py --into FOLDER   the same in a copy, which is made anew whenever a source has changed

Needs mypy and setuptools of the dependency group `compiled`.
"""

import argparse
import contextlib
import hashlib
import io
import os
import shutil
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
    ("identity", "authenticator", "credentials", "token_cache"),
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
"""What a warm Check walks through, but for `model` and other values: the interpreter makes them as fast, and mypyc compares
values of classes with a decorator that it does not know, such as theirs, by identity."""


def sources() -> list[str]:
    """The modules to compile, as paths from the project's folder."""
    return [f"extauthz/{room}/{name}.py" for room, *names in ROOMS for name in names]


def built(root: Path = PROJECT) -> Iterator[Path]:
    """The extension modules that are there."""
    yield from root.glob(f"{GROUP}__mypyc.*")
    for folder in {(root / source).parent for source in sources()}:
        for suffix in (".so", ".pyd"):
            yield from folder.glob(f"*{suffix}")


def remove(root: Path = PROJECT) -> int:
    """Remove the extension modules; how many there were."""
    found = list(built(root))
    for file in found:
        file.unlink()
    return len(found)


def build(root: Path = PROJECT) -> None:
    """Compile the package in this folder. Raises SystemExit with what the compilers said."""
    from mypyc.build import mypycify
    from setuptools import Distribution  # type: ignore[import-untyped]

    remove(root)
    os.chdir(root)
    told = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="extauthz-compiled-") as folder, contextlib.redirect_stdout(told):
        try:
            extensions = mypycify(sources(), opt_level="3", debug_level="0", group_name=GROUP, target_dir=folder)
            command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
            command.inplace, command.build_temp, command.build_lib = True, folder, folder
            command.ensure_finalized()
            command.run()
        except (SystemExit, Exception):
            remove(root)
            sys.stderr.write(told.getvalue())
            raise


def build_into(folder: Path) -> bool:
    """Compile a copy of the package in this folder, unless one is there of the same sources. Whether it was made anew."""
    made, stamp = folder / "made", _digest()
    if made.exists() and made.read_text() == stamp:
        return False
    if not made.exists() and folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} holds something else; name a folder that is not there")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PROJECT / GROUP, folder / GROUP, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pyd"))
    made.write_text("")  # from here on the folder is ours
    build(folder)
    made.write_text(stamp)
    return True


def _digest() -> str:
    """A checksum of what a copy is made of: all files of the package, this one, and the Python that runs it."""
    found = hashlib.sha256(sys.version.encode())
    package = (
        path for path in (PROJECT / GROUP).rglob("*") if path.is_file() and path.suffix not in {".pyc", ".so", ".pyd"}
    )
    for path in sorted([*package, Path(__file__)]):
        found.update(str(path.relative_to(PROJECT)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def main() -> int:
    """Build or remove."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remove", action="store_true", help="remove the extension modules")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="compile a copy, in this folder")
    asked = parser.parse_args()
    if asked.remove:
        print(f"removed {remove()} extension modules")
        return 0
    if asked.into is None:
        build()
    elif not build_into(asked.into.absolute()):
        return 0
    print(f"compiled {len(sources())} modules for Python {sys.version.split()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
