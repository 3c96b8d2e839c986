"""Servers that answer what no directory does, or nothing."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sansldap
import trustme

from extauthz.errors import EntryError, UpstreamError
from extauthz.ldap import LdapDirectory, LdapSettings, PersonSearch
from extauthz.ldap.connection import Connection, Server

Open = Callable[[LdapSettings], LdapDirectory]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Impostor:
    """A server on loopback that does what a test says, and counts its guests."""

    talk: Talk
    port: int = 0
    guests: int = 0
    most: int = 0
    all: int = 0
    heard: bytearray = field(default_factory=bytearray)

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.guests += 1
        self.all += 1
        self.most = max(self.most, self.guests)
        try:
            await self.talk(reader, writer)
            while part := await reader.read(1024):
                self.heard += part
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.guests -= 1
            writer.close()

    async def gone(self) -> None:
        """Return when nobody is connected."""
        async with asyncio.timeout(3):
            while self.guests:  # noqa: ASYNC110 - two lines instead of a condition
                await asyncio.sleep(0.01)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Talk], Awaitable[Impostor]]]:
    servers: list[asyncio.Server] = []

    async def serve_(talk: Talk) -> Impostor:
        impostor = Impostor(talk)
        server = await asyncio.start_server(impostor.meet, "127.0.0.1")
        impostor.port = server.sockets[0].getsockname()[1]
        servers.append(server)
        return impostor

    yield serve_
    for server in servers:
        server.close()


Serve = Callable[[Talk], Awaitable[Impostor]]


def plain(impostor: Impostor, **parts: object) -> LdapSettings:
    settings: dict[str, object] = {
        "url": f"ldap://127.0.0.1:{impostor.port}",
        "person": "uid={username},dc=example",
        "timeout": 0.5,
    }
    return LdapSettings(**(settings | parts))  # type: ignore[arg-type]


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing."""


def saying(*answers: bytes) -> Talk:
    """Answer each thing that is heard with the next of these."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(65_536)
            writer.write(answer)

    return talk


def packed(message: sansldap.LDAPMessage) -> bytes:
    """A message as a directory would send it."""
    return message.pack(sansldap.LDAPServer()._packing_options)


def result(code: sansldap.LDAPResultCode = sansldap.LDAPResultCode.SUCCESS) -> sansldap.LDAPResult:
    return sansldap.LDAPResult(
        code, "", "", ["ldap://127.0.0.1:1/"] if code == sansldap.LDAPResultCode.REFERRAL else None
    )


def bound(number: int = 1, code: sansldap.LDAPResultCode = sansldap.LDAPResultCode.SUCCESS) -> bytes:
    return packed(sansldap.BindResponse(number, [], result(code)))


def entries(number: int, count: int) -> bytes:
    uid = sansldap.PartialAttribute("uid", [b"alice"])
    return packed(sansldap.SearchResultEntry(number, [], "uid=alice,dc=example", [uid])) * count


DISCONNECTION = packed(
    sansldap.ExtendedResponse(0, [], result(sansldap.LDAPResultCode.UNAVAILABLE), "1.3.6.1.4.1.1466.20036", None)
)
START_TLS_ACCEPTED = packed(sansldap.ExtendedResponse(1, [], result(), "1.3.6.1.4.1.1466.20037", None))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        b"<html>" * 100,
        b"\x30\x80\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00\x00\x00",
        b"\x30\x84\x7f\xff\xff\xff",
        b"\x30\x85\x00\x00\x00\x00\x0c",
        b"\x30\x0c\x02\x01\x01\x61\x7f\x0a\x01\x00\x04\x00\x04\x00",
        b"\x30\x03\x02\x01\x01",
        b"\x30\x02\x02\x00",
        b"\x30\x00",
        b"\x04\x02ab",
        b"\x30\x0c\x02\x01\x01\x7f\x07\x0a\x01\x00\x04\x00\x04\x00",
        b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x01",
        bound(2),
        entries(1, 1),
        b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00",
        DISCONNECTION,
        b"",
    ],
    ids=range(17),
)
async def test_no_answer_of_a_directory(serve: Serve, opened: Open, answer: bytes) -> None:
    """I2: whatever comes back that is not the answer is a fault, never somebody's identity, and the connection is dropped."""
    impostor = await serve(saying(answer) if answer else silence)
    with pytest.raises(UpstreamError) as caught:
        await opened(plain(impostor)).authenticate("alice", "swordfish")
    assert "swordfish" not in str(caught.value)
    assert "alice" not in str(caught.value)
    await impostor.gone()


@pytest.mark.parametrize(
    "code",
    [
        sansldap.LDAPResultCode.REFERRAL,
        sansldap.LDAPResultCode.SASL_BIND_IN_PROGRESS,
        sansldap.LDAPResultCode.BUSY,
        sansldap.LDAPResultCode.CONFIDENTIALITY_REQUIRED,
        sansldap.LDAPResultCode.COMPARE_TRUE,
        sansldap.LDAPResultCode(4711),
    ],
)
async def test_odd_answers_to_a_bind(serve: Serve, opened: Open, code: sansldap.LDAPResultCode) -> None:
    """Only SUCCESS is success; what is no refusal of the person is a fault of the directory."""
    with pytest.raises(UpstreamError, match="answers a sign-in with"):
        await opened(plain(await serve(saying(bound(code=code))))).authenticate("alice", "swordfish")


async def test_odd_answers_after_a_bind(serve: Serve, opened: Open) -> None:
    """A right password is not enough: without the names that the directory has, nobody is let in."""
    for code, error in ((0, EntryError), (32, EntryError), (50, EntryError), (51, UpstreamError), (80, UpstreamError)):
        done = packed(sansldap.SearchResultDone(2, [], result(sansldap.LDAPResultCode(code))))
        with pytest.raises(UpstreamError) as caught:
            await opened(plain(await serve(saying(bound(), done)))).authenticate("alice", "swordfish")
        assert type(caught.value) is error


async def test_a_refusal_is_no_fault(serve: Serve, opened: Open) -> None:
    """Locked, disabled and expired accounts are refusals in the words of several directories."""
    for code in (19, 32, 34, 48, 49, 50, 53):
        impostor = await serve(saying(bound(code=sansldap.LDAPResultCode(code))))
        assert await opened(plain(impostor)).authenticate("alice", "swordfish") is None


async def test_endless_entries(serve: Serve, opened: Open) -> None:
    """I7: a directory that finds more than was asked for is not listened to; two entries are too many for a person."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        for _ in range(100_000):
            writer.write(entries(1, 50))
            await writer.drain()

    impostor = await serve(flood)
    with pytest.raises(EntryError, match="more than one entry"):
        await opened(plain(impostor, person=PersonSearch("dc=example"))).authenticate("alice", "swordfish")
    await impostor.gone()


async def test_a_server_that_says_nothing(serve: Serve, opened: Open) -> None:
    """I9: a dead server gets as many connections as the pool has, one time limit long, and none is left over."""
    for settings in ({}, {"start_tls": True}, {"tls": True}):
        impostor = await serve(silence)
        url = {"url": f"ldaps://127.0.0.1:{impostor.port}"} if settings.pop("tls", False) else {}
        directory = opened(plain(impostor, pool_size=3, timeout=0.2, **settings, **url))
        began = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(
            *(directory.authenticate("alice", "swordfish") for _ in range(40)), return_exceptions=True
        )
        assert asyncio.get_running_loop().time() - began < 1
        assert {str(outcome) for outcome in outcomes} == {f"127.0.0.1:{impostor.port}: no answer within 0.2 s"}
        assert impostor.most == 3
        await impostor.gone()


async def test_a_sign_in_that_is_cancelled(serve: Serve, opened: Open) -> None:
    """Whoever goes away takes the connection along, at whatever point that is."""
    for scheme, start_tls in (("ldap", False), ("ldap", True), ("ldaps", False)):
        impostor = await serve(silence)
        directory = opened(plain(impostor, url=f"{scheme}://127.0.0.1:{impostor.port}", start_tls=start_tls, timeout=5))
        task = asyncio.create_task(directory.authenticate("alice", "swordfish"))
        while not impostor.all:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await impostor.gone()


async def test_a_connection_that_went_while_idle(serve: Serve, opened: Open) -> None:
    """A question on a connection that the other side gave up is asked once more, on a new one; not for ever."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(bound(code=sansldap.LDAPResultCode.INVALID_CREDENTIALS))
        await reader.read(65_536)
        writer.write(DISCONNECTION)
        writer.close()

    impostor = await serve(once)
    directory = opened(plain(impostor))
    assert await directory.authenticate("alice", "swordfish") is None
    assert await directory.authenticate("alice", "swordfish") is None
    assert impostor.all == 2


async def test_what_is_said_before_tls_is_not_heard(serve: Serve, opened: Open, tmp_path: Path) -> None:
    """What an attacker appends to the answer to StartTLS is no answer to anything, and no password is sent after it."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    impostor = await serve(saying(START_TLS_ACCEPTED + bound(1) + bound(2)))
    with pytest.raises(UpstreamError, match="TLS can't be agreed on"):
        await opened(plain(impostor, start_tls=True, ca_file=str(tmp_path / "ca.pem"))).authenticate(
            "alice", "swordfish"
        )
    await impostor.gone()
    assert b"swordfish" not in impostor.heard


async def test_a_bind_without_a_password() -> None:
    """RFC 4513 5.1.2: the connection itself refuses to ask a question whose answer is always yes."""
    unused: Any = None
    connection = Connection(Server("127.0.0.1", 389, tls=False, start_tls=False), unused, unused)
    for dn, password in (("", "x"), ("uid=alice", ""), ("uid=alice", "x\0"), ("uid=alice", "\0")):
        with pytest.raises(ValueError, match="a name and a password"):
            await connection.bind(dn, password)


@pytest.mark.parametrize(
    "url", ["", "ldap://", "http://x", "ldap://x/dc=a", "ldaps://u:p@x", "ldap://x:99999", "ldaps://x?y"]
)
def test_wrong_urls(url: str) -> None:
    """A URL that is not just a host and a port is refused, and not repeated: it may hold a password."""
    with pytest.raises(UpstreamError, match=r"^url is not ldaps://host or ldap://host$"):
        LdapDirectory(LdapSettings(url=url, person="uid={username},dc=example"))


def test_files_are_looked_at_when_the_directory_is_made(tmp_path: Path) -> None:
    """A password or an authority that is not there stops the start, with the name of the file and nothing of its content."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "junk").write_bytes(b"\xff\xfe\x00secret")

    def make(**parts: object) -> None:
        LdapDirectory(LdapSettings(url="ldaps://x", person="uid={username},dc=example", **parts))  # type: ignore[arg-type]

    for name, fault in (
        ("none", "No such file"),
        ("empty", "does not hold one password"),
        ("junk", "does not hold one"),
    ):
        with pytest.raises(UpstreamError, match=fault) as caught:
            make(bind_dn="cn=x", bind_password_file=str(tmp_path / name))
        assert "secret" not in str(caught.value)
    for name, fault in (("none", "No such file"), ("junk", "no certificates in it")):
        with pytest.raises(UpstreamError, match=f"caFile .*{fault}"):
            make(ca_file=str(tmp_path / name))


def test_certificates_are_always_checked() -> None:
    """TLS 1.2 at least, the authority and the name are checked, and the common name is no name."""
    directory = LdapDirectory(LdapSettings(url="ldaps://x", person="uid={username},dc=example"))
    context = directory._context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
