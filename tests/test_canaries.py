"""The search for secrets at the end of a run finds one that was planted."""

import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from mesh.proxy import PROJECT
from tests.canaries import Canaries, keeps_secrets

NAMED = "correct-horse-battery-staple"
TOKEN = jwt.encode({"sub": "alice", "aud": "orders"}, "k" * 32, "HS256")
TOLD = {
    "what a test has named": f"level=info password={NAMED}",
    "a JWT": f'{{"authorization": "Bearer {TOKEN}"}}',
    "a refresh token": f"GET /?token=ert_{'Ab3_' * 20}",
    "an API key": f"x-api-key: eak_7Ht2kQ9xWbLm_{'x' * 49}",
    "a token of Vault": "X-Vault-Token: s.abcdefghijklmnopqrstuvwx",
    "a private key": "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIGxk0AzYJ8mGk2h8ng2",
}
RUN = """
from tests.canaries import secret

def test_that_passes(tmp_path):
    secret("correct-horse-battery-staple")
    {tells}
"""


@pytest.fixture(autouse=True)
def planted(tmp_path: Path) -> None:
    """What is planted here is none of the run's."""
    keeps_secrets(tmp_path)


def looking() -> Canaries:
    made = Canaries()
    made.add(NAMED, "what a test has named")
    return made


@pytest.mark.parametrize("what", TOLD)
def test_a_planted_secret_is_found(tmp_path: Path, what: str) -> None:
    """In whatever file below, also across two of the parts that are read, and where it was printed."""
    below = tmp_path / "server" / "log"
    below.parent.mkdir()
    below.write_text(TOLD[what] + "\n")
    made = looking()
    made.look_below(tmp_path)
    assert made.seen == [f"server/log: {what}"]


def test_what_is_a_secret_itself_is_left_out(tmp_path: Path) -> None:
    """By its name, or because a test says so; what is beside it is not."""
    folder = tmp_path / "test_of_a_secret"
    (folder / "secrets").mkdir(parents=True)
    for name in ("client-secret", "server.key", "kept", "log", "secrets/shop"):
        (folder / name).write_text(NAMED)
    made = looking()
    made.keep(folder / "kept")
    made.look_below(tmp_path)
    assert made.seen == ["test_of_a_secret/log: what a test has named"]


def test_a_token_is_known_by_each_of_its_parts() -> None:
    """But for its header, which many have."""
    made = Canaries()
    made.add(TOKEN, "a token")
    for part in TOKEN.split(".")[1:]:
        made.look("log", f"signature={part}".encode())
    made.look("log", TOKEN.split(".")[0].encode())
    assert made.seen == ["log: a token"] * 2


def test_what_could_stand_anywhere_is_no_canary() -> None:
    with pytest.raises(ValueError, match="no 16 letters"):
        Canaries().add("hunter2", "a password")


@pytest.mark.parametrize(
    ("tells", "code"),
    [
        ("(tmp_path / 'log').write_text('all is well')", 0),
        ("(tmp_path / 'log').write_text('correct-horse-battery-staple')", 1),
        ("print('correct-horse-battery-staple')", 1),
    ],
)
def test_a_run_that_tells_a_secret_fails(tmp_path: Path, tells: str, code: int) -> None:
    """Although all of its tests pass."""
    file = tmp_path / "test_planted.py"
    file.write_text(RUN.format(tells=tells))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.canaries",
        "-p",
        "no:cacheprovider",
        f"--rootdir={tmp_path}",
    ]
    command += ["-q", f"--basetemp={tmp_path / 'run'}", str(file)]
    done = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout
    assert "1 passed" in done.stdout
    assert ("secrets were told" in done.stdout) == bool(code)
