"""The audit log: its lines, its chain, and what happens to both when somebody or something interferes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from extauthz.errors import AuditError
from extauthz.telemetry import AuditFile, AuditKey, AuditReport, audit_key, check_audit
from extauthz.tokens.ports import AuditEvent
from tests.full_disk import full_disk

SECRET = b"0" * 32
KEY = AuditKey.of(SECRET)
ISSUED = AuditEvent("issue", "done", client_id="billing", subject="billing", key_id="k1", token="ey.canary.token")

Log = Callable[..., AuditFile]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    opened: list[AuditFile] = []

    def open_log(when_it_fails: Any = "deny", key: AuditKey = KEY) -> AuditFile:
        opened.append(
            AuditFile(str(path), key, now=lambda: 1_790_000_000.25, clock=lambda: 0.0, when_it_fails=when_it_fails)
        )
        return opened[-1]

    yield open_log
    for one in opened:
        one.close()


def checked(*files: Path, expected: str = "") -> AuditReport:
    return check_audit([str(file) for file in files], KEY, expected)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def filled(log: Log, path: Path, count: int = 6) -> list[bytes]:
    """A log of some events; its lines, the first of which is its beginning."""
    audit = log()
    for number in range(count):
        audit.record(AuditEvent("issue", "done", client_id=f"client-{number}"))
    audit.close()
    return path.read_bytes().splitlines(keepends=True)


def test_a_line_says_who_what_and_with_which_key(log: Log, path: Path) -> None:
    """What is empty is left out; the token is there as a keyed digest and in no other form."""
    log().record(ISSUED)
    begin, line = lines_of(path)
    assert begin["action"] == "audit-begins"
    assert line == {
        "time": "2026-09-21T14:13:20.250000Z",
        "seq": 2,
        "action": "issue",
        "outcome": "done",
        "client_id": "billing",
        "subject": "billing",
        "key_id": "k1",
        "token": KEY.digest("ey.canary.token"),
        "prev": begin["hash"],
        "hash": line["hash"],
    }
    assert "canary" not in path.read_text()
    assert KEY.digest("ey.canary.token") != AuditKey.of(b"1" * 32).digest("ey.canary.token")
    assert path.stat().st_mode & 0o007 == 0


def test_what_a_stranger_wrote_is_harmless(log: Log, path: Path) -> None:
    """Line breaks, escapes, half surrogates, length, and a token where a name belongs."""
    evil = 'a\n{"action":"issue"}\r\x1b[31m\u202e\x7f\ud800'
    token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    log().record(
        AuditEvent("issue", "refused", client_id=evil, subject="x" * 100_000, reason=token, detail="\0" * 5000)
    )
    raw = path.read_bytes()
    assert raw.count(b"\n") == 2
    assert raw.isascii()
    assert not any(byte < 32 or byte == 127 for byte in raw.replace(b"\n", b""))
    line = lines_of(path)[1]
    assert line["client_id"].startswith("a\\x0a{")
    assert len(line["subject"]) == 512
    assert len(line["detail"]) <= 512
    assert line["reason"] == "[redacted]"
    assert checked(path).whole


def test_no_secret_is_in_a_repr(log: Log) -> None:
    """Neither the event nor the key shows what it holds."""
    assert "canary" not in repr(ISSUED)
    assert SECRET.decode()[:8] not in repr(KEY)
    assert "_chain" not in repr(KEY)


def test_a_whole_chain(log: Log, path: Path) -> None:
    """Restarts in between are no fault."""
    for _ in range(3):
        audit = log()
        audit.record(ISSUED)
        audit.record(ISSUED)
        audit.close()
    report = checked(path)
    assert (report.whole, report.lines, report.first, report.last) == (True, 7, 1, 7)
    assert report.seal == lines_of(path)[-1]["hash"]


@pytest.mark.parametrize("change", [b'"client-2"', b'"done"', b'"time":"20', b'"seq":4'])
def test_a_changed_line_is_found(log: Log, path: Path, change: bytes) -> None:
    """Whatever it is that was changed, by one bit."""
    lines = filled(log, path)
    at = lines[3].index(change) + len(change) - 2
    lines[3] = lines[3][:at] + bytes([lines[3][at] ^ 1]) + lines[3][at + 1 :]
    path.write_bytes(b"".join(lines))
    report = checked(path)
    assert not report.whole
    assert report.where is not None
    assert report.where.line == 4


def test_a_line_sealed_with_another_key_is_found(log: Log, path: Path) -> None:
    """Who has no key can't mend the chain behind a change."""
    lines = filled(log, path)
    before = json.loads(lines[2])
    forged, _ = AuditKey.of(b"1" * 32).line({"action": "issue"}, now=1.0, seq=4, prev=before["hash"])
    path.write_bytes(b"".join([*lines[:3], forged, *lines[4:]]))
    report = checked(path)
    assert report.where is not None
    assert report.where.line == 4


@pytest.mark.parametrize(
    ("order", "line"),
    [
        ([0, 1, 2, 4, 5, 6], 4),  # one is missing
        ([0, 1, 3, 2, 4, 5, 6], 3),  # two are swapped
        ([0, 1, 2, 2, 3, 4, 5, 6], 4),  # one is there twice
        ([1, 2, 3, 4, 5, 6], 1),  # the first is missing
        ([0, 3, 4, 5, 6], 2),
        ([0, 1, 2, 3, 0, 4, 5, 6], 5),
    ],
)
def test_removed_moved_and_repeated_lines_are_found(log: Log, path: Path, order: list[int], line: int) -> None:
    """The report names the first line that is not where it belongs."""
    lines = filled(log, path)
    path.write_bytes(b"".join(lines[number] for number in order))
    report = checked(path)
    assert report.where is not None
    assert (report.where.line, report.lines) == (line, line - 1)


def test_a_cut_end_is_found_only_with_a_seal_from_elsewhere(log: Log, path: Path) -> None:
    """What is left of the log is whole by itself."""
    lines = filled(log, path)
    noted = checked(path).seal
    path.write_bytes(b"".join(lines[:-2]))
    assert checked(path).whole
    report = checked(path, expected=noted)
    assert "cut off" in report.fault
    path.write_bytes(b"".join(lines))
    log().record(ISSUED)
    assert checked(path, expected=noted).whole


def test_a_cut_end_is_told_by_the_next_line(log: Log, path: Path) -> None:
    """The head file remembers how far the log had come; the gap stays visible for good."""
    lines = filled(log, path)
    path.write_bytes(b"".join(lines[:-2]))
    log().record(ISSUED)
    assert lines_of(path)[-2]["action"] == "audit-gap"
    report = checked(path)
    assert report.where is not None
    assert report.where.line == 6
    assert "lost lines" in report.fault


def test_an_older_copy_put_back_is_told(log: Log, path: Path) -> None:
    """Another file with good lines, but fewer than were written, is a gap."""
    lines = filled(log, path)
    path.unlink()
    path.write_bytes(b"".join(lines[:3]))
    log().record(ISSUED)
    assert "lost lines" in checked(path).fault


@pytest.mark.parametrize("emptied", ["moved", "copied"])
def test_rotation_goes_on_in_the_chain(log: Log, path: Path, emptied: str) -> None:
    """A new file begins with the last seal of the old one, whether that was moved or copied and emptied."""
    audit, old = log(), path.with_suffix(".1")
    audit.record(ISSUED)
    if emptied == "moved":
        path.rename(old)
    else:
        old.write_bytes(path.read_bytes())
        os.truncate(path, 0)
    audit.record(ISSUED)
    begin = lines_of(path)[0]
    assert (begin["action"], begin["prev"]) == ("audit-goes-on", lines_of(old)[-1]["hash"])
    assert checked(old, path).whole
    alone = checked(path)
    assert alone.whole
    assert "begins with line 3" in alone.notes[0]
    assert not checked(path, old).whole


def test_a_process_that_starts_after_rotation_goes_on(log: Log, path: Path) -> None:
    """It has never seen the old file."""
    first = log()
    first.record(ISSUED)
    first.close()
    old = path.rename(path.with_suffix(".1"))
    log().record(ISSUED)
    assert checked(old, path).whole


def test_a_missing_file_between_two_is_found(log: Log, path: Path) -> None:
    """Three files, of which the second one is kept back."""
    audit = log()
    files = []
    for number in range(3):
        audit.record(ISSUED)
        files.append(path.rename(path.with_suffix(f".{number}")))
    assert checked(*files).whole
    report = checked(files[0], files[2])
    assert report.where is not None
    assert report.where.file == str(files[2])


def test_log_and_head_gone_is_no_silent_beginning(log: Log, path: Path) -> None:
    """Who removes both begins a new chain, which does not fit the old files."""
    audit = log()
    audit.record(ISSUED)
    old = path.rename(path.with_suffix(".1"))
    path.with_name("audit.log.head").unlink()
    audit.record(ISSUED)
    assert "begun anew" in checked(old, path).fault


def test_a_lost_head_file_is_made_anew(log: Log, path: Path) -> None:
    """The log itself says where it stands."""
    filled(log, path)
    path.with_name("audit.log.head").unlink()
    log().record(ISSUED)
    path.with_name("audit.log.head").write_bytes(b"garbage")
    log().record(ISSUED)
    assert checked(path).whole


def test_half_a_line_is_closed_off_and_told(log: Log, path: Path) -> None:
    """A writer that was killed in the middle of a line spoils only that."""
    lines = filled(log, path)
    path.write_bytes(b"".join(lines) + lines[-1][:50])
    assert not checked(path).whole
    log().record(ISSUED)
    report = checked(path)
    assert report.whole
    assert [note.partition(": ")[2][:11] for note in report.notes] == ["half a line"]


def test_the_half_line_can_not_be_used_to_hide_something(log: Log, path: Path) -> None:
    """The line that closes it off has its digest: another half line in its place is found."""
    lines = filled(log, path)
    path.write_bytes(b"".join(lines) + lines[-1][:50])
    log().record(ISSUED)
    path.write_bytes(path.read_bytes().replace(lines[-1][:50] + b"\n", b"harmless\n"))
    assert not checked(path).whole


def test_a_line_made_unreadable_is_no_half_line(log: Log, path: Path) -> None:
    """Only a line that says so closes one off."""
    lines = filled(log, path)
    lines[3] = lines[3][:50] + b"\n"
    path.write_bytes(b"".join(lines))
    assert not checked(path).whole


@pytest.mark.parametrize("rotated", [False, True])
def test_a_first_line_that_was_torn(log: Log, path: Path, rotated: bool) -> None:
    """The very first write of a log, or of a file after rotation, was cut short."""
    files = [path]
    if rotated:
        filled(log, path)
        files.insert(0, path.rename(path.with_suffix(".1")))
    path.write_bytes(b'{"time":"2026')
    log().record(ISSUED)
    assert checked(*files).whole


def test_a_killed_writer_between_line_and_head(log: Log, path: Path) -> None:
    """A line that the head file does not know of yet is where the next one goes on."""
    filled(log, path)
    head = path.with_name("audit.log.head")
    before = head.read_bytes()
    log().record(ISSUED)
    head.write_bytes(before)
    log().record(ISSUED)
    assert checked(path).whole


WRITER = """
import sys, time
from extauthz.telemetry import AuditFile, AuditKey
from extauthz.tokens.ports import AuditEvent
audit = AuditFile(sys.argv[1], AuditKey.of(b"0" * 32), now=time.time, clock=time.monotonic)
for number in range(int(sys.argv[3])):
    audit.record(AuditEvent("issue", "done", client_id=sys.argv[2], jti=str(number)))
print("done", flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_write_a_thousand_lines_each(path: Path) -> None:
    """One chain, no line lost, and the file is rotated in the middle."""
    writers = [writer(path, name, 1000) for name in ("a", "b")]
    old = path.with_suffix(".1")
    while not path.exists() or path.stat().st_size < 50_000:
        time.sleep(0.005)
    path.rename(old)
    for one in writers:
        out, err = one.communicate(timeout=40)
        assert (out, err) == ("done\n", "")
    report = checked(old, path)
    assert (report.whole, report.lines) == (True, 2002)
    written = [(line.get("client_id"), line.get("jti")) for file in (old, path) for line in lines_of(file)]
    for name in ("a", "b"):
        assert [jti for client, jti in written if client == name] == [str(number) for number in range(1000)]


def test_a_writer_is_killed_again_and_again(path: Path) -> None:
    """By SIGKILL, wherever it is: the chain is whole, and half a line is the most that is told."""
    for number in range(6):
        one = writer(path, "a", 100_000)
        size = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size < size + 3000 + number * 777:
            time.sleep(0.0005)
        one.kill()
        one.communicate(timeout=10)
    last = writer(path, "b", 1)
    assert last.communicate(timeout=20) == ("done\n", "")
    assert checked(path).whole


HOLDER = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_a_writer_that_was_stopped_does_not_stop_the_others(log: Log, path: Path) -> None:
    """Who holds the lock and does not let go costs the others some milliseconds and an error, not their event loop."""
    audit = log()
    audit.record(ISSUED)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, f"{path}.head"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(AuditError, match="does not let go"):
            audit.record(ISSUED)
    finally:
        holder.kill()
        holder.communicate()
    audit.record(ISSUED)
    assert checked(path).lines == 3


def test_nothing_is_done_without_a_record(log: Log, path: Path) -> None:
    """On a full disk recording raises, leaves no half line, and goes on once there is room."""
    audit = log()
    audit.record(ISSUED)
    size = path.stat().st_size
    with full_disk(size + 100):
        for _ in range(3):
            with pytest.raises(AuditError, match="can't be written: File too large"):
                audit.record(ISSUED)
    assert path.stat().st_size == size
    assert (audit.counts().written, audit.counts().failed) == (1, 3)
    audit.record(ISSUED)
    assert (checked(path).whole, checked(path).lines) == (True, 3)


def test_going_on_without_a_record_is_counted_and_told(log: Log, path: Path) -> None:
    """Somebody has asked for that by name."""
    audit = log("goOn")
    audit.record(ISSUED)
    with capture_logs() as told, full_disk(path.stat().st_size):
        for _ in range(3):
            audit.record(ISSUED)
    assert audit.counts().failed == 3
    assert [line["event"] for line in told] == ["not in the audit log"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The start fails, and so does each record."""
    audit = AuditFile(str(tmp_path / "none" / "audit.log"), KEY, now=time.time, clock=time.monotonic)
    for call in (audit.probe, lambda: audit.record(ISSUED)):
        with pytest.raises(AuditError, match="No such file"):
            call()


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """256 random bits; the second time it is the same one."""
    file = tmp_path / "audit.key"
    with pytest.raises(AuditError, match="No such file"):
        audit_key(str(file), make=False)
    key = audit_key(str(file), make=True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(file.read_text())) == 32
    assert audit_key(str(file), make=True) == key
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("mode", "content", "told"), [(0o644, "0" * 64, "every user"), (0o600, "tiny", "shorter")])
def test_keys_that_are_none(tmp_path: Path, mode: int, content: str, told: str) -> None:
    """One that everybody may read, one that can be guessed; the text never holds it."""
    file = tmp_path / "audit.key"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(AuditError, match=told) as caught:
        audit_key(str(file), make=True)
    assert content not in str(caught.value)
