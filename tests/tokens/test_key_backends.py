"""The conformance suite over the backends that need no other server."""

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from extauthz.tokens.key_files import FileKeyBackend
from extauthz.tokens.mounted_keys import MountedKeyBackend
from extauthz.tokens.secret_key import SecretKeyBackend
from extauthz.tokens.signing_key import generate_key
from tests.conftest import PROJECT
from tests.tokens.key_backend_suite import KeyBackendSuite, Place
from tests.tokens.signing import MemoryBackend

SECRET = base64.b64encode(bytes(range(1, 64, 2))) + b"\n"


def pem_bodies(folder: Path) -> list[bytes]:
    """The middle line of each private key in a folder."""
    return [file.read_bytes().splitlines()[1] for file in folder.glob("*.pem") if file.stat().st_size]


def hidden(path: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """Make a path something that can't be read, and mend it."""
    aside = path.with_name(path.name + ".aside")

    def break_it() -> None:
        path.rename(aside)
        path.symlink_to(path)

    def mend() -> None:
        path.unlink()
        aside.rename(path)

    return break_it, mend


class TestFiles(KeyBackendSuite):
    """A folder of our own."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        folder = tmp_path / "keys"
        break_it, mend = hidden(folder)

        def back_up() -> Callable[[], None]:
            copy = tmp_path / f"backup{os.urandom(4).hex()}"
            shutil.copytree(folder, copy)

            def put_back() -> None:
                for file in copy.glob("*.pem"):
                    shutil.copy2(file, folder)

            return put_back

        return Place(
            open=lambda: FileKeyBackend(str(folder)),
            break_it=break_it,
            mend=mend,
            secrets=lambda: pem_bodies(folder),
            back_up=back_up,
            races=lambda newest, count: race(folder, newest, count),
        )


class TestMounted(KeyBackendSuite):
    """A Secret of Kubernetes."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        volume = tmp_path / "volume"
        volume.mkdir()
        for name, algorithm in (("previous", "EdDSA"), ("current", "ES256"), ("next", "RS256")):
            (volume / f"{name}.pem").write_bytes(generate_key(algorithm).pem())
        break_it, mend = hidden(volume)
        return Place(
            open=lambda: MountedKeyBackend(
                str(volume / "current.pem"), next_key=str(volume / "next.pem"), previous=str(volume / "previous.pem")
            ),
            break_it=break_it,
            mend=mend,
            secrets=lambda: pem_bodies(volume),
            lacks=frozenset({"rotation"}),
        )


class TestSecret(KeyBackendSuite):
    """A shared secret."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        file = tmp_path / "secret"
        file.write_bytes(SECRET)
        break_it, mend = hidden(file)
        return Place(
            open=lambda: SecretKeyBackend(str(file)),
            break_it=break_it,
            mend=mend,
            secrets=lambda: [SECRET.strip(), base64.b64decode(SECRET)],
            lacks=frozenset({"rotation", "public"}),
        )


class TestMemory(KeyBackendSuite):
    """The stand-in of other tests does what the real ones do."""

    @pytest.fixture
    def place(self) -> Place:
        backend = MemoryBackend()

        def break_it() -> None:
            backend.fault = "it is broken"

        def mend() -> None:
            backend.fault = ""

        return Place(open=lambda: backend, break_it=break_it, mend=mend, lacks=frozenset({"back up", "clock"}))


def race(folder: Path, newest: str | None, count: int) -> list[str]:
    """What came of it when this many processes made a key at once."""
    command = [sys.executable, "-m", "tests.tokens.adding", str(folder), newest or "", str(count)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=50, check=True).stdout.split()
