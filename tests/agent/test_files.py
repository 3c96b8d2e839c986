"""The files in which tokens are kept."""

import stat
import threading
from pathlib import Path

import pytest

from extauthz.agent import StateFile
from extauthz.errors import ExtAuthzError
from tests.full_disk import full_disk


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_token_is_for_its_owner(tmp_path: Path, mode: int) -> None:
    """From the first moment on, and nothing else is left in the folder."""
    file = StateFile(str(tmp_path / "token"), mode)
    file.write("first.token")
    assert stat.S_IMODE(file.path.stat().st_mode) == mode
    file.write("x" * 10_000)
    assert file.read() == "x" * 10_000
    file.write("short")
    assert file.path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [file.path]
    file.remove()
    file.remove()
    assert file.read() is None


def test_a_reader_sees_one_token_or_the_other(tmp_path: Path) -> None:
    """Never half of one, and never none."""
    file = StateFile(str(tmp_path / "token"))
    tokens = {letter * 3000 for letter in "ab"}
    file.write("a" * 3000)
    done = threading.Event()
    seen: list[str] = []

    def read() -> None:
        while not done.is_set():
            seen.append(file.path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        for token in tokens:
            file.write(token)
    done.set()
    reader.join()
    assert set(seen) <= tokens


def test_a_full_disk_leaves_the_old_token(tmp_path: Path) -> None:
    """And no rest of the new one."""
    file = StateFile(str(tmp_path / "token"))
    file.write("old.token")
    with full_disk(1000), pytest.raises(OSError, match="File too large"):
        file.write("new.token")
    assert file.read() == "old.token"
    assert list(tmp_path.iterdir()) == [file.path]


def test_room_that_was_taken_is_there(tmp_path: Path) -> None:
    """What fills up the disk afterwards does not cost the token."""
    file = StateFile(str(tmp_path / "token"))
    room = file.room()
    with full_disk(0), pytest.raises(OSError, match="File too large"):
        (tmp_path / "other").write_text("x")
    room.fill("new.token")
    room.release()
    assert file.read() == "new.token"


def test_what_a_kill_left_behind_is_used_up(tmp_path: Path) -> None:
    """It does not add up, and a link that somebody put there is not followed."""
    file = StateFile(str(tmp_path / "token"))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".token.new").symlink_to(victim)
    file.write("a.token")
    assert victim.read_text() == "precious"
    (tmp_path / ".token.new").write_text("half of a tok")
    file.write("b.token")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["token", "victim"]


def test_a_folder_where_everybody_may_replace_files(tmp_path: Path) -> None:
    """Is refused, as is one that is not there; one with the sticky bit is fine."""
    file = StateFile(str(tmp_path / "token"))
    tmp_path.chmod(0o777)
    with pytest.raises(ExtAuthzError, match="everyone may replace"):
        file.check()
    tmp_path.chmod(0o1777)
    file.check()
    with pytest.raises(ExtAuthzError, match="No such file"):
        StateFile(str(tmp_path / "none" / "token")).check()


def test_what_is_no_token_is_none(tmp_path: Path) -> None:
    """An empty file, and bytes that no token has."""
    file = StateFile(str(tmp_path / "token"))
    for content in (b"", b"\n", b"\xff\xfe"):
        file.path.write_bytes(content)
        assert file.read() is None
