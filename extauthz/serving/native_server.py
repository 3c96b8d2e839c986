"""The native transport: HTTP/2 and gRPC in Rust, outside the interpreter lock, for plaintext listeners.

``pygrpc_native`` reads connections on a thread of its own and hands over calls in batches; everything here works on those
batches, in the event loop. A Check that needs no waiting is answered where it stands in its batch: no task, no coroutine,
no context object. While there are calls the loop fetches the next batch itself, between its other work; only when there
are none does it leave the waiting to a thread, so that under load no two threads take turns on the interpreter lock. Where
calls come less than a millisecond apart, the loop waits that long itself: handing over to the thread and back costs as much
as a Check. What else the loop has to do may come so much later, but not what a Check waits for. And a call waits in Rust
until its turn comes, where waiting is cheap and its deadline is watched.

Compared with the grpcio transport there is no TLS, no age of connections and no reflection; ``transports`` chooses. A
message over the limit is refused after it was read, which Rust bounds at 4 MiB. When the server stops it goes on answering
until the end, and says goodbye (GOAWAY) then: whoever still sends Checks is not told to come again, but answered.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import structlog
from pygrpc_native import EVENT_CALL, EVENT_CANCEL, NativeGrpcFront

from extauthz.errors import ServingError
from extauthz.serving.faults import describe
from extauthz.serving.grpc_server import PING_SECONDS, PING_TIMEOUT_SECONDS, GrpcOptions
from extauthz.serving.health import HEALTH_SERVICE, Health
from extauthz.serving.listener import Address, Listener, TcpAddress, UnixAddress
from extauthz.serving.sockets import clear_unix_path, open_socket, remove_unix_path, socket_permissions
from extauthz.serving.transport import CHECK_METHOD, Call, Handler

__all__ = ["NativeServer"]

_log = structlog.get_logger()

_BATCH = 64
"""Calls that are answered before the event loop gets to its other work."""
_STREAMS = 64
"""Calls at a time on one connection. An answer that comes too late costs a fraction of one in time, and few connections
with many calls make large batches."""
_PATIENCE_MS = 1
"""What the event loop waits for the next call while they come this close together."""
_CHECK, _HEALTH, _LIST, _WATCH = range(4)
_METHODS = (
    (CHECK_METHOD, False),
    (f"/{HEALTH_SERVICE}/Check", False),
    (f"/{HEALTH_SERVICE}/List", False),
    (f"/{HEALTH_SERVICE}/Watch", True),
)

_Details = tuple[tuple[tuple[str, str | bytes], ...], str, float | None]
_Event = tuple[int, int, int, bytes | None, Any, _Details | None]


class NativeServer:
    """One native server on one plaintext listener: Check and health. For one event loop."""

    def __init__(
        self, listener: Listener, handler: Handler, fallback: bytes, health: Health, *, options: GrpcOptions
    ) -> None:
        """Put the server together; nothing is opened yet. To be called in the event loop.

        ``fallback`` is the serialised denial that answers when the handler fails; an empty one is refused, since it
        would allow. Raises ValueError for what this transport can't do.
        """
        if not fallback:
            raise ValueError("an empty fallback would be an allow")
        if listener.tls is not None or options.reflection:
            raise ValueError("the native transport has neither TLS nor reflection")
        self._listener = listener
        self._handler = handler
        self._fallback = fallback
        self._health = health
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._front: NativeGrpcFront | None = None
        self._inode = 0
        self._thread: threading.Thread | None = None
        self._idle = threading.Event()
        self._done = 0.0
        """When the last batch was answered."""
        self._waiting = 0
        """Checks that wait for something."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._closing = False
        self._closed: asyncio.Future[None] = self._loop.create_future()

    def bind(self, name: str) -> Address:
        """Open the listener; gives the address that it got (port 0 has become a real port).

        ``name`` is the setting's path. Raises ServingError. Calls are answered after ``start``.
        """
        address = self._listener.address
        if isinstance(address, UnixAddress):
            clear_unix_path(address.path)
            with socket_permissions(self._listener.socket_mode):
                self._front = self._open(name, f"unix:{address.path}")
            self._inode = Path(address.path).lstat().st_ino
            return address
        self._front = self._open(name, str(address))
        return TcpAddress(address.host, self._front.bound_port)

    def _open(self, name: str, target: str) -> NativeGrpcFront:
        options = self._options
        try:
            return NativeGrpcFront(
                target,
                _METHODS,
                io_threads=1,
                call_details=True,
                keepalive_time_ms=PING_SECONDS * 1000,
                keepalive_timeout_ms=PING_TIMEOUT_SECONDS * 1000,
                keepalive_permit_without_calls=True,
                max_concurrent_streams=options.max_concurrent_streams or _STREAMS,
                max_metadata_size=options.max_metadata_bytes,
            )
        except (OSError, ValueError):
            raise ServingError(self._why_not(name)) from None

    def _why_not(self, name: str) -> str:
        """The reason why the listener can't be opened, in the words of all listeners: ask the system again."""
        address = self._listener.address
        try:
            opened, _ = open_socket(name, self._listener)
        except ServingError as error:
            return str(error)
        if isinstance(address, UnixAddress):
            remove_unix_path(address, Path(address.path).lstat().st_ino)
        opened.close()
        return f"{name}.address: the native transport can't listen on {address}"

    async def start(self) -> None:
        """Begin to answer calls."""
        if self._front is None:
            raise RuntimeError("bind comes first")
        self._front.start()
        self._thread = threading.Thread(target=self._wait_for_calls, args=(self._front,), name="calls", daemon=True)
        self._thread.start()

    def _wait_for_calls(self, front: NativeGrpcFront) -> None:
        """In a thread: wait for calls while the loop has none, then leave them to the loop until it has none again."""
        while (events := front.recv_batch_details(_BATCH)) is not None:
            try:
                self._loop.call_soon_threadsafe(self._take, front, events)
            except RuntimeError:  # the loop was closed without stop
                front.close()
                return
            self._idle.wait()
            self._idle.clear()
        self._loop.call_soon_threadsafe(self._ended)

    def _take(self, front: NativeGrpcFront, events: list[_Event] | None) -> None:
        """Work on a batch, then fetch the next one, if there are calls."""
        received = time.monotonic()
        patience = _PATIENCE_MS if received - self._done < _PATIENCE_MS / 1000 else 0
        try:
            for kind, call_id, method, message, _, details in events or ():
                if kind == EVENT_CALL and message is not None and details is not None:
                    metadata, _, remaining = details
                    if remaining is not None:
                        remaining += received - time.monotonic()
                    if method == _CHECK:
                        self._check(front, call_id, message, Call(metadata, remaining))
                    else:
                        self._ask_health(front, call_id, method, message)
                elif kind == EVENT_CANCEL and call_id in self._tasks:
                    self._tasks[call_id].cancel()
            self._done = time.monotonic()
            events = front.recv_batch_details(_BATCH, 0 if self._waiting else patience)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other calls are answered
            _log.error("calls were left without answer", fault=describe(error))
            events = None
        if events:
            self._loop.call_soon(self._take, front, events)
        else:
            self._idle.set()

    def _check(self, front: NativeGrpcFront, call_id: int, message: bytes, call: Call) -> None:
        """Answer a Check now, or begin to wait for its answer. It is answered whatever the handler does."""
        if len(message) > self._options.max_message_bytes:
            text = f"the message has {len(message)} bytes, and may have {self._options.max_message_bytes}"
            front.fail(call_id, _number(grpc.StatusCode.RESOURCE_EXHAUSTED), text)
            return
        answer: Any
        try:
            answer = self._handler(message, call)
        except Exception as error:  # noqa: BLE001 - the last boundary: whatever it is, the answer is a denial
            _log.error("check failed", fault=describe(error))
            answer = self._fallback
        if isinstance(answer, bytes):
            front.respond(call_id, self._usable(answer))
        else:
            self._waiting += 1
            self._run(call_id, lambda: self._answer_later(front, call_id, answer)).add_done_callback(self._answered)

    async def _answer_later(self, front: NativeGrpcFront, call_id: int, waiting: Awaitable[bytes]) -> None:
        answer: Any = None
        try:
            answer = await waiting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Something that the handler waited for was cancelled, not this call: its caller still waits.
            _log.error("check failed", fault="what the check waited for was cancelled")
            answer = self._fallback
        except Exception as error:  # noqa: BLE001 - as above
            _log.error("check failed", fault=describe(error))
            answer = self._fallback
        front.respond(call_id, self._usable(answer))

    def _answered(self, _: asyncio.Task[None]) -> None:
        self._waiting -= 1

    def _usable(self, answer: object) -> bytes:
        """The answer, or the fallback for one that is none."""
        if isinstance(answer, bytes) and answer:
            return answer
        _log.error("check failed", fault="the handler gave no answer")
        return self._fallback

    def _ask_health(self, front: NativeGrpcFront, call_id: int, method: int, message: bytes) -> None:
        if method == _WATCH:
            self._run(call_id, lambda: self._watch(front, call_id, message))
            return
        answer = self._health.answer(message) if method == _HEALTH else self._health.listing()
        if answer is None:
            front.fail(call_id, _number(grpc.StatusCode.NOT_FOUND), "no such service here")
        else:
            front.respond(call_id, answer)

    async def _watch(self, front: NativeGrpcFront, call_id: int, message: bytes) -> None:
        async for told in self._health.changes(message):
            if not front.stream_open(call_id):
                return
            front.stream_try_send(call_id, told)
        front.stream_end(call_id)

    def _run(self, call_id: int, work: Callable[[], Any]) -> asyncio.Task[None]:
        """Do something for a call in a task, which ends if its caller goes away."""
        task = self._tasks[call_id] = self._loop.create_task(work())
        task.add_done_callback(lambda _: self._tasks.pop(call_id, None))
        return task

    async def stop(self, grace: float) -> None:
        """Give running calls ``grace`` seconds, answering those that come meanwhile, then say goodbye.

        A second call shortens the grace of the first.
        """
        self._closing = True
        running = set(self._tasks.values())
        if running and grace > 0:
            await asyncio.wait(running, timeout=grace)
        for task in list(self._tasks.values()):
            task.cancel()
        if self._front is not None:
            await asyncio.to_thread(self._close, self._front)
            remove_unix_path(self._listener.address, self._inode)
        if not self._closed.done():
            self._closed.set_result(None)

    def _close(self, front: NativeGrpcFront) -> None:
        """In a thread, as it waits for others."""
        front.close()
        self._idle.set()
        if self._thread is not None:
            self._thread.join()

    def _ended(self) -> None:
        """No more calls will come."""
        if not self._closing and not self._closed.done():
            self._closed.set_exception(ServingError("the native transport ended by itself"))

    async def wait_closed(self) -> None:
        """Wait until the server, which was started, has ended."""
        await asyncio.shield(self._closed)


def _number(code: grpc.StatusCode) -> int:
    number: int = code.value[0]
    return number
