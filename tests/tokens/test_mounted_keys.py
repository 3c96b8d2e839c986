"""Keys in a mounted Secret: read again when Kubernetes swaps them, whole or not at all."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from extauthz.errors import SigningError
from extauthz.tokens.foreign_keys import read_secret
from extauthz.tokens.mounted_keys import MountedKeyBackend
from extauthz.tokens.signing_key import SigningKey, generate_key
from tests.tokens.signing import Clock, signing_keys

ES256, EDDSA, OTHER = generate_key("ES256"), generate_key("EdDSA"), generate_key("ES256")


class Volume:
    """A Secret as kubelet mounts it: names lead to ``..data``, which leads to the version in force."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self.number = 0

    def swap(self, **keys: SigningKey | bytes) -> None:
        """Mount another version: all files change in one step."""
        self.number += 1
        version = self.path / f"..v{self.number}"
        version.mkdir()
        for slot, key in keys.items():
            file = version / f"{slot}.pem"
            file.write_bytes(key if isinstance(key, bytes) else key.pem())
            file.chmod(0o640)
            name = self.path / f"{slot}.pem"
            if not name.is_symlink():
                name.symlink_to(Path("..data") / f"{slot}.pem")
        beside = self.path / "..data_tmp"
        beside.symlink_to(version.name)
        beside.rename(self.path / "..data")

    def backend(self, **more: str) -> MountedKeyBackend:
        paths = {slot: str(self.path / f"{slot}.pem") for slot in ("previous", "current", "next")}
        return MountedKeyBackend(paths["current"], next_key=paths["next"], previous=paths["previous"], **more)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "volume")


async def slots(backend: MountedKeyBackend) -> dict[str, str]:
    return {version.slot: version.kid for version in await backend.versions()}


async def test_the_files_say_what_each_key_is(volume: Volume) -> None:
    """A swap is followed at the next look; the files of the next and the previous key need not be there."""
    backend = volume.backend()
    volume.swap(current=ES256)
    assert await slots(backend) == {"current": ES256.kid}
    volume.swap(current=ES256, next=EDDSA)
    assert await slots(backend) == {"current": ES256.kid, "next": EDDSA.kid}
    volume.swap(previous=ES256, current=EDDSA)
    assert await slots(backend) == {"previous": ES256.kid, "current": EDDSA.kid}
    assert [version.algorithm for version in await backend.versions()] == ["ES256", "EdDSA"]


async def test_the_whole_way_of_a_key(volume: Volume) -> None:
    """Through the signing keys: published before it signs, and after; never rotated by us."""
    clock = Clock()
    keys = signing_keys(volume.backend(), clock)
    volume.swap(current=ES256, next=EDDSA)
    await keys.tend()
    first = await keys.sign({})
    assert first.kid == ES256.kid
    assert [version.kid for version in keys.verification_keys()] == [ES256.kid, EDDSA.kid]
    volume.swap(previous=ES256, current=EDDSA)
    clock.now += 10 * 86_400
    await keys.tend()
    assert (await keys.sign({})).kid == EDDSA.kid
    assert keys.algorithms() == ("ES256", "EdDSA")
    assert keys.state().next_rotation is None
    with pytest.raises(SigningError, match="written by somebody else"):
        await keys.rotate(force=True)
    with pytest.raises(SigningError, match="written by somebody else"):
        await keys.revoke(EDDSA.kid)


async def test_one_key_in_two_files(volume: Volume) -> None:
    """While files are moved by hand: it is current, and published once."""
    volume.swap(previous=ES256, current=ES256, next=ES256)
    assert await slots(volume.backend()) == {"current": ES256.kid}
    volume.swap(previous=EDDSA, current=ES256, next=EDDSA)
    assert set(await slots(volume.backend())) == {"previous", "current"}


async def test_a_swap_in_the_middle_of_reading(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a key of one version with one of another; and whoever swaps for ever is told so."""
    volume.swap(previous=OTHER, current=ES256)
    swaps = [1]

    def reading(path: Path) -> tuple[bytes, os.stat_result]:
        answer = read_secret(path)
        if path.name == "previous.pem" and swaps and swaps.pop():
            volume.swap(previous=ES256, current=EDDSA)
        return answer

    monkeypatch.setattr("extauthz.tokens.mounted_keys.read_secret", reading)
    assert await slots(volume.backend()) == {"previous": ES256.kid, "current": EDDSA.kid}
    swaps.extend([1] * 10)
    with pytest.raises(SigningError, match="change while they are read"):
        await volume.backend().versions()


def traditional(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """As ``openssl ecparam -genkey`` and older tools write it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


async def test_what_tools_write_is_read(volume: Volume) -> None:
    """PKCS#8 and the older forms; RSA for RS256, or PS256 if that is asked for."""
    key = rsa.generate_private_key(65537, 2048)
    volume.swap(current=traditional(key), previous=traditional(ec.generate_private_key(ec.SECP256R1())))
    assert [version.algorithm for version in await volume.backend().versions()] == ["ES256", "RS256"]
    assert [v.algorithm for v in await volume.backend(rsa_algorithm="PS256").versions()] == ["ES256", "PS256"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "no private key"),
        (
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
            ),
            "encrypted",
        ),
        (traditional(ec.generate_private_key(ec.SECP384R1())), "curve is not P-256"),
        (traditional(rsa.generate_private_key(65537, 1024)), "bits"),
        (traditional(rsa.generate_private_key(3, 2048)), "exponent"),
    ],
)
async def test_keys_that_are_not_good_enough(volume: Volume, content: bytes, fault: str) -> None:
    """They are refused with their file and the reason, and what was known stays in force."""
    clock = Clock()
    keys = signing_keys(volume.backend(), clock)
    volume.swap(current=ES256)
    await keys.tend()
    volume.swap(current=content)
    await keys.tend()
    assert fault in keys.state().error
    assert str(volume.path / "current.pem") in keys.state().error
    assert (await keys.sign({})).kid == ES256.kid


async def test_the_current_key_must_be_there(volume: Volume) -> None:
    """A Secret without it is told."""
    volume.swap(next=ES256)
    with pytest.raises(SigningError, match=r"current.pem is not there"):
        await volume.backend().versions()


async def test_who_may_touch_the_files(volume: Volume) -> None:
    """Files that anybody may write are refused; that anybody may read them is told once, and how to change it.

    Not of what a kubelet has mounted, which does so for the one container that sees it.
    """
    volume.swap(current=ES256)
    mounted = (volume.path / "current.pem").resolve()
    mounted.chmod(0o644)
    with capture_logs() as logs:
        assert await volume.backend().versions()
    assert logs == []
    mounted.chmod(0o646)
    with pytest.raises(SigningError, match="can be written by anybody"):
        await volume.backend().versions()
    file = volume.path / "own.pem"
    file.write_bytes(ES256.pem())
    file.chmod(0o644)
    backend = MountedKeyBackend(str(file))
    with capture_logs() as logs:
        await backend.versions()
        file.chmod(0o640)
        file.chmod(0o644)
        await backend.versions()
    assert [entry["event"] for entry in logs] == ["mounted_keys.readable"]
    assert (logs[0]["mode"], logs[0]["hint"]) == ("-rw-r--r--", f"chmod 600 {file}")
    file.chmod(0o646)
    with pytest.raises(SigningError, match="can be written by anybody"):
        await backend.versions()
