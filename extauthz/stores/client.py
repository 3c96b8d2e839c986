"""A redis client for each form of URL: bounded, with timeouts everywhere, and without retries of its own.

Whoever asks knows how long an answer may take and what holds without one, so nothing is tried twice down here. The protocol
is RESP2, which every server speaks and which never pushes.
"""

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from extauthz.stores.settings import StoreSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster
    from redis.credentials import CredentialProvider

__all__ = ["CLUSTER_CONNECTIONS", "close_client", "end_if_cancelled", "open_client", "said"]

CLUSTER_CONNECTIONS: Final = 32
"""To each node of a cluster, where the library sends scripts one by one."""
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_CONNECT: Final = 1.0
"""Seconds for a connection, at least. No request waits for it longer than it may: it is made for those that follow."""
_SPARE: Final = 2
"""Connections beside those of requests, so that heartbeats never wait for them."""


def open_client(settings: StoreSettings) -> "Redis | RedisCluster":
    """A client; nothing is connected yet.

    Raises:
        ImportError: The library is not installed.
        OSError, ValueError: A certificate can't be read.
    """
    from redis.asyncio import BlockingConnectionPool, Redis, Sentinel, SSLConnection, UnixDomainSocketConnection
    from redis.asyncio.cluster import ClusterNode, RedisCluster
    from redis.asyncio.connection import Connection
    from redis.asyncio.retry import Retry
    from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
    from redis.backoff import NoBackoff

    parts = urlsplit(settings.url)
    scheme, _, form = parts.scheme.partition("+")
    tls = scheme == "rediss"
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": max(settings.timeout, _CONNECT),
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "credential_provider": _credentials(settings, parts),
    }
    encryption = {} if not tls else _encryption(settings)
    if form == "cluster":
        nodes = [ClusterNode(host, port) for host, port in _hosts(parts, _PORT)]
        cluster = RedisCluster(
            startup_nodes=nodes,
            max_connections=CLUSTER_CONNECTIONS + _SPARE,
            ssl=tls,
            require_full_coverage=False,
            **(options | encryption),
        )
        # It takes no kind of connection, but makes all of its nodes, once it is connected, of what it has then.
        kind = _following(SSLConnection if tls else Connection, settings)
        cluster.nodes_manager.connection_kwargs["connection_class"] = kind
        for node in cluster.startup_nodes:
            node.connection_class = kind
        return cluster
    options |= {"db": int(parts.path[1:] or 0) if form == "" else 0}
    if form == "sentinel":
        # Sentinels have no password of ours; the TLS settings are those of the store.
        asked = {name: value for name, value in options.items() if name not in {"credential_provider", "db"}}
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            _hosts(parts, _SENTINEL_PORT),
            sentinel_kwargs=asked | encryption | {"ssl": tls},
            **(options | encryption | {"ssl": tls}),
        )
        kind = _following(SentinelManagedSSLConnection if tls else SentinelManagedConnection, settings)
        master: Redis = sentinel.master_for(
            unquote(parts.path[1:]), connection_class=kind, max_connections=settings.connections + _SPARE
        )
        return master
    options |= {"max_connections": settings.connections + _SPARE, "timeout": settings.timeout}
    if form == "unix":
        kind = _following(UnixDomainSocketConnection, settings)
        pool = BlockingConnectionPool(connection_class=kind, path=unquote(parts.path), **options)
    else:
        ((host, port),) = _hosts(parts, _PORT)
        kind = _following(SSLConnection if tls else Connection, settings)
        pool = BlockingConnectionPool(connection_class=kind, host=host, port=port, **(options | encryption))
    return Redis.from_pool(pool)


async def close_client(client: "Redis | RedisCluster") -> None:
    """Close all connections, those to sentinels included, which the library leaves open."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    await client.aclose()
    for sentinel in manager.sentinels if manager is not None else ():
        await sentinel.aclose()


def end_if_cancelled() -> None:
    """End a task that was cancelled: at times the library takes that for a lost connection, or goes on as if it were nothing,
    and whoever has cancelled the task waits for its end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def said(error: Exception) -> str:
    """An error of the library in one line, without what it says for programmers: the client that it comes from."""
    text = str(error).partition(" : <")[0]
    return f"{type(error).__name__}: {text}"[:200]


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    """Hosts and ports of a URL that may name several; ``[::1]`` for IPv6."""
    found = []
    for place in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{place}")
        found.append((one.hostname or "localhost", one.port or port))
    return found


def _encryption(settings: StoreSettings) -> dict[str, Any]:
    import ssl

    # The library reads them for each connection; what it could never read is told at start.
    context = ssl.create_default_context(cafile=settings.ca_file)
    if settings.cert_file is not None:
        # A key behind a password is refused: nobody is there to be asked for it.
        context.load_cert_chain(settings.cert_file, settings.key_file, password="")
    return {
        "ssl_ca_certs": settings.ca_file,
        "ssl_certfile": settings.cert_file,
        "ssl_keyfile": settings.key_file,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
    }


def _credentials(settings: StoreSettings, parts: SplitResult) -> "CredentialProvider | None":
    """User and password, read when a connection is made, so that a changed file needs no restart."""
    from redis.credentials import CredentialProvider

    file = settings.password_file
    if file is None:
        return None
    path = file
    written = settings.username or unquote(parts.username or "")

    class FromFile(CredentialProvider):
        def get_credentials(self) -> tuple[str] | tuple[str, str]:
            user, password = _user(settings, written), _line(path)
            if settings.username_file is not None and (later := _user(settings, written)) != user:
                user, password = later, _line(path)  # both changed in between
            return (user, password) if user else (password,)

        async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
            return self.get_credentials()

    return FromFile()


def _following(kind: Any, settings: StoreSettings) -> Any:
    """A kind of connection that ends after a use if its user is not the one of the file any more: users that are lent end, and
    their connections with them.
    """
    if settings.username_file is None or settings.password_file is None:
        return kind
    files = settings.username_file, settings.password_file

    class Following(kind):  # type: ignore[misc]
        seen: tuple[int, ...] = ()

        async def _connect(self) -> None:
            self.seen = _stamp(*files)
            await super()._connect()

        def should_reconnect(self) -> bool:
            """Asked by the pool when it gets the connection back."""
            return bool(super().should_reconnect()) or self.seen != _stamp(*files)

    return Following


def _stamp(*paths: str) -> tuple[int, ...]:
    """What tells the contents of files from others; empty if they can't be looked at."""
    try:
        marks = [os.stat(path) for path in paths]  # noqa: PTH116 - for each use of a connection
    except OSError:
        return ()
    return tuple(number for mark in marks for number in (mark.st_dev, mark.st_ino, mark.st_mtime_ns))


def _user(settings: StoreSettings, written: str) -> str:
    return written if settings.username_file is None else _line(settings.username_file)


def _line(path: str) -> str:
    with open(path, encoding="utf-8") as opened:  # noqa: PTH123 - one small local file
        return opened.read().removesuffix("\n").removesuffix("\r")
