"""Opening sockets: permissions, stale sockets, ports that are taken."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from extauthz.errors import ServingError
from extauthz.serving.listener import Listener, TcpAddress, UnixAddress, parse_address
from extauthz.serving.sockets import open_socket, remove_unix_path


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        yield other


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    """A socket that a process left behind does not keep the next one from starting."""
    path = tmp_path / "check.sock"
    with listening(path):
        pass
    assert path.exists()
    opened, address = open_socket("listen.admin", Listener(UnixAddress(str(path))))
    with opened, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert address == UnixAddress(str(path))


def test_a_unix_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    """A socket that somebody listens on is never removed; the start fails and says so."""
    path = tmp_path / "check.sock"
    with listening(path), pytest.raises(ServingError, match="another process listens"):
        open_socket("listen.admin", Listener(UnixAddress(str(path))))
    assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A path typed wrong does not delete a file."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ServingError, match="no socket"):
        open_socket("listen.admin", Listener(UnixAddress(str(path))))
    assert path.read_text() == "data"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode_whatever_the_umask_is(tmp_path: Path, mode: int) -> None:
    """The permission bits are exactly socketMode, and the process's umask is as before."""
    path = tmp_path / "check.sock"
    before = os.umask(0o027)
    try:
        opened, _ = open_socket("listen.admin", Listener(UnixAddress(str(path)), socket_mode=mode))
        opened.close()
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_directory_where_everyone_may_replace_files_is_refused(tmp_path: Path) -> None:
    """Who can replace the socket can answer in our name; a sticky directory such as /tmp is fine."""
    tmp_path.chmod(0o777)
    listener = Listener(UnixAddress(str(tmp_path / "check.sock")))
    with pytest.raises(ServingError, match="everyone may replace"):
        open_socket("listen.admin", listener)
    tmp_path.chmod(0o1777)
    open_socket("listen.admin", listener)[0].close()


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    """The error names the path and the reason."""
    with pytest.raises(ServingError, match=r"missing/check\.sock: its directory can't be used: No such file"):
        open_socket("listen.admin", Listener(UnixAddress(str(tmp_path / "missing" / "check.sock"))))


def test_a_port_in_use_is_told_with_the_setting() -> None:
    """A second server on one port fails loudly instead of sharing it."""
    opened, address = open_socket("listen.admin", Listener(parse_address("127.0.0.1:0")))
    assert isinstance(address, TcpAddress)
    assert address.port > 0
    with opened, pytest.raises(ServingError, match=r"listen\.admin\.address: 127.*is in use by another process"):
        open_socket("listen.admin", Listener(address))


def test_only_the_socket_that_was_opened_is_removed(tmp_path: Path) -> None:
    """A socket that another process put in our place stays when we leave."""
    address = UnixAddress(str(tmp_path / "check.sock"))
    opened, _ = open_socket("listen.admin", Listener(address))
    opened.close()
    ours = Path(address.path).stat().st_ino
    remove_unix_path(address, ours + 1)
    assert Path(address.path).exists()
    remove_unix_path(address, ours)
    assert not Path(address.path).exists()


def test_no_answer_waits_for_an_acknowledgement() -> None:
    """Connections send at once what is written: a client that keeps its connection would wait 40 ms for each answer."""
    opened, address = open_socket("listen.http", Listener(parse_address("127.0.0.1:0")))
    assert isinstance(address, TcpAddress)
    with opened, socket.create_connection(("127.0.0.1", address.port), timeout=5):
        taken, _ = opened.accept()
        with taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
