"""Where decision records go, and what becomes of them when that fails."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from extauthz.telemetry.files import Descriptor, LineFile
from extauthz.telemetry.sinks import QueuedSink, Target


class Drops:
    """Counts what was dropped."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, count: int) -> None:
        self.total += count


@pytest.fixture
def drops() -> Drops:
    """What was dropped."""
    return Drops()


@pytest.fixture
def sink(drops: Drops) -> Iterator[Callable[..., QueuedSink]]:
    """Opens sinks on a target, which are closed at the end."""
    opened: list[QueuedSink] = []

    def open_(target: Target, *, capacity: int = 1 << 20, pause: float = 0.01, keep: bool = False) -> QueuedSink:
        opened.append(QueuedSink(target, dropped=drops, clock=lambda: 0.0, capacity=capacity, pause=pause, keep=keep))
        return opened[-1]

    yield open_
    for each in opened:
        each.close(2)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for another thread to get somewhere."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Full:
    """A disk that takes so many bytes and then no more, until there is room again."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.data = b""

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = data[: self.room]
        self.room -= len(taken)
        self.data += taken
        return len(taken)

    def close(self) -> None:
        pass


class Stuck:
    """A reader that has stopped."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.data = b""

    def write(self, data: bytes) -> int:
        self.go.wait()
        self.data += data
        return len(data)

    def close(self) -> None:
        pass


def test_lines_are_appended(tmp_path: Path, sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """A file keeps what it had, gets each line in order soon, and is not readable by all."""
    path = tmp_path / "decisions.log"
    path.write_bytes(b"old\n")
    own = sink(LineFile(str(path)))
    for n in range(100):
        own.write(b"%d\n" % n)
    eventually(lambda: path.read_bytes().count(b"\n") == 101)
    assert path.read_bytes() == b"old\n" + b"".join(b"%d\n" % n for n in range(100))
    assert drops.total == 0
    other = tmp_path / "new.log"
    LineFile(str(other)).write(b"x\n")
    assert other.stat().st_mode & 0o007 == 0


def test_rotated_file_is_opened_again(tmp_path: Path, sink: Callable[..., QueuedSink]) -> None:
    """After a rotation, and after a deletion, lines go to a new file of the configured name."""
    path = tmp_path / "decisions.log"
    own = sink(LineFile(str(path)))
    own.write(b"1\n")
    eventually(lambda: path.exists() and path.read_bytes() == b"1\n")
    path.rename(tmp_path / "decisions.log.1")
    own.write(b"2\n")
    eventually(lambda: path.exists() and path.read_bytes() == b"2\n")
    path.unlink()
    own.write(b"3\n")
    eventually(lambda: path.exists() and path.read_bytes() == b"3\n")
    assert (tmp_path / "decisions.log.1").read_bytes() == b"1\n"


def test_close_writes_what_is_queued(tmp_path: Path, sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """Closing does not wait for the next round, and loses nothing; later lines are dropped."""
    path = tmp_path / "decisions.log"
    own = sink(LineFile(str(path)), pause=60)
    own.write(b"1\n")
    own.close(5)
    assert path.read_bytes() == b"1\n"
    own.write(b"2\n")
    assert drops.total == 1


def test_standard_output(sink: Callable[..., QueuedSink]) -> None:
    """A descriptor gets the lines and stays open."""
    reader, writer = os.pipe()
    own = sink(Descriptor(writer))
    own.write(b"1\n")
    own.close(5)
    assert os.read(reader, 10) == b"1\n"
    os.write(writer, b"still open")
    os.close(reader)
    os.close(writer)


def test_half_full_queue_is_written_at_once(sink: Callable[..., QueuedSink]) -> None:
    """A queue that fills does not wait for its time."""
    target = Full(1 << 20)
    own = sink(target, capacity=1000, pause=60)
    for _ in range(6):
        own.write(b"x" * 99 + b"\n")
    eventually(lambda: len(target.data) >= 500)


def test_stopped_reader_drops_and_never_waits(sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """What does not fit is counted and dropped, in the time that anything takes; what is in the queue arrives later."""
    target = Stuck()
    own = sink(target, capacity=1000, pause=0.001)
    began = time.perf_counter()
    for _ in range(10_000):
        own.write(b"x" * 99 + b"\n")
    assert time.perf_counter() - began < 1
    assert drops.total == 9_990
    target.go.set()
    eventually(lambda: len(target.data) == 1000)


def test_all_that_was_lost_is_told(sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """The first loss at once, the others in one sum, at the latest when the sink is closed; without a loss, nothing."""
    target = Stuck()
    with capture_logs() as logs:
        own = sink(target, capacity=1000, pause=60)
        for _ in range(15):
            own.write(b"x" * 99 + b"\n")
        assert [log["lines"] for log in logs] == [1]
        own.close(0.05)
        target.go.set()
        sink(Full(100)).close(1)
    assert [log["lines"] for log in logs] == [1, 14]
    assert "not taken" in logs[1]["error"]


def test_close_does_not_wait_for_ever(sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """A target that does not answer delays the end by the given time only, and what is left is counted."""
    target = Stuck()
    own = sink(target)
    own.write(b"1\n")
    eventually(lambda: not own._lines)
    own.write(b"2\n")
    began = time.perf_counter()
    own.close(0.05)
    assert time.perf_counter() - began < 1
    assert drops.total == 2
    target.go.set()


def test_full_disk_is_counted_and_told_once(sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """Lines that a full disk did not take are counted, the fault is told once, and a torn line spoils no other."""
    target = Full(5)
    with capture_logs() as logs:
        own = sink(target, pause=0.001)
        own.write(b"111\n")
        eventually(lambda: target.data == b"111\n")
        own.write(b"222\n")
        eventually(lambda: drops.total == 1)
        own.write(b"333\n")
        eventually(lambda: drops.total == 2)
        target.room = 100
        own.write(b"444\n")
        eventually(lambda: target.data.endswith(b"444\n"))
    assert target.data == b"111\n2\n444\n"
    assert [log["event"] for log in logs] == ["decision records were lost"]
    assert "No space left" in logs[0]["error"]


def test_path_that_can_not_be_opened(tmp_path: Path, sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """A missing folder costs records and no exception, and once it is there, records are written."""
    path = tmp_path / "later" / "decisions.log"
    with capture_logs() as logs:
        own = sink(LineFile(str(path)))
        own.write(b"1\n")
        eventually(lambda: drops.total == 1)
    assert len(logs) == 1
    path.parent.mkdir()
    own.write(b"2\n")
    eventually(lambda: path.exists() and path.read_bytes() == b"2\n")


def test_what_must_be_kept_waits_for_the_disk(sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """No line is lost by a full disk; the one that it cut short is written once more, whole, and it is told once."""
    target = Full(6)
    with capture_logs() as logs:
        own = sink(target, pause=0.001, keep=True)
        for line in (b"111\n", b"222\n", b"333\n"):
            own.write(line)
        eventually(lambda: target.data == b"111\n22")
        target.room = 3
        eventually(lambda: target.data.startswith(b"111\n22\n22"))
        target.room = 100
        eventually(lambda: target.data.endswith(b"333\n"))
    whole = [line for line in target.data.splitlines() if len(line) == 3]
    assert whole == [b"111", b"222", b"333"]
    assert drops.total == 0
    assert [(log["event"], log["error"]) for log in logs] == [
        ("decision records can't be written, and wait", "[Errno 28] No space left on device")
    ]


def test_a_full_queue_says_so_and_takes_what_must_be_kept(sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """Those that were let in are taken beyond the bound, spare ones are not; and whoever waits is told of room."""
    target = Stuck()
    own = sink(target, capacity=1000, pause=0.001, keep=True)
    told = threading.Event()
    for number in range(10):
        assert own.full is False, number
        own.write(b"x" * 99 + b"\n")
    assert own.full
    own.write(b"y" * 99 + b"\n")
    assert drops.total == 0
    own.write(b"z" * 99 + b"\n", spare=True)
    assert drops.total == 1
    own.when_room(told.set)
    assert not told.is_set()
    target.go.set()
    assert told.wait(5)
    eventually(lambda: len(target.data) == 1100)
    assert b"z" not in target.data


def test_whoever_asks_when_there_is_room_is_told_at_once(sink: Callable[..., QueuedSink]) -> None:
    """It may have come to be between the question whether it is full and this one."""
    told = threading.Event()
    sink(Full(1000), pause=60, keep=True).when_room(told.set)
    assert told.is_set()


def test_how_it_is_can_be_told(sink: Callable[..., QueuedSink]) -> None:
    """Why nothing is written and since when, that there is no room, and that all is well again."""
    target = Full(0)
    own = sink(target, capacity=8, pause=0.001, keep=True)
    assert own.state == (True, "written")
    own.write(b"1\n")
    eventually(lambda: not own.state[0])
    fault = "[Errno 28] No space left on device, for 0 s, and tried again all the time"
    assert own.state == (False, fault)
    own.write(b"2345678\n")
    assert own.state == (False, f"{fault}; it is full")
    target.room = 100
    eventually(lambda: own.state == (True, "written"))
    stuck = Stuck()
    slow = sink(stuck, capacity=2, pause=0.001)
    slow.write(b"1\n")
    assert slow.state == (False, "the log is not taken as fast as it is written; it is full")
    stuck.go.set()


def test_the_end_does_not_wait_for_a_full_disk(sink: Callable[..., QueuedSink], drops: Drops) -> None:
    """What could not be written until then is lost after all, and counted."""
    own = sink(Full(0), pause=0.001, keep=True)
    with capture_logs() as logs:
        own.write(b"1\n")
        own.write(b"2\n")
        began = time.perf_counter()
        own.close(5)
        assert time.perf_counter() - began < 4
    assert drops.total == 2
    assert logs[-1]["event"] == "decision records were lost"
