"""Processes start, prove that they are ready, and are gone afterwards, whatever happens to their parent."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.address import free_address
from mesh.processes import Process, ProcessError, Supervisor, accepts
from mesh.proxy import PROJECT

LISTEN = "import socket,sys,time; s=socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


def listener(name: str, folder: Path) -> Process:
    """A process that accepts connections after a moment."""
    address = free_address()
    command = [sys.executable, "-c", LISTEN, address.rpartition(":")[2]]
    return Process(name, command, log=folder / f"{name}.log", ready=[accepts(address)])


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def eventually(condition: Callable[[], bool], within: float = 20.0) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_process_is_ready_inside_and_gone_after(tmp_path: Path) -> None:
    with listener("one", tmp_path) as process:
        assert process.returncode is None
        pid = process.pid
    assert not is_running(pid)


def test_a_process_that_ends_early_shows_its_log(tmp_path: Path) -> None:
    """The reason is on the screen, and not in a file that somebody has to find."""
    command = [sys.executable, "-c", "import sys; print('the port is taken'); sys.exit(3)"]
    process = Process("broken", command, log=tmp_path / "log", ready=[accepts(free_address())])
    with pytest.raises(ProcessError, match=r"exit code 3[\s\S]*the port is taken"), process:
        pass


def test_a_process_that_never_gets_ready_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = Process("slow", command, log=tmp_path / "log", ready=[accepts(free_address())], ready_within=0.2)
    with pytest.raises(ProcessError, match=r"not ready in 0\.2 s"), process:
        pass
    assert process.returncode == -signal.SIGTERM


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    log = tmp_path / "log"
    stubborn = Process(
        "stubborn", [sys.executable, "-c", code], log=log, ready=[lambda: "on" in log.read_text()], grace=0.2
    )
    with stubborn:
        pass
    assert stubborn.returncode == -signal.SIGKILL


def test_workers_of_a_process_end_with_it(tmp_path: Path) -> None:
    """The whole group is ended, not only its leader."""
    log = tmp_path / "log"
    code = "import subprocess,sys,time; p=subprocess.Popen(['sleep','60']); print(p.pid, flush=True); time.sleep(60)"
    with Process("parent", [sys.executable, "-c", code], log=log, ready=[lambda: log.read_text().endswith("\n")]):
        worker = int(log.read_text())
    assert eventually(lambda: not is_running(worker))


def test_the_supervisor_stops_in_reverse_order(tmp_path: Path) -> None:
    """What takes traffic goes before what it depends on."""
    lines: list[str] = []
    supervisor = Supervisor(lines.append)
    supervisor.start(listener("first", tmp_path))
    supervisor.start(listener("second", tmp_path))
    assert supervisor.ended() is None
    supervisor.stop()
    assert [line.split()[0] for line in lines if "stopped" in line] == ["second", "first"]


def test_a_failed_start_leaves_nothing_behind(tmp_path: Path) -> None:
    supervisor = Supervisor()
    good = listener("good", tmp_path)
    bad = Process("bad", [sys.executable, "-c", "raise SystemExit(1)"], log=tmp_path / "bad.log", ready=[lambda: False])
    with pytest.raises(ProcessError, match="bad ended"):
        supervisor.start(good, bad)
    assert good.returncode is not None


def test_the_supervisor_notices_a_death(tmp_path: Path) -> None:
    supervisor = Supervisor()
    process = listener("mortal", tmp_path)
    supervisor.start(process)
    os.kill(process.pid, signal.SIGKILL)
    assert eventually(lambda: supervisor.ended() is process)
    supervisor.stop()


@pytest.mark.skipif(not shutil.which("setpriv"), reason="the kernel's leash is Linux only")
def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """No orphans, even after SIGKILL, when nothing of ours can run any more."""
    code = (
        "import sys, time; from pathlib import Path; from mesh.processes import Process;"
        f"p = Process('child', ['sleep', '60'], log=Path({str(tmp_path / 'child.log')!r})).start();"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    assert eventually(lambda: not is_running(child))
