"""Secrets are looked for in all that the servers of a test run wrote, at its end: whatever test started them (I6, X1).

What is looked for is what has the shape of a secret of ours, and what a test has named as one with ``secret``: client
secrets, tokens, cookies, keys. Where it is looked for is every file below the folders of the run, but for those that are
secrets themselves (``KEEPERS``, and what ``keeps_secrets`` names), what tests have printed, and what ``heard`` was given:
pages and spans that are in no file. One that is found fails the run.

A secret is found where it stands by itself, as in a header, a URL or JSON, and not glued to other letters. That makes one
pass over the files enough, however many secrets there are.
"""

import re
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

__all__ = ["Canaries", "heard", "keeps_secrets", "pages_of", "secret"]

_WORD: Final = re.compile(rb"[A-Za-z0-9_-]{16,}")
"""What of a secret is looked for; a token has several."""
SHAPES: Final = {
    "a JWT": rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{20,}",
    "a refresh token": rb"\bert_[\w-]{40,}",
    "an API key": rb"\beak_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}",
    "a token of Vault": rb"\b(?:hv)?s\.[A-Za-z0-9]{24}\b",
    "a private key": rb"-----BEGIN (?:EC |RSA )?PRIVATE KEY-----\\?\w?\s*[\w+/]{20}",
}
_SHAPES: Final = re.compile(b"|".join(b"(%s)" % shape for shape in SHAPES.values()))
KEEPERS: Final = ("*secret*", "*token*", "*.pem", "*.key", "*.jwk", "*.p12", "*.binpb", "role-id")
"""Names of files and folders that are secrets themselves, and of captured requests, which have some."""
_DOTS: Final = 2
"""In a JWT."""
_SHOWN: Final = 40
_PART: Final = 16 * 1024 * 1024


class Canaries:
    """What is secret, and where it was seen."""

    def __init__(self) -> None:
        """Nothing is known, nothing was seen."""
        self._words: dict[bytes, str] = {}
        self._keepers: set[Path] = set()
        self._lock = threading.Lock()
        self.seen: list[str] = []

    def add(self, value: str, what: str) -> None:
        """Look for a secret. Raises ValueError if it is so short that it could stand somewhere by chance."""
        # The header of a JWT is the same in many, and no secret.
        told = value.partition(".")[2] if value.count(".") == _DOTS else value
        words = _WORD.findall(told.encode())
        if not words:
            message = f"{what} has no 16 letters in a row"
            raise ValueError(message)
        with self._lock:
            self._words.update(dict.fromkeys(words, what))

    def keep(self, path: Path) -> None:
        """Leave out a file or folder."""
        self._keepers.add(path)

    def look(self, where: str, text: bytes) -> None:
        """Look at a text."""
        found = {self._words[word] for word in set(_WORD.findall(text)) & self._words.keys()}
        found |= {list(SHAPES)[match.lastindex - 1] for match in _SHAPES.finditer(text) if match.lastindex}
        self.seen += (f"{where}: {what}" for what in sorted(found))

    def look_below(self, folder: Path) -> None:
        """Look at all files of a folder that has one for each test, whose name tells nothing."""
        for path in self._files(folder, ()):
            try:
                with path.open("rb") as file:
                    rest = b""
                    while part := file.read(_PART):
                        self.look(str(path.relative_to(folder)), rest + part)
                        rest = part[-4096:]
            except OSError:
                continue  # it went away, or is a socket

    def _files(self, folder: Path, keepers: Iterable[str] = KEEPERS) -> Iterator[Path]:
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            return
        for path in entries:
            if path.is_symlink() or path in self._keepers or any(path.match(name) for name in keepers):
                continue
            if path.is_dir():
                yield from self._files(path)
            elif path.is_file():
                yield path


_canaries: Final = Canaries()


def secret(value: str, what: str = "a secret") -> str:
    """Look for this at the end of the run; gives it back."""
    _canaries.add(value, what)
    return value


def keeps_secrets(path: Path) -> Path:
    """Leave out a file or folder that has secrets because that is what it is for; gives it back."""
    _canaries.keep(path)
    return path


def heard(where: str, text: str) -> None:
    """Look at what is in no file."""
    _canaries.look(where, text.encode())


def pages_of(admin: str, paths: Iterable[str] = ("/metrics", "/readyz?verbose", "/activity")) -> None:
    """Look at what the admin listener of a server shows, if it still runs."""
    for path in paths:
        try:
            with urllib.request.urlopen(f"http://{admin}{path}", timeout=5) as answer:
                heard(f"{admin}{path}", answer.read().decode())
        except OSError:
            continue


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Look at what a test has printed, and what servers in its process did. What pytest itself collects of the log has not been
    through the server's masking.
    """
    for name, text in report.sections:
        if not name.startswith("Captured log"):
            heard(f"{report.nodeid}, {name}", text)


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """At the end of the run."""
    yield
    _canaries.look_below(tmp_path_factory.getbasetemp())
    if _canaries.seen:
        pytest.fail("\n".join(["secrets were told:", *_canaries.seen[:_SHOWN]]), pytrace=False)
