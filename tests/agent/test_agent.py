"""What an agent does, in this process: every way to get a token, every page, and a service that is not always well."""

import asyncio
import contextlib
import os
import signal
import stat
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import extauthz.app.agent
from extauthz.agent import Purpose
from extauthz.app.agent import AgentOptions
from extauthz.cli import main
from extauthz.errors import ServingError
from extauthz.fetch import HttpFetcher
from extauthz.serving import parse_address
from tests.agent.conftest import SECRET, TokenService, ask, content, jwt


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of this process belongs to the tests."""
    monkeypatch.setattr(extauthz.app.agent, "configure_logs", lambda level: None)


@pytest.fixture
def options(service: TokenService, tmp_path: Path) -> AgentOptions:
    """A client with a secret, a file, and both pages on unix sockets."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    return AgentOptions(
        service.url,
        "client-credentials",
        client_id="billing",
        secret_file=str(tmp_path / "secret"),
        token_file=str(tmp_path / "token"),
        allow_http=True,
        listen=parse_address(f"unix:{tmp_path}/listen"),
        admin=parse_address(f"unix:{tmp_path}/admin"),
    )


Begin = Callable[[AgentOptions], None]


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    """Run an agent until the test ends."""
    tasks: list[asyncio.Task[None]] = []
    yield lambda options: tasks.append(asyncio.create_task(extauthz.app.agent._keep(options)))
    for task in tasks:
        # Not by a signal: one that came when nobody listens any more would end the tests.
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (value := found()):
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.01)
    return value


async def asked(options: AgentOptions, page: str, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    where = str(options.admin if page == "admin" else options.listen)
    await eventually(lambda: Path(where.removeprefix("unix:")).exists())
    return await asyncio.to_thread(ask, where, path, **headers)


async def becomes(options: AgentOptions, status: int) -> None:
    """Wait for an answer of the readiness probe."""
    while (await asked(options, "admin", "/readyz"))[0] != status:  # noqa: ASYNC110 - it is asked from outside
        await asyncio.sleep(0.02)


async def test_an_assertion_instead_of_a_secret(
    service: TokenService, options: AgentOptions, begin: Begin, tmp_path: Path
) -> None:
    """private_key_jwt (RFC 7523), for the issuer's name."""
    key = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(key)
    begin(replace(options, secret_file="", key_file=str(tmp_path / "key.pem"), key_id="k1", issuer="https://tokens"))
    await eventually(lambda: content(tmp_path / "token"))
    form = service.asked[0].form
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert form["client_assertion"].count(".") == 2
    assert "authorization" not in service.asked[0].headers


async def test_a_purpose(service: TokenService, options: AgentOptions, begin: Begin) -> None:
    """An audience and scopes are asked for by name."""
    begin(replace(options, purpose=Purpose("https://orders", "orders:read orders:write"), secret_in="post"))
    await eventually(lambda: service.asked)
    assert service.asked[0].form == {
        "grant_type": "client_credentials",
        "resource": "https://orders",
        "scope": "orders:read orders:write",
        "client_id": "billing",
        "client_secret": SECRET,
    }


async def test_the_token_of_a_service_account(
    service: TokenService, options: AgentOptions, begin: Begin, tmp_path: Path
) -> None:
    """Exchanged (RFC 8693), and read anew each time: Kubernetes replaces it by swapping a symbolic link."""
    service.lifetime = 0.8
    for number in (1, 2):
        (tmp_path / f"version-{number}").write_text(f"eyJ.subject-{number}.x\n")
    projected = tmp_path / "projected"
    projected.symlink_to(tmp_path / "version-1")
    begin(replace(options, grant="token-exchange", source_file=str(projected), subject_type="urn:x"))
    await eventually(lambda: service.given)
    (tmp_path / "new").symlink_to(tmp_path / "version-2")
    (tmp_path / "new").rename(projected)
    await eventually(lambda: service.asked[-1].form["subject_token"] == "eyJ.subject-2.x")
    first = service.asked[0].form
    assert first["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
    assert first["subject_token"] == "eyJ.subject-1.x"
    assert first["subject_token_type"] == "urn:x"


async def test_a_subject_token_that_is_not_there_yet(
    service: TokenService, options: AgentOptions, begin: Begin, tmp_path: Path
) -> None:
    """Is waited for; the probe says which file."""
    begin(replace(options, grant="token-exchange", source_file=str(tmp_path / "later"), subject_type="urn:x"))
    await becomes(options, 503)
    verbose = (await asked(options, "admin", "/readyz?verbose"))[2]
    assert f"{tmp_path}/later: No such file" in verbose
    (tmp_path / "later").write_text("eyJ.subject.x")
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: service.given)


async def test_a_token_is_renewed_with_itself(
    service: TokenService, options: AgentOptions, begin: Begin, tmp_path: Path
) -> None:
    """``POST /refresh``: the first one is given, later ones follow from each other."""
    service.lifetime = 1
    (tmp_path / "first").write_text(jwt("first", 60))
    begin(replace(options, grant="renew", client_id="", secret_file="", source_file=str(tmp_path / "first")))
    await eventually(lambda: len(service.given) >= 3)
    assert service.asked[0].path == "/refresh"
    assert service.asked[0].json == {"token": (tmp_path / "first").read_text()}
    assert service.asked[2].json == {"token": service.given[1]}


async def test_a_dead_family_is_told(
    service: TokenService, options: AgentOptions, begin: Begin, tmp_path: Path
) -> None:
    """Nothing is given up: a new refresh token that somebody puts there is taken."""
    (tmp_path / "refresh").write_text("refresh-0")
    service.rotates, service.status, service.body = True, 400, b'{"error":"invalid_grant"}'
    begin(replace(options, grant="refresh-token", source_file=str(tmp_path / "refresh")))
    await eventually(lambda: service.asked)
    await becomes(options, 503)
    assert "invalid_grant" in (await asked(options, "admin", "/readyz?verbose"))[2]
    service.status, service.body = 200, None
    (tmp_path / "refresh").write_text("refresh-new")
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: service.given)
    assert service.asked[-1].form["refresh_token"] == "refresh-new"


@pytest.mark.parametrize(
    ("status", "body", "delay"),
    [(503, None, 0.0), (200, b"<html>welcome</html>", 0.0), (200, b'{"access_token":"a\\nb"}', 0.0), (200, b"", 1.0)],
    ids=["down", "another server", "garbage", "slow"],
)
async def test_a_service_that_is_not_well(
    service: TokenService,
    options: AgentOptions,
    begin: Begin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: bytes | None,
    delay: float,
) -> None:
    """The old token stays until it ends, then it is gone; once the service is well the agent is too, without a restart."""
    monkeypatch.setattr(extauthz.app.agent, "HttpFetcher", partial(HttpFetcher, deadline=0.5))
    service.lifetime = 1.0
    file = tmp_path / "token"
    begin(options)
    await eventually(lambda: content(file))
    service.status, service.body, service.delay = status, body, delay
    await eventually(lambda: not file.exists())
    await becomes(options, 503)
    assert (await asked(options, "listen", "/token", Metadata="true"))[0] == 503
    assert (await asked(options, "admin", "/livez"))[0] == 200
    service.status, service.body, service.delay, service.lifetime = 200, None, 0.0, 300
    os.kill(os.getpid(), signal.SIGHUP)
    await becomes(options, 200)
    assert content(file) == service.given[-1]


async def test_a_page_on_a_unix_socket(
    service: TokenService, options: AgentOptions, begin: Begin, tmp_path: Path
) -> None:
    """Whoever may open it may have the token; there is none yet: 503, and when to come again."""
    service.status = 503
    begin(replace(options, token_file=""))
    status, headers, _ = await asked(options, "listen", "/token", Metadata="true")
    assert (status, headers["retry-after"]) == (503, "1")
    assert stat.S_IMODE((tmp_path / "listen").stat().st_mode) == 0o660
    service.status = 200
    os.kill(os.getpid(), signal.SIGHUP)
    await becomes(options, 200)
    assert (await asked(options, "listen", "/token", Metadata="true"))[2] in service.given
    assert content(tmp_path / "token") == ""


async def test_the_token_page_is_for_this_machine(options: AgentOptions) -> None:
    """Whatever else is said; and probes need their word for being reached from elsewhere."""
    for other in ("0.0.0.0:8083", "[::]:8083", "10.0.0.1:8083"):
        with pytest.raises(ServingError, match="other machines; use 127"):
            await extauthz.app.agent._keep(replace(options, listen=parse_address(other), admin_plaintext=True))
        with pytest.raises(ServingError, match="other machines"):
            await extauthz.app.agent._keep(replace(options, admin=parse_address(other)))


class TestOnce:
    """For init containers."""

    @pytest.fixture
    def once(self, options: AgentOptions) -> Callable[..., int]:
        command = ["agent", "--once", "--service", options.service, "--client-id", "billing"]
        command += ["--client-secret-file", options.secret_file]
        return lambda *more, file=options.token_file: main([*command, "--token-file", str(file), *more])

    def test_it_waits_for_the_service(self, service: TokenService, once: Callable[..., int], tmp_path: Path) -> None:
        """An outage is no answer."""
        service.outages = 2
        assert once() == 0
        assert len(service.asked) == 3
        assert content(tmp_path / "token") == service.given[0]

    def test_patience_ends(self, service: TokenService, once: Callable[..., int], tmp_path: Path) -> None:
        """Exit code 1, and no file."""
        service.status = 503
        assert once("--patience", "1s") == 1
        assert not (tmp_path / "token").exists()

    def test_a_refusal_ends_it(self, service: TokenService, once: Callable[..., int]) -> None:
        """To ask again would change nothing."""
        service.status, service.body = 401, b'{"error":"invalid_client"}'
        assert once() == 1
        assert len(service.asked) == 1

    def test_a_young_token_is_enough(self, service: TokenService, once: Callable[..., int]) -> None:
        """A second start asks for nothing."""
        assert once() == once() == 0
        assert len(service.asked) == 1

    def test_a_folder_in_memory(self, service: TokenService, once: Callable[..., int]) -> None:
        """A tmpfs, as an emptyDir with medium Memory is one."""
        folder = Path("/dev/shm") / f"extauthz-agent-{os.getpid()}"
        folder.mkdir(mode=0o700)
        try:
            assert once(file=folder / "token") == 0
            assert content(folder / "token") == service.given[0]
        finally:
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--service", "http://x"], "anyone on the way reads the secrets"),
        (["--service", "http://127.0.0.1.example.com"], "anyone on the way reads the secrets"),
        (["--service", "http://127.0.0.1@example.com"], "anyone on the way reads the secrets"),
        (["--service", "http://[::1"], "anyone on the way reads the secrets"),
        (["--service", "tokens.example.com"], "https://host"),
        (["--client-secret-file", ""], "needs --client-id, and"),
        (["--client-key-file", "key.pem"], "one proof"),
        (["--token-file", ""], "where the token is to be"),
        (["--file-mode", "0644"], "0600, or 0640"),
        (["--file-mode", "600 "], "0600, or 0640"),
        (["--grant", "token-exchange"], "needs --subject-token-file"),
        (["--grant", "refresh-token"], "needs --refresh-token-file"),
        (["--grant", "renew", "--bootstrap-token-file", "x"], "with the token before"),
        (["--subject-token-file", "x"], "no use for --subject-token-file"),
        (["--once", "--listen", "127.0.0.1:0"], "leave out --listen"),
        (["--once", "--patience", "soon"], "90s"),
        (["--listen", "localhost"], "not an address"),
        (["--listen", "0.0.0.0:0"], "other machines"),
        (["--client-secret-file", "no-such-secret"], "no-such-secret: No such file"),
        (["--token-file", "no-such-folder/token"], "no-such-folder"),
    ],
)
def test_wrong_use(
    wrong: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and what to write instead."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text(SECRET)
    fine = ["--service", "https://127.0.0.1:1", "--client-id", "billing", "--client-secret-file", "secret"]
    fine += ["--token-file", "token", "--admin", "none"]
    kept = [pair for pair in zip(fine[::2], fine[1::2], strict=True) if pair[0] not in wrong]
    assert main(["agent", *(word for pair in kept for word in pair), *wrong]) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")
