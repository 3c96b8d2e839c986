"""Secrets as files: private, in memory, swapped as a whole, gone at the end."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from extauthz.vault import SecretFiles

PROCESS = """
import sys, time
from pathlib import Path
from extauthz.vault import SecretFiles
files = SecretFiles(Path(sys.argv[1]))
files.write("secret/auth", {"password": b"hunter2"})
print(files.path("secret/auth", "password"), flush=True)
if sys.argv[2] == "stay":
    time.sleep(60)
"""


def test_nobody_else_reads_them() -> None:
    """The folder is 0700 and in memory, the files are 0600."""
    files = SecretFiles()
    files.write("secret/auth", {"password": b"hunter2"})
    path = Path(files.path("secret/auth", "password"))
    assert path.read_bytes() == b"hunter2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    folders = [folder for folder in path.resolve().parents if folder.name not in ("shm", "dev", "tmp", "")]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700] * 3
    if os.access("/dev/shm", os.W_OK):
        assert path.is_relative_to("/dev/shm")
    files.close()
    assert not path.exists()
    assert not folders[-1].exists()


def test_fields_of_a_secret_change_together(tmp_path: Path) -> None:
    """They are behind one link, which is swapped, as Kubernetes does it; paths stay."""
    files = SecretFiles(tmp_path)
    files.write("db", {"username": b"a", "password": b"1"})
    user, password = (Path(files.path("db", name)) for name in ("username", "password"))
    data = user.parent / "..data"
    first = data.readlink()
    files.write("db", {"username": b"b", "password": b"2"})
    assert (user.read_bytes(), password.read_bytes()) == (b"b", b"2")
    assert data.readlink() != first
    assert not (user.parent / first).exists()
    files.close()


def test_names_of_fields_lead_nowhere_else(tmp_path: Path) -> None:
    """Whatever they are."""
    files = SecretFiles(tmp_path)
    names = ["../../up", "/etc/passwd", "..data", ".", "a b", "x" * 300, "a\0b", "plain"]
    files.write("../../etc", {name: name.encode() for name in names})
    for name in names:
        path = Path(files.path("../../etc", name))
        assert path.read_bytes() == name.encode()
        assert path.resolve().is_relative_to(tmp_path)
    assert Path(files.path("../../etc", "plain")).name == "plain"
    files.close()
    assert list(tmp_path.iterdir()) == []


def test_they_go_with_the_process(tmp_path: Path) -> None:
    """At its end; what a killed one left is removed by the next one, which leaves those alone that live."""
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    ended = subprocess.run([*command, "go"], check=True, capture_output=True, text=True, timeout=30)
    assert not Path(ended.stdout.strip()).exists()
    killed, living = (subprocess.Popen([*command, "stay"], stdout=subprocess.PIPE, text=True) for _ in range(2))
    try:
        assert killed.stdout is not None
        assert living.stdout is not None
        left, kept = Path(killed.stdout.readline().strip()), Path(living.stdout.readline().strip())
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)
        assert left.exists()
        files = SecretFiles(tmp_path)
        files.write("x", {"y": b"z"})
        assert not left.exists()
        assert kept.read_bytes() == b"hunter2"
        files.close()
    finally:
        for process in (killed, living):
            process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
