"""The folder of signing keys against what people, crashes and other users do to it."""

import asyncio
import fcntl
import os
import re
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from extauthz.errors import SigningError
from extauthz.tokens.key_files import FileKeyBackend
from extauthz.tokens.key_folder import later, read_moment, written_moment
from extauthz.tokens.signing_key import generate_key
from tests.tokens.signing import NOW, Clock, Once, signing_keys

NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z\.ES256\.[A-Za-z0-9_-]{43}\.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "signing-keys"


@pytest.fixture
def backend(folder: Path) -> FileKeyBackend:
    return FileKeyBackend(str(folder))


async def add(backend: FileKeyBackend, created: float = NOW, algorithm: str = "ES256") -> str:
    versions = await backend.versions()
    made = await backend.add(algorithm, newest=versions[-1].kid if versions else None, created=created)
    return made.kid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_key_is_a_file_for_its_owner_alone(backend: FileKeyBackend, folder: Path) -> None:
    """0600 in a folder of 0700, whatever the umask; the name says when it was made, for what, and what it is called."""
    before = os.umask(0)
    try:
        kid = await add(backend, NOW + 0.123)
    finally:
        os.umask(before)
    (file,) = folder.iterdir()
    assert NAME.fullmatch(file.name)
    assert file.name == f"20270115T080000.123Z.ES256.{kid}.pem"
    assert (mode(file), mode(folder)) == (0o600, 0o700)
    assert file.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


@pytest.mark.parametrize("rights", [0o640, 0o604, 0o660, 0o666, 0o700 | 0o010])
async def test_a_key_that_others_may_read_or_write_stops_everything(
    backend: FileKeyBackend, folder: Path, rights: int
) -> None:
    """It may be known to somebody; the text says which file, what it is and how to mend it. Mended, it goes on."""
    kid = await add(backend)
    (file,) = folder.iterdir()
    file.chmod(rights)
    with pytest.raises(SigningError, match=rf"{re.escape(str(file))} is open to other users.*chmod 600"):
        await FileKeyBackend(str(folder)).versions()
    with pytest.raises(SigningError):
        await backend.versions()
    file.chmod(0o600)
    assert [version.kid for version in await backend.versions()] == [kid]


@pytest.mark.parametrize("rights", [0o770, 0o777, 0o1777, 0o720])
async def test_a_folder_that_others_may_write_to_stops_everything(
    backend: FileKeyBackend, folder: Path, rights: int
) -> None:
    """Somebody could put in a key of his own, newer than ours."""
    await add(backend)
    folder.chmod(rights)
    with pytest.raises(SigningError, match=r"plant keys.*chmod 700"):
        await backend.versions()
    with pytest.raises(SigningError, match="plant keys"):
        await backend.add("ES256", newest=None, created=NOW)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_a_key_of_another_user_stops_everything(backend: FileKeyBackend, folder: Path) -> None:
    """Whoever owns it can change it."""
    await add(backend)
    (file,) = folder.iterdir()
    os.chown(file, 12345, -1)
    with pytest.raises(SigningError, match="belongs to another user"):
        await FileKeyBackend(str(folder)).versions()


async def test_what_is_no_key_is_told_once_and_left_out(backend: FileKeyBackend, folder: Path) -> None:
    """Foreign names, garbage, another key than the name says, an encrypted one, links and pipes: the rest is used."""
    kid = await add(backend)
    (good,) = folder.iterdir()
    other, elsewhere = generate_key("EdDSA"), folder.parent / "elsewhere.pem"
    elsewhere.write_bytes(other.pem())
    strangers = {
        "README": b"hello",
        "current.pem": generate_key("ES256").pem(),
        f"20270115T080000.123Z.ES256.{'A' * 43}.pem": generate_key("ES256").pem(),
        f"20270115T080001.123Z.ES256.{'B' * 43}.pem": b"\x00garbage",
        f"20270115T080002.123Z.ES256.{other.kid}.pem": other.pem(),
        f"20279915T080002.123Z.ES256.{'C' * 43}.pem": b"",
        f"20270115T080003.123Z.RS256.{'D' * 43}.pem": b"",
    }
    for name, content in strangers.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    os.mkfifo(folder / f"20270115T080004.123Z.ES256.{'E' * 43}.pem", 0o600)
    (folder / f"20270115T080005.123Z.EdDSA.{other.kid}.pem").symlink_to(elsewhere)
    fresh = FileKeyBackend(str(folder))
    with capture_logs() as logs:
        for _ in range(2):
            assert [version.kid for version in await fresh.versions()] == [kid]
    assert len(logs) == len(strangers) + 2
    assert all(str(folder) == entry["folder"] for entry in logs)
    told = repr(logs)
    assert good.name not in told
    assert not any(line in told for line in good.read_text().splitlines()[1:-1])


async def test_a_crash_leaves_no_half_key(backend: FileKeyBackend, folder: Path) -> None:
    """What a process left that ended while it wrote is no key, and is cleared away with the next one."""
    await add(backend)
    half = folder / ".new-0123456789abcdef"
    half.write_bytes(generate_key("ES256").pem()[:100])
    assert len(await backend.versions()) == 1
    assert half.exists()
    await add(backend)
    assert not half.exists()
    assert len(await backend.versions()) == 2


async def test_a_crash_between_death_and_removal(backend: FileKeyBackend, folder: Path) -> None:
    """Destruction is written down first, so a file that was not yet deleted is dead all the same."""
    old, new = await add(backend), await add(backend)
    kept = {file: file.read_bytes() for file in folder.glob("*.pem")}
    await backend.remove(old)
    for file, content in kept.items():
        if not file.exists():
            file.write_bytes(content)
            file.chmod(0o600)
    assert [version.kid for version in await FileKeyBackend(str(folder)).versions()] == [new]


async def test_nobody_guesses_what_was_destroyed(backend: FileKeyBackend, folder: Path) -> None:
    """If that record is broken everything stops, and the text says how to go on."""
    old, _ = await add(backend), await add(backend)
    await backend.remove(old)
    (folder / "removed").write_text("yesterday\n")
    with pytest.raises(SigningError, match=r"removed is broken.*delete"):
        await backend.versions()


async def test_a_key_planted_before_the_mark_is_never_used(backend: FileKeyBackend, folder: Path) -> None:
    """An old name does not bring a key in, and is told."""
    old, new = await add(backend), await add(backend, NOW + 10)
    await backend.remove(old)
    planted = generate_key("ES256")
    name = f"{written_moment(NOW)}.ES256.{planted.kid}.pem"
    (folder / name).write_bytes(planted.pem())
    (folder / name).chmod(0o600)
    with capture_logs() as logs:
        assert [version.kid for version in await backend.versions()] == [new]
    assert "has come back" in logs[0]["fault"]


async def test_what_has_not_changed_is_not_read_again(backend: FileKeyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at keys that are known costs a few system calls and no cryptography."""
    for number in range(3):
        await add(backend, NOW + number)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("extauthz.tokens.key_files.read_key", fail)
    assert len(await backend.versions()) == 3


async def test_a_lock_that_is_never_given_back(
    backend: FileKeyBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it for ever; signing and looking need none."""
    monkeypatch.setattr("extauthz.tokens.key_folder._LOCK_SECONDS", 0.05)
    kid = await add(backend)
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SigningError, match="is locked by another process"):
            await backend.add("ES256", newest=kid, created=NOW)
        assert len(await backend.versions()) == 1
        assert await backend.sign(kid, b"a.b")
    finally:
        os.close(held)


async def test_a_disk_that_is_full_or_read_only(
    backend: FileKeyBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key is made, none is lost, and nothing is left behind."""
    kid = await add(backend)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("extauthz.tokens.key_folder.os.fsync", full)
    with pytest.raises(SigningError, match="can't be written to: No space left on device"):
        await backend.add("ES256", newest=kid, created=NOW)
    monkeypatch.undo()
    assert len(list(folder.iterdir())) == 1
    assert [version.kid for version in await backend.versions()] == [kid]


async def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    """It is told as what it is."""
    file = tmp_path / "file"
    file.write_text("")
    for attempt in (
        FileKeyBackend(str(file)).versions(),
        FileKeyBackend(str(file)).add("ES256", newest=None, created=1.0),
    ):
        with pytest.raises(SigningError, match="can't be"):
            await attempt


async def test_a_key_that_is_deleted_by_hand_signs_no_more(backend: FileKeyBackend, folder: Path) -> None:
    """From the next look on."""
    kid, _ = await add(backend), await add(backend)
    next(folder.glob(f"*{kid}*")).unlink()
    await backend.versions()
    with pytest.raises(SigningError, match="has no key"):
        await backend.sign(kid, b"a.b")


async def test_an_rsa_key_keeps_its_algorithm(backend: FileKeyBackend, folder: Path) -> None:
    """RS256 and PS256 keys look the same; the name says which it is, after a restart as well."""
    for number, algorithm in enumerate(("RS256", "PS256")):
        await add(backend, NOW + number, algorithm)
    versions = await FileKeyBackend(str(folder)).versions()
    assert [version.algorithm for version in versions] == ["RS256", "PS256"]


async def test_a_command_beside_a_server(folder: Path) -> None:
    """Two processes on one folder: what one makes or destroys the other knows at its next look."""
    clock, once = Clock(), Once()
    server = signing_keys(FileKeyBackend(str(folder)), clock, once)
    command = signing_keys(FileKeyBackend(str(folder)), clock, Once())
    await server.tend()
    made = await command.rotate(force=True)
    await server.tend()
    assert [version.kid for version in server.verification_keys()][1] == made.kid
    leaked = (await server.sign({})).kid
    await command.revoke(leaked)
    await server.tend()
    assert (await server.sign({})).kid == made.kid
    assert leaked not in server.jwks().decode()


async def test_signing_while_keys_come_and_go(folder: Path) -> None:
    """No signature fails while another process rotates and destroys."""
    clock = Clock()
    server = signing_keys(FileKeyBackend(str(folder)), clock)
    command = signing_keys(FileKeyBackend(str(folder)), clock)
    await server.tend()

    async def work() -> None:
        for _ in range(15):
            await command.rotate(force=True)
            await command.revoke((await FileKeyBackend(str(folder)).versions())[0].kid)

    async def sign(task: "asyncio.Task[None]") -> int:
        count = 0
        while not task.done():
            assert (await server.sign({"sub": "a"})).token
            count += 1
            await asyncio.sleep(0)
        return count

    task = asyncio.create_task(work())
    assert await sign(task) > 10
    await task


def test_times_in_names() -> None:
    """To the millisecond, and one that follows on another is always later."""
    assert read_moment(written_moment(NOW + 0.123)) == NOW + 0.123
    assert later(NOW, 0.0) == NOW
    moment = NOW
    for _ in range(1000):
        following = later(NOW - 100, moment)
        assert moment < following < moment + 0.003
        assert read_moment(written_moment(following)) == following
        moment = following
    assert later(NOW + 50.0004, NOW) == pytest.approx(NOW + 50)
