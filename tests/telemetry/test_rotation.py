"""The file of the decision log rotates itself, also under several processes."""

import subprocess
import sys
from pathlib import Path

from structlog.testing import capture_logs

from extauthz.telemetry.files import LineFile, Rotation

WRITER = """
import sys
from extauthz.telemetry.files import LineFile, Rotation
file = LineFile(sys.argv[1], Rotation(20_000, 100))
for number in range(400):
    data = b"".join(b"%s %06d %s\\n" % (sys.argv[2].encode(), number * 5 + part, b"x" * 80) for part in range(5))
    assert file.write(data) == len(data)
"""


def test_at_its_size_a_file_is_put_aside(tmp_path: Path) -> None:
    """The youngest is .1, so many are kept, and nobody else may read them either."""
    path = tmp_path / "decisions.jsonl"
    file = LineFile(str(path), Rotation(10, keep=2))
    for number in range(5):
        file.write(b"line %d of ten\n" % number)
    assert path.read_bytes() == b"line 4 of ten\n"
    assert (tmp_path / "decisions.jsonl.1").read_bytes() == b"line 3 of ten\n"
    assert (tmp_path / "decisions.jsonl.2").read_bytes() == b"line 2 of ten\n"
    assert len(list(tmp_path.iterdir())) == 3
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o640}


def test_a_file_that_was_there_counts(tmp_path: Path) -> None:
    """A restart does not begin a new one, and does not let the old one grow."""
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(b"old\n")
    LineFile(str(path), Rotation(10, keep=1)).write(b"more\n")
    assert path.read_bytes() == b"old\nmore\n"
    path.write_bytes(b"old " * 10)
    LineFile(str(path), Rotation(10, keep=1)).write(b"new\n")
    assert path.read_bytes() == b"new\n"


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    """Each line of each is there once and whole, in files of about their size."""
    path = tmp_path / "decisions.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    files = list(tmp_path.iterdir())
    assert len(files) > 10
    assert max(file.stat().st_size for file in files) < 20_000 + 4 * 5 * 100
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{name} {number:06} {'x' * 80}" for name in "abcd" for number in range(2000))


def test_who_can_not_rotate_goes_on_writing(tmp_path: Path) -> None:
    """A file that grows is told once, and loses no line."""
    path = tmp_path / "decisions.jsonl"
    (tmp_path / "decisions.jsonl.1" / "in the way").mkdir(parents=True)
    file = LineFile(str(path), Rotation(4, keep=1))
    with capture_logs() as logs:
        for number in range(4):
            file.write(b"line %d\n" % number)
    assert path.read_bytes() == b"line 0\nline 1\nline 2\nline 3\n"
    assert [log["event"] for log in logs] == ["the decision log can't be rotated, and grows"]


def test_others_may_rotate_as_well(tmp_path: Path) -> None:
    """A file that was renamed from outside is left alone, whatever its size."""
    path = tmp_path / "decisions.jsonl"
    file = LineFile(str(path), Rotation(4, keep=1))
    file.write(b"first line\n")
    path.rename(tmp_path / "taken")
    file.write(b"second line\n")
    assert (tmp_path / "taken").read_bytes() == b"first line\n"
    assert path.read_bytes() == b"second line\n"
    assert not (tmp_path / "decisions.jsonl.1").exists()
