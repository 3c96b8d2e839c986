"""Vault in all its bad states (K11): signing fails at once, what is known stays known, and it recovers without a restart."""

import asyncio
import contextlib
import datetime as dt
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trustme

from extauthz.errors import SigningError, VaultError
from extauthz.vault import KvKeys, TokenLogin, TransitKeys, Vault, VaultSettings
from tests.vault.fake_vault import TOKEN, FakeVault, fake_vault
from tests.vault.openbao import OpenBao, running

WITHIN = 12.0
"""Seconds for a recovery, on a busy machine: the longest pause between probes is 4."""


@contextlib.asynccontextmanager
async def in_use(vault: Vault) -> AsyncIterator[Vault]:
    """A Vault with what runs beside it."""
    task = asyncio.create_task(vault.run())
    try:
        yield vault
    finally:
        task.cancel()
        await asyncio.wait({task})
        await vault.close()


async def until(condition: Callable[[], Awaitable[bool]], within: float = WITHIN) -> None:
    end = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def signs(keys: TransitKeys, kid: str) -> bool:
    try:
        return bool(await keys.sign(kid, b"x"))
    except SigningError:
        return False


@pytest.fixture
def transit(raft: OpenBao) -> str:
    return raft.mount("transit")


@pytest.mark.parametrize("fault", ["sealed", "killed", "stopped"])
async def test_recovery_without_a_restart(raft: OpenBao, transit: str, fault: str) -> None:
    """Sealed, killed and started again, too slow to answer: SigningError, soon without asking, and signatures by the same
    key when it is back. In between nothing of what verifiers know has changed.
    """
    async with in_use(raft.vault(timeout=0.5)) as vault:
        keys = TransitKeys(vault, "extauthz", mount=transit)
        made = await keys.add("ES256", newest=None, created=0)
        if fault == "sealed":
            raft.seal()
        elif fault == "killed":
            raft.stop()
        else:
            raft.send(signal.SIGSTOP)
        failed = 0
        while vault._breaker_of_loop().closed:
            began = time.monotonic()
            with pytest.raises(SigningError):
                await keys.sign(made.kid, b"x")
            assert time.monotonic() - began < 2.0
            failed += 1
            assert failed <= 3
        asked = vault.counts().questions - vault.counts().failures
        for _ in range(200):  # none of them waits
            with pytest.raises(SigningError, match="not asked, since it does not answer"):
                await keys.sign(made.kid, b"x")
        assert vault.counts().questions - vault.counts().failures == asked
        with pytest.raises(SigningError):
            await keys.versions()
        with pytest.raises(SigningError):
            await keys.add("ES256", newest=made.kid, created=0)
        state = vault.state()
        assert not state.ok
        assert re.search(r"for \d+ s, last answer .*, asked again in [\d.]+ s", state.text)
        if fault == "sealed":
            assert "it is sealed" in state.text
            raft.unseal()
        elif fault == "killed":
            raft.start()
            raft.unseal()
        else:
            raft.send(signal.SIGCONT)
        await until(lambda: signs(keys, made.kid))
        assert vault.state().ok
        assert [version.kid for version in await keys.versions()] == [made.kid]


async def test_start_without_vault(raft: OpenBao, transit: str) -> None:
    """K17: nobody is there yet. It is told, and works as soon as somebody is."""
    raft.seal()
    async with in_use(raft.vault()) as vault:
        keys = TransitKeys(vault, "extauthz", mount=transit)
        with pytest.raises(SigningError):
            await keys.versions()
        raft.unseal()

        async def there() -> bool:
            with contextlib.suppress(SigningError):
                return await keys.versions() == []
            return False

        await until(there)


async def test_a_permission_that_is_taken_away(bao: OpenBao) -> None:
    """It is a refusal of this question: Vault is well, and is asked on. Given again, it works."""
    mount = bao.mount("transit")
    policy = f'path "{mount}/*" {{ capabilities = ["create", "read", "update"] }}'
    token = bao.token_with(policy)
    async with in_use(bao.vault(token, timeout=2.0)) as vault:
        # It may not even look at itself, as a token without the policy "default".
        with pytest.raises(SigningError, match="HTTP 403"):
            await TransitKeys(vault, "extauthz", mount=mount).versions()
    token = bao.token_with(policy + '\npath "auth/token/lookup-self" { capabilities = ["read"] }')
    name = bao.api("GET", "auth/token/lookup-self", token=token)["data"]["policies"][0]
    whole = bao.api("GET", f"sys/policies/acl/{name}")["data"]["policy"]
    async with in_use(bao.vault(token, timeout=2.0)) as vault:
        keys = TransitKeys(vault, "extauthz", mount=mount)
        made = await keys.add("ES256", newest=None, created=0)
        less = whole.replace(f'"{mount}/*"', f'"{mount}/keys/*"')
        bao.api("PUT", f"sys/policies/acl/{name}", {"policy": less})
        for _ in range(5):
            with pytest.raises(SigningError, match=r"/sign/extauthz-es256: HTTP 403: .*permission denied"):
                await keys.sign(made.kid, b"x")
        assert [version.kid for version in await keys.versions()] == [made.kid]
        bao.api("PUT", f"sys/policies/acl/{name}", {"policy": whole})
        assert await keys.sign(made.kid, b"x")


async def test_questions_are_bounded(raft: OpenBao, transit: str) -> None:
    """Who comes while as many wait as may is refused at once, and threads that hang keep nobody else's memory."""
    async with in_use(raft.vault(timeout=1.0)) as vault:
        keys = TransitKeys(vault, "extauthz", mount=transit)
        made = await keys.add("ES256", newest=None, created=0)
        raft.send(signal.SIGSTOP)
        outcomes = await asyncio.gather(*(keys.sign(made.kid, b"x") for _ in range(300)), return_exceptions=True)
        raft.send(signal.SIGCONT)
        texts = [str(outcome) for outcome in outcomes]
        assert sum("questions are under way" in text for text in texts) >= 300 - 64
        assert all(isinstance(outcome, SigningError) for outcome in outcomes)
        await until(lambda: signs(keys, made.kid))


# ------------------------------------------------------------------------------- states that only a fake can be brought into


@pytest.fixture
def fake() -> Iterator[FakeVault]:
    with fake_vault() as state:
        yield state


@pytest.mark.parametrize("status", [429, 472, 473, 501, 502, 503])
async def test_a_server_that_can_not_help(fake: FakeVault, status: int) -> None:
    """A standby of one kind or another, a sealed one: nothing is signed, with its reason; then all is as before."""
    vault = Vault(fake.settings, clock=time.monotonic, now=time.time)
    async with in_use(vault):
        assert await vault.call(lambda client: client.adapter.get("/v1/x"))
        fake.status = status
        for _ in range(3):
            with pytest.raises(VaultError, match=f"HTTP {status}: it .*: state {status}|not asked"):
                await vault.call(lambda client: client.adapter.get("/v1/x"))
        with pytest.raises(VaultError, match="not asked"):
            await vault.call(lambda client: client.adapter.get("/v1/x"))
        assert TOKEN not in vault.state().text
        fake.status = 200

        async def well() -> bool:
            return vault.state().ok

        await until(well)
        assert await vault.call(lambda client: client.adapter.get("/v1/x"))
    await vault.close()


async def test_a_standby_that_redirects(fake: FakeVault) -> None:
    """To the active node: it is followed once, and not in a circle."""
    vault = Vault(fake.settings, clock=time.monotonic, now=time.time)
    with fake_vault() as active:
        fake.status, fake.location = 307, active.url
        assert await vault.call(lambda client: client.adapter.post("/v1/sign", json={}))
        assert active.asked[-1] == ("/v1/sign", TOKEN)
        active.status, active.location = 307, fake.url
        with pytest.raises(VaultError, match="redirects again"):
            await vault.call(lambda client: client.adapter.get("/v1/x"))
    await vault.close()


@pytest.mark.parametrize("location", ["file:///etc", "", "//"])
async def test_a_redirect_to_nowhere(fake: FakeVault, location: str) -> None:
    """Is a fault of that server."""
    vault = Vault(fake.settings, clock=time.monotonic, now=time.time)
    fake.status, fake.location = 307, location
    with pytest.raises(VaultError, match="redirects to nowhere"):
        await vault.call(lambda client: client.adapter.get("/v1/x"))
    await vault.close()


async def test_the_clock_of_vault(bao: OpenBao) -> None:
    """It dates the keys. If it is off, people are told by how much."""
    vault = Vault(bao.settings(), clock=time.monotonic, now=lambda: time.time() - 300)
    async with in_use(vault):

        async def told() -> bool:
            return bool(re.match(r"its clock is (299|300|301) s ahead of ours", vault.state().text))

        await until(told)
        assert not vault.state().ok


# ----------------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def written(folder: Path, authority: trustme.CA, *, days: int) -> tuple[Path, Path, Path]:
    """A certificate that ends in so many days, as files that are always the same."""
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    made = authority.issue_cert("127.0.0.1", not_before=until - dt.timedelta(days=30), not_after=until)
    files = folder / "vault.crt", folder / "vault.key", folder / "ca.crt"
    files[0].write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    files[1].write_bytes(made.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(files[2]))
    return files


async def test_certificates(tmp_path: Path, authority: trustme.CA) -> None:
    """One that has expired is as good as none; renewed, all goes on. So it is with another authority, once its file has it."""
    files = written(tmp_path, authority, days=-1)
    with running(tmp_path, tls=files) as server:
        settings = VaultSettings(server.url, TokenLogin(token="x"), ca_file=str(files[2]))
        vault = Vault(settings, clock=time.monotonic, now=time.time)

        async def error() -> str:
            try:
                await vault.call(lambda client: client.adapter.get("/v1/x"))
            except VaultError as error:
                return str(error)
            return ""

        assert "TLS: certificate has expired" in await error()
        written(tmp_path, authority, days=1)
        server.send(signal.SIGHUP)

        async def reached() -> bool:
            return "not initialised" in await error() or "sealed" in await error()

        fresh = Vault(settings, clock=time.monotonic, now=time.time)
        vault = fresh
        await until(reached)
        other = trustme.CA()
        saved = files[2].read_bytes()
        other.cert_pem.write_to_path(str(files[2]))
        vault = Vault(settings, clock=time.monotonic, now=time.time)
        assert "TLS: self-signed certificate" in await error() or "TLS: unable to get" in await error()
        files[2].write_bytes(saved)
        await until(reached)


async def test_kv_keys_sign_on_while_vault_is_down(raft: OpenBao) -> None:
    """They are in memory. A key that was not read before is not made up."""
    mount = raft.mount("kv", version="2")
    async with in_use(raft.vault()) as vault:
        keys = KvKeys(vault, f"{mount}/keys")

        async def made() -> bool:
            with contextlib.suppress(SigningError):
                await keys.add("ES256", newest=None, created=1.0)
                return True
            return False

        await until(made)  # the engine may still be upgrading itself
        [version] = await keys.versions()
        raft.stop()
        assert await keys.sign(version.kid, b"x")
        with pytest.raises(SigningError):
            await keys.sign("another", b"x")
