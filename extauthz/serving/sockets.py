"""Opening sockets so that nothing is taken from anybody and nothing is open for longer than meant.

A unix socket is a file, and whoever may replace it answers Checks in our name. So its directory must be safe, a socket
that somebody listens on is never removed, and the permission bits are there from the moment the file is: they come
from the umask, because between bind and chmod there would be a gap. The umask belongs to the whole process; for the
microseconds of a bind another thread could only create a file that is more private than it meant.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

from extauthz.errors import ServingError
from extauthz.serving.listener import Address, Listener, TcpAddress, UnixAddress

__all__ = [
    "SharedSocket",
    "address_of",
    "bind_problem",
    "clear_unix_path",
    "open_socket",
    "remove_unix_path",
    "socket_permissions",
]

_CONNECT_SECONDS = 0.5


@contextmanager
def socket_permissions(mode: int) -> Iterator[None]:
    """Let unix sockets that are bound inside have exactly these permission bits."""
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


def clear_unix_path(path: str) -> None:
    """Make sure that a unix socket may be bound at a path, and remove a stale one that stands there.

    Raises ServingError if the directory is missing or anyone may replace files in it, if something else than a socket
    stands there, or if somebody listens.
    """
    socket_file = Path(path)
    directory = socket_file.parent
    try:
        mode = directory.stat().st_mode
    except OSError as error:
        raise ServingError(f"unix:{path}: its directory can't be used: {error.strerror}") from None
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ServingError(
            f"unix:{path}: everyone may replace files in {directory}; remove that right (chmod o-w {directory})"
        )
    try:
        found = socket_file.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ServingError(f"unix:{path}: {error.strerror}") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise ServingError(f"unix:{path}: a file that is no socket stands there; remove it or choose another path")
    if _somebody_listens(path):
        raise ServingError(f"unix:{path}: another process listens there; stop it or choose another path")
    try:
        socket_file.unlink()
    except OSError as error:
        raise ServingError(f"unix:{path}: a stale socket stands there and can't be removed: {error.strerror}") from None


def _somebody_listens(path: str) -> bool:
    """Only a refused connection proves that nobody does: a full backlog or a missing right does not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True


def open_socket(name: str, listener: Listener) -> tuple[socket.socket, Address]:
    """Open and bind a listening socket; gives it with the address that it got (port 0 has become a real port).

    ``name`` is the setting's path. Raises ServingError. The port is never shared with another process
    (``SO_REUSEPORT`` is off), so a second server fails instead of taking half the connections.
    """
    address = listener.address
    try:
        if isinstance(address, UnixAddress):
            clear_unix_path(address.path)
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                with socket_permissions(listener.socket_mode):
                    opened.bind(address.path)
                opened.listen()
            except OSError:
                opened.close()
                raise
            return opened, address
        family = socket.AF_INET if address.host.version == 4 else socket.AF_INET6  # noqa: PLR2004
        every = family == socket.AF_INET6 and address.host.is_unspecified
        opened = socket.create_server((str(address.host), address.port), family=family, dualstack_ipv6=every)
        # Connections inherit it. An answer is written in two parts, and the second one would wait for the client to
        # acknowledge the first: 40 ms on a connection that is kept.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise ServingError(bind_problem(name, address, error)) from None
    return opened, type(address)(address.host, opened.getsockname()[1])


def address_of(opened: socket.socket) -> Address:
    """Where a socket is bound to. Raises ValueError if that is nowhere that a listener could be."""
    name = opened.getsockname()
    if opened.family == socket.AF_UNIX:
        return UnixAddress(name)
    return TcpAddress(ip_address(name[0]), name[1])


class SharedSocket:
    """A listening socket that this process opens for others and takes nothing from."""

    def __init__(self, name: str, listener: Listener) -> None:
        """Open and bind it; ``name`` is the setting's path. Raises ServingError."""
        self._socket, self.address = open_socket(name, listener)
        self._inode = Path(self.address.path).stat().st_ino if isinstance(self.address, UnixAddress) else 0

    @property
    def descriptor(self) -> int:
        """What the others inherit."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it; the others have theirs until they end."""
        self._socket.close()
        remove_unix_path(self.address, self._inode)


def bind_problem(name: str, address: Address, error: OSError) -> str:
    """Say why an address could not be bound."""
    if error.errno == errno.EADDRINUSE:
        return f"{name}.address: {address} is in use by another process; stop it or choose another address"
    return f"{name}.address: can't listen on {address}: {error.strerror or error}"


def remove_unix_path(address: Address, inode: int) -> None:
    """Remove the socket that was opened at a unix address, unless another file stands there by now."""
    if isinstance(address, UnixAddress):
        with suppress(OSError):
            path = Path(address.path)
            if path.lstat().st_ino == inode:
                path.unlink()
