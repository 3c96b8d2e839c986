"""Starts agents as processes of their own, without each of them paying for the imports: a process that has imported
everything forks them. Tests talk to it by lines of JSON.

What a forked agent does is what `python -m extauthz agent` does; one test starts that for comparison.
"""

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.conftest import PROJECT

_LOOK = 0.02
_NEEDED = (
    "extauthz.app.agent",
    "extauthz.cli",
    "anyio._backends._asyncio",
    "extauthz.identity.client_assertion",
    "httpcore2",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.h11_impl",
)
"""What an agent imports, sooner or later."""


class Child:
    """An agent."""

    def __init__(self, pid: int, codes: dict[int, int]) -> None:
        self.pid = pid
        self._codes = codes

    def poll(self) -> int | None:
        return self._codes.get(self.pid)

    def wait(self, timeout: float = 15) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < end, "the agent does not end"
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks, seen from the tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.agent.nursery"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._codes: dict[int, int] = {}
        self._born: list[int] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, argv: list[str], environ: dict[str, str], log: Path) -> Child:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(json.dumps({"argv": argv, "environ": environ, "log": str(log)}) + "\n")
        stdin.flush()
        with self._news:
            assert self._news.wait_for(lambda: self._born, timeout=60), "nothing was born"
            return Child(self._born.pop(0), self._codes)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self._news:
                if "born" in told:
                    self._born.append(told["born"])
                else:
                    self._codes[told["ended"]] = told["code"]
                self._news.notify_all()


def main() -> None:
    """Fork what is asked for, and tell what ended, until nobody asks any more."""
    for name in _NEEDED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, every page

    children: set[int] = set()
    asked = b""
    while True:
        ready, _, _ = select.select([0], [], [], _LOOK)
        if ready:
            read = os.read(0, 65_536)
            if not read:
                break
            asked += read
        while b"\n" in asked:
            line, _, asked = asked.partition(b"\n")
            pid = os.fork()
            if not pid:
                _run(json.loads(line))
            children.add(pid)
            _tell({"born": pid})
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children.remove(pid)
                _tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _tell(news: dict[str, int]) -> None:
    os.write(1, (json.dumps(news) + "\n").encode())


def _run(asked: dict[str, Any]) -> None:
    from extauthz.cli import main as extauthz

    os.environ.clear()
    os.environ.update(asked["environ"])
    for target, path in ((0, os.devnull), (1, asked["log"]), (2, asked["log"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), target)
    code = 70
    try:
        code = extauthz(asked["argv"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
