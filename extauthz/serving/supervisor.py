"""Several processes that each answer Checks, and one that looks after them.

Python answers Checks on one core, so ``workers: N`` starts N whole servers, each with a Check listener of its own (see
``worker``). One shared port would leave workers idle, since Envoy opens few connections that last, one for each endpoint;
with N endpoints it spreads every request.

The supervisor answers no Check. It starts the workers, starts one again that died, passes a stop on to all of them, starts
them anew in turn when asked to (SIGHUP), and has the admin listener, where the workers' figures are added up. It opens the
socket of the http listener, from which all workers take connections: there clients are many and connections short, and
one that a worker leaves in the queue is taken by another. The first
worker is started alone: what keeps it from starting keeps all others from it, and is told once.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from starlette.applications import Starlette

from extauthz.errors import ExtAuthzError, ServingError
from extauthz.serving.admin import ADMIN, AdminServer
from extauthz.serving.background import keep_running
from extauthz.serving.certificates import Certificates
from extauthz.serving.http_listener import HTTP
from extauthz.serving.listener import Listener, check_listener, is_private
from extauthz.serving.signals import heard
from extauthz.serving.sockets import SharedSocket
from extauthz.serving.worker import WorkerPlace
from extauthz.serving.worker_process import WorkerProcess
from extauthz.serving.workers_app import Figures, workers_app

__all__ = ["Supervisor", "SupervisorParts", "run_workers", "worker_command"]

_log = structlog.get_logger()

_LOOK_SECONDS = 0.2
_FIGURES_SECONDS = 5.0
"""How often the figures of each worker are read: what a worker counted since is lost if it dies."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_STABLE_SECONDS = 10.0
"""After which a worker that dies is started again without a pause."""
_START_SECONDS = 30.0
_STREAMS = (0, 1, 2)
_WRONG_USE = 2
"""The exit code of a server whose configuration or policies can't be used."""


@dataclass(frozen=True, slots=True)
class SupervisorParts:
    """What a supervisor is made of."""

    workers: int
    command: Callable[[WorkerPlace], Sequence[str]]
    """The command line of a worker."""
    admin: Listener
    http: Listener | None
    """None: nothing on the http listener is used."""
    figures: Figures
    activities: Callable[[Sequence[bytes]], bytes]
    """What all of them told at ``/activity``, as that of one."""
    toggle_debug: Callable[[], None]
    """Makes the log of this process say more, and less again when it is called once more."""
    check_configuration: Callable[[], None]
    """Raises ExtAuthzError if the configuration, read again, can't be used."""
    settle_seconds: float
    """How long proxies may take to notice that a worker is back; more than the interval of their health checks."""
    stop_seconds: float
    """How long a worker may take to stop in order."""
    follow: Callable[[Callable[[], None]], Awaitable[None]] | None = None
    """Runs as long as the supervisor does, and calls back when the workers must be started anew."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class Supervisor:
    """Looks after the workers, in the running event loop."""

    def __init__(self, parts: SupervisorParts) -> None:
        """Nothing is opened or started yet."""
        self._parts = parts
        # Of mode 0700: nobody else reads what workers say.
        self._folder = tempfile.TemporaryDirectory(prefix="extauthz-")
        self._reading, self._lifeline = os.pipe()
        self._http: SharedSocket | None = None
        self._workers = [WorkerProcess(self._place(number)) for number in range(parts.workers)]
        self._stopping = asyncio.Event()
        self._renewal: asyncio.Task[None] | None = None
        self._renewals_asked = 0

    def _place(self, number: int, http: int | None = None) -> WorkerPlace:
        return WorkerPlace(number, self._reading, str(Path(self._folder.name) / f"{number}.sock"), http)

    def stop(self) -> None:
        """Stop all workers in order; a second call stops them at once."""
        if self._stopping.is_set():
            for worker in self._workers:
                worker.tell(signal.SIGTERM)
        self._stopping.set()

    def renew(self) -> None:
        """Start the workers anew, one after the other, with the configuration as it is now."""
        self._renewals_asked += 1
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew_all(), name="renewal")

    def toggle_debug(self) -> None:
        """Make the logs of all processes say more, or less again."""
        self._parts.toggle_debug()
        for worker in self._workers:
            worker.tell(signal.SIGUSR2)

    async def run(self) -> int:
        """Run until stopped; gives the exit code. Raises ServingError if a listener of its own can't be opened."""
        admin_listener, http_listener = self._parts.admin, self._parts.http
        listeners = {ADMIN: admin_listener} if http_listener is None else {ADMIN: admin_listener, HTTP: http_listener}
        problems = [problem for name, one in listeners.items() if (problem := check_listener(name, one))]
        if problems:
            raise ServingError("\n".join(problems))
        certificates = Certificates(ADMIN, admin_listener.tls) if admin_listener.tls else None
        admin = AdminServer(admin_listener, self._admin_app(), certificates)
        address = admin.bind()
        if http_listener is not None:
            self._http = SharedSocket(HTTP, http_listener)
            for worker in self._workers:
                worker.place = self._place(worker.number, self._http.descriptor)
        await admin.start()
        tasks: list[asyncio.Task[None]] = []
        try:
            status = await self._first()
            if status is None:
                _log.info("supervising", workers=self._parts.workers, admin=str(address))
                tasks = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
                if self._parts.follow is not None:
                    follow = self._parts.follow
                    tasks.append(asyncio.create_task(keep_running({"configuration": lambda: follow(self.renew)})))
                await self._stopping.wait()
        finally:
            for task in (*tasks, *([self._renewal] if self._renewal else [])):
                task.cancel()
            await asyncio.gather(*(self._end(worker) for worker in self._workers))
            await admin.stop()
            if self._http is not None:
                self._http.close()
            os.close(self._lifeline)
            os.close(self._reading)
            self._folder.cleanup()
        return status or 0

    async def _first(self) -> int | None:
        """Start the first worker and wait until it serves; the exit code if it can't, or if a stop was asked for."""
        worker = self._workers[0]
        await self._start(worker)
        while worker.running and not self._stopping.is_set():
            if await worker.get("/livez") is not None:
                return None
            await asyncio.sleep(_LOOK_SECONDS)
        if self._stopping.is_set():
            return 0
        return _WRONG_USE if worker.status == _WRONG_USE else 1

    async def _keep(self, worker: WorkerProcess) -> None:
        """Start a worker whenever it is not there, and know how it is."""
        loop = asyncio.get_running_loop()
        pause, counted = _FIRST_PAUSE, loop.time()
        while True:
            if not worker.running:
                if worker.status is not None and not worker.renewing:
                    _log.error("worker ended", worker=worker.number, status=worker.status, starting_again_in=pause)
                    worker.ready = False
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    worker.restarts += 1
                await self._start(worker)
            await worker.ask()
            if loop.time() - counted >= _FIGURES_SECONDS:
                counted = loop.time()
                await worker.count()
            if loop.time() - worker.began > _STABLE_SECONDS:
                pause = _FIRST_PAUSE
            ended = asyncio.create_task(worker.ended())
            await asyncio.wait({ended}, timeout=_LOOK_SECONDS)
            ended.cancel()

    async def _start(self, worker: WorkerProcess) -> None:
        if worker.figures:
            self._parts.figures.retire(worker.figures)
            worker.figures = b""
        await worker.start(self._parts.command(worker.place), self._parts.environment)

    async def _renew_all(self) -> None:
        """Renew, and once more if it was asked for meanwhile: the first workers know nothing of what came later."""
        done = 0
        while done != self._renewals_asked:
            done = self._renewals_asked
            await self._renew()

    async def _renew(self) -> None:
        try:
            await asyncio.to_thread(self._parts.check_configuration)
        except ExtAuthzError as error:
            _log.error("the configuration can't be used, the workers go on with theirs", problem=str(error))
            return
        _log.info("starting the workers anew, one after the other")
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            await worker.count()
            worker.renewing, worker.ready = True, False
            worker.tell(signal.SIGTERM)
            deadline = loop.time() + self._parts.stop_seconds + _START_SECONDS
            while not worker.ready:
                if loop.time() > deadline:
                    _log.error("a worker is not ready again, the others stay as they are", worker=worker.number)
                    return
                await asyncio.sleep(_LOOK_SECONDS)
            # Before that the proxies would find none of two: one just left, and one not known to be back.
            await asyncio.sleep(self._parts.settle_seconds)
        _log.info("all workers were started anew")

    async def _end(self, worker: WorkerProcess) -> None:
        """Let a worker stop in order, and end it if it does not."""
        worker.tell(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._parts.stop_seconds):
                await worker.ended()
        except TimeoutError:
            _log.error("worker did not stop, ending it", worker=worker.number)
            worker.tell(signal.SIGKILL)
            await worker.ended()

    def _admin_app(self) -> Starlette:
        parts = self._parts
        activities = parts.activities if is_private(parts.admin) else None
        return workers_app(self._workers, parts.figures, activities, self._stopping.is_set)


async def run_workers(parts: SupervisorParts) -> int:
    """Run workers until SIGTERM or SIGINT; a second signal stops them at once, SIGHUP starts them anew in turn, SIGUSR2
    makes the logs say more, and less again.

    Gives the exit code: 0 after an orderly stop, else why the first worker could not start. Raises ServingError.
    """
    supervisor = Supervisor(parts)
    hung_up = supervisor.stop if any(map(os.isatty, _STREAMS)) else supervisor.renew  # a closed terminal is none
    with heard(supervisor.stop, hung_up, supervisor.toggle_debug):
        return await supervisor.run()


def worker_command(config: str | None) -> Callable[[WorkerPlace], Sequence[str]]:
    """The command line of workers with this configuration file."""
    chosen = () if config is None else ("--config", config)
    return lambda place: (sys.executable, "-m", "extauthz", "serve", *chosen, "--worker", place.argument)
