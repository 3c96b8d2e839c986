"""The life of the server: everything opened in order, everything closed in order, nothing lost on the way.

Start: the policies are loaded and the certificates read before anything is opened, so that a fault in a file ends the
start at once; then the listeners are opened, the background tasks begin, and health says SERVING as soon as readiness
does. Stop, so that no request is lost: health says NOT_SERVING while Checks are still answered; after the drain delay,
in which proxies and load balancers notice, no new calls are taken and those that run have the grace to finish; the
admin listener closes last.

What fails: a background task is started again (``background``). A listener that ends although nobody asked cannot be
mended from inside, so it ends the process, with an error, and whoever runs the process starts it anew.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from extauthz.errors import ServingError
from extauthz.serving.admin import ADMIN, Activity, AdminServer, Metrics, admin_app
from extauthz.serving.background import keep_running
from extauthz.serving.certificates import Certificates
from extauthz.serving.faults import describe
from extauthz.serving.grpc_server import GrpcOptions
from extauthz.serving.health import Health
from extauthz.serving.http_listener import HTTP, HttpAnswerer, HttpObserver, HttpServer
from extauthz.serving.listener import Address, Listener, check_listener
from extauthz.serving.readiness import Readiness
from extauthz.serving.reload import PolicyReloader
from extauthz.serving.signals import heard
from extauthz.serving.transport import Handler
from extauthz.serving.transports import CheckServer, Transport, check_server, chosen
from extauthz.serving.watching import watch
from extauthz.serving.worker import until_gone

__all__ = ["HttpParts", "Server", "ServerParts", "serve"]

_log = structlog.get_logger()

_CHECK = "listen.check"
_STREAMS = (0, 1, 2)
"""The descriptors of standard input, output and error."""


@dataclass(frozen=True, slots=True)
class HttpParts:
    """What the http listener is made of."""

    listener: Listener
    answer: HttpAnswerer
    descriptor: int | None = None
    """Of the listening socket that the supervisor has opened for all workers; None: this process opens its own."""
    observer: HttpObserver | None = None


@dataclass(frozen=True, slots=True)
class ServerParts:
    """What a server is made of. The composition root builds it."""

    check: Listener
    admin: Listener
    handler: Handler
    fallback: bytes
    """The serialised denial that answers if the handler fails."""
    policies: PolicyReloader[Any]
    readiness: Readiness
    metrics: Metrics
    http: HttpParts | None = None
    """None: nothing on the http listener is used, and it is not opened."""
    activity: Activity | None = None
    """What ``extauthz top`` shows; None where anybody could ask for it."""
    toggle_debug: Callable[[], None] = lambda: None
    """Makes the log say more, and less again when it is called once more."""
    certified: Callable[[str, float], None] = lambda _listener, _expires: None
    """Told when a listener has a certificate, and when it expires, in seconds since the epoch."""
    transport: Transport = "auto"
    options: GrpcOptions = field(default_factory=GrpcOptions)
    tasks: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """What else runs as long as the server does, by name; each is started again if it ends."""
    first_fetch: float = 5.0
    """Seconds that readiness waits for the first word of each provider."""
    supervisor: int | None = None
    """A descriptor at whose end the supervisor of this process is gone, and the process stops; None without one."""
    drain_delay: float = 5.0
    """Seconds between NOT_SERVING and the end of new calls; more than the interval of the health checks."""
    grace: float = 10.0
    """Seconds that running calls then have."""


class Server:
    """One server in the running event loop: ``start`` it, ``stop`` it, once each."""

    def __init__(self, parts: ServerParts) -> None:
        """Nothing is read or opened yet."""
        self._parts = parts
        self._health = Health()
        self._check: CheckServer | None = None
        self._http: HttpServer | None = None
        self._admin: AdminServer | None = None
        self._certificates: dict[str, Certificates] = {}
        self._background: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self.check_address: Address | None = None
        """Where Checks are answered, once started."""
        self.http_address: Address | None = None
        """Where the http listener is, once started; None if there is none."""
        self.admin_address: Address | None = None
        """Where the admin listener is, once started."""

    async def start(self) -> None:
        """Load, open, begin.

        Raises PolicyError if the policies can't be used, ServingError if a listener can't be opened or must not be.
        """
        parts = self._parts
        listeners = {_CHECK: parts.check, ADMIN: parts.admin}
        if parts.http is not None:
            listeners[HTTP] = parts.http.listener
        problems = [problem for name, one in listeners.items() if (problem := check_listener(name, one))]
        if problems:
            raise ServingError("\n".join(problems))
        transport = chosen(parts.transport, parts.check, parts.options)
        await parts.policies.start()
        self._certificates = {name: Certificates(name, one.tls) for name, one in listeners.items() if one.tls}
        for name, certificates in self._certificates.items():
            self._certified(name, certificates)
        parts.readiness.on_change(lambda ready: self._health.set(serving=ready))
        self._check = check_server(
            transport,
            parts.check,
            parts.handler,
            parts.fallback,
            self._health,
            options=parts.options,
            certificates=self._certificates.get(_CHECK),
        )
        app = admin_app(parts.readiness, parts.metrics, parts.activity)
        self._admin = AdminServer(parts.admin, app, self._certificates.get(ADMIN))
        if parts.http is not None:
            self._http = HttpServer(
                parts.http.listener,
                parts.http.answer,
                self._certificates.get(HTTP),
                observer=parts.http.observer,
            )
        try:
            self.admin_address = self._admin.bind()
            self.check_address = self._check.bind(_CHECK)
            if parts.http is not None and self._http is not None:
                shared = parts.http.descriptor
                self.http_address = self._http.bind() if shared is None else self._http.adopt(shared)
                await self._http.start()
            await self._admin.start()
            await self._check.start()
        except BaseException:
            await self._check.stop(0)
            if self._http is not None:
                await self._http.stop(0)
            await self._admin.stop()
            raise
        self._background = asyncio.create_task(keep_running(self._tasks()), name="background")
        self._timer = asyncio.get_running_loop().call_later(parts.first_fetch, parts.readiness.stop_waiting)
        http = {} if self.http_address is None else {"http": str(self.http_address)}
        _log.info(
            "listening", check=str(self.check_address), transport=transport, **http, admin=str(self.admin_address)
        )
        told = "".join(f"http {address}, " for address in http.values())
        parts.readiness.listening(f"check {self.check_address} ({transport}), {told}admin {self.admin_address}")

    def _tasks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        tasks = {**self._parts.tasks, "policies": self._parts.policies.run}
        for name, certificates in self._certificates.items():
            tasks[f"certificates {name}"] = self._follow(name, certificates)
        return tasks

    def _follow(self, name: str, certificates: Certificates) -> Callable[[], Awaitable[None]]:
        """A task that takes new certificates into use when their files change."""
        readiness = self._parts.readiness

        async def reload() -> None:
            try:
                changed = await asyncio.to_thread(certificates.reload)
            except ServingError as error:
                _log.error("certificates not loaded, those in force stay", listener=name, problem=str(error))
                readiness.certificates_told(name, ok=False, text=f"those in force stay: {error}")
            else:
                self._certified(name, certificates)
                if changed:
                    _log.info("certificates loaded", listener=name)

        return lambda: watch(certificates.paths, reload)

    def _certified(self, name: str, certificates: Certificates) -> None:
        expires = certificates.material.expires
        until = datetime.fromtimestamp(expires, UTC).isoformat(" ", "minutes").removesuffix("+00:00")
        self._parts.readiness.certificates_told(name, ok=True, text=f"in force, until {until} UTC")
        self._parts.certified(name, expires)

    def toggle_debug(self) -> None:
        """Make the log say more, or less again."""
        self._parts.toggle_debug()

    def on_abandoned(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` when the supervisor is gone, if there is one."""
        descriptor = self._parts.supervisor
        if descriptor is not None:
            self._watching = asyncio.create_task(until_gone(descriptor), name="supervisor")
            self._watching.add_done_callback(lambda task: None if task.cancelled() else stop())

    async def wait(self) -> None:
        """Wait until the server has stopped. Raises ServingError if a listener ended although nobody asked."""
        if self._check is None or self._admin is None:
            return
        ends = {
            asyncio.create_task(self._check.wait_closed(), name=_CHECK),
            asyncio.create_task(self._admin.wait_closed(), name=ADMIN),
        }
        if self._http is not None:
            ends.add(asyncio.create_task(self._http.wait_closed(), name=HTTP))
        done, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        if self._stopping is None:
            ended = done.pop()
            error = ended.exception()
            message = f"{ended.get_name()}: the listener ended by itself" + (f" ({describe(error)})" if error else "")
            raise ServingError(message)
        await asyncio.shield(self._stopping)

    async def stop(self) -> None:
        """Stop in order. A second call waits for the same stop; ``hurry`` makes it immediate."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(), name="stop")
        await asyncio.shield(self._stopping)

    def hurry(self) -> None:
        """Make a stop, running or to come, immediate: no delay, no grace."""
        self._hurry.set()

    async def _stop(self) -> None:
        parts = self._parts
        parts.readiness.drain()
        _log.info("draining; a second signal stops at once", delay=parts.drain_delay, grace=parts.grace)
        if self._timer is not None:
            self._timer.cancel()
        if self._http is not None:
            self._http.leave()
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({hurry}, timeout=parts.drain_delay)
        self._health.close()
        await asyncio.gather(*(self._finish(one, hurry) for one in (self._check, self._http) if one is not None))
        hurry.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self._background is not None:
            self._background.cancel()
            await asyncio.wait({self._background})
        if self._admin is not None:
            await self._admin.stop()
        _log.info("stopped")

    async def _finish(self, listener: CheckServer | HttpServer, hurry: asyncio.Task[Any]) -> None:
        """Close a listener, within the grace, or at once in a hurry."""
        finishing = asyncio.create_task(listener.stop(self._parts.grace))
        await asyncio.wait({finishing, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not finishing.done():
            await listener.stop(0)
        await finishing


async def serve(server: Server) -> bool:
    """Run a server until SIGTERM or SIGINT, then stop it in order; a second signal stops it at once.

    Gives whether it was asked to stop from outside; False: ``Server.stop`` was called.

    SIGUSR2 makes the log say more, and less again. SIGHUP stops it too if it means that the terminal was closed. Elsewhere it is an operator's "reload", and harmless:
    files are followed anyway.

    Returns after an orderly stop, a hurried one included: the exit code is 0. Raises what ``Server.start`` raises, and
    ServingError if a listener failed.
    """
    asked = asyncio.Event()

    def signalled() -> None:
        if asked.is_set():
            server.hurry()
        asked.set()

    at_a_terminal = any(map(os.isatty, _STREAMS))  # asked now, since a closed terminal is none

    def hung_up() -> None:
        if at_a_terminal:
            signalled()
        else:
            _log.info("SIGHUP changes nothing: files are followed, a new configuration needs a restart")

    with heard(signalled, hung_up, server.toggle_debug):
        await server.start()
        ended = asyncio.create_task(server.wait())
        server.on_abandoned(asked.set)
        told = asyncio.create_task(asked.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if ended.done():
            server.hurry()
        await server.stop()
        await ended
    return asked.is_set()
