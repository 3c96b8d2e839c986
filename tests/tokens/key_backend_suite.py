"""What every backend of signing keys must do, whatever keeps the keys.

A test module subclasses ``KeyBackendSuite`` and gives a fixture ``place``: where the keys are, how to open it as another
process would, and what it can't do. What a backend lacks is skipped by name, so that the list of skips says what it lacks.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from extauthz.errors import AlreadyRotatedError, SigningError
from extauthz.tokens.encoding import base64url
from extauthz.tokens.ports import KeyBackend, KeyVersion
from extauthz.tokens.public_key import ALGORITHMS, canonical_json
from tests.tokens.signing import NOW, by_joserfc, by_pyjwt, jwks_of

__all__ = ["KeyBackendSuite", "Place", "mended"]


@dataclass
class Place:
    """Where keys are."""

    open: Callable[[], KeyBackend]
    """A backend that has seen nothing yet, on the same keys; each call stands for another process."""
    break_it: Callable[[], None]
    """Make it fail, until ``mend``."""
    mend: Callable[[], None]
    secrets: Callable[[], list[bytes]] = list
    """What no text may hold."""
    lacks: frozenset[str] = frozenset()
    """Of "rotation" (somebody else writes the keys), "public" (others can't verify), "compare" (``add`` does not),
    "back up" (nothing can be put back), "clock" (the backend says itself when a key was made), "last" (the newest key
    can't be removed)."""
    back_up: Callable[[], Callable[[], None]] = field(default=lambda: lambda: None)
    """Remember the keys; what it gives puts back those that were destroyed since, beside those that there are."""
    algorithms: tuple[str, ...] = ALGORITHMS
    races: Callable[[str | None, int], list[str]] | None = None
    """``add`` in this many processes at once, after a newest key; gives "added" or "late" for each."""


class KeyBackendSuite:
    """The tests. Times are NOW and after."""

    async def test_nothing_is_there_at_first(self, place: Place) -> None:
        """A backend without keys says so, and is no fault."""
        needs(place, "rotation")
        backend = place.open()
        assert list(await backend.versions()) == []
        with pytest.raises(SigningError):
            await backend.sign("nobody", b"a.b")
        await backend.close()

    async def test_two_libraries_take_what_is_signed(self, place: Place) -> None:
        """With each algorithm: the JWK that is published verifies the signature, by PyJWT and by joserfc."""
        needs(place, "public")
        backend = place.open()
        for number, algorithm in enumerate(place.algorithms if "rotation" not in place.lacks else ()):
            newest = await newest_of(backend)
            await backend.add(algorithm, newest=newest, created=NOW + number)
        versions = await backend.versions()
        assert versions
        jwks = json.loads(jwks_of(versions, versions[-1].created))
        for version in versions:
            token = await signed(backend, version.kid, version.algorithm)
            assert by_pyjwt(token, jwks, [version.algorithm]) == {"sub": "a"}
            assert json.loads(by_joserfc(token, jwks, [version.algorithm])) == {"sub": "a"}
        await backend.close()

    async def test_names_and_keys_are_the_same_after_a_restart(self, place: Place) -> None:
        """Another process on the same keys publishes the same, byte for byte, and signs with the same."""
        backend = place.open()
        await fill(place, backend, 3)
        before = await backend.versions()
        other = place.open()
        after = await other.versions()
        assert list(after) == list(before)
        assert jwks_of(after) == jwks_of(before)
        if "public" not in place.lacks:
            token = await signed(other, after[-1].kid, after[-1].algorithm)
            assert by_pyjwt(token, json.loads(jwks_of(before)), [after[-1].algorithm]) == {"sub": "a"}
        await backend.close()
        await other.close()

    async def test_in_any_state_a_restart_publishes_the_same(self, place: Place) -> None:
        """With a key that is made, about to sign, replaced or gone: the JWK Set is that of the process before (K8)."""
        backend = place.open()
        for _ in range(4):
            await fill(place, backend, 1)
            versions = await backend.versions()
            for step in range(12):
                now = versions[-1].created + step * 120
                assert jwks_of(await place.open().versions(), now) == jwks_of(versions, now)
        await backend.close()

    async def test_the_jwk_is_public(self, place: Place) -> None:
        """It has public members, kid, alg and use, and no other; a secret has none at all."""
        backend = place.open()
        await fill(place, backend, 1)
        versions = await backend.versions()
        for version in versions:
            if version.algorithm == "HS256":
                assert version.public is None
                assert version.secret
                continue
            public = version.public
            assert public is not None
            assert version.secret is None
            assert (public["kid"], public["alg"], public["use"]) == (version.kid, version.algorithm, "sig")
            assert set(public) <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}
        told = jwks_of(versions) + repr(versions).encode() + repr(backend).encode()
        for secret in place.secrets():
            assert secret
            assert secret not in told

    async def test_a_key_follows_on_the_newest_one_alone(self, place: Place) -> None:
        """``add`` compares and makes in one step: who is late is told so, and nothing is made."""
        needs(place, "rotation", "compare")
        backend, other = place.open(), place.open()
        first = await backend.add("ES256", newest=None, created=NOW)
        second = await other.add("ES256", newest=first.kid, created=NOW + 1)
        for late in (None, first.kid, "nobody"):
            with pytest.raises(AlreadyRotatedError):
                await backend.add("ES256", newest=late, created=NOW + 2)
        assert [version.kid for version in await backend.versions()] == [first.kid, second.kid]

    async def test_of_many_at_once_one_makes_a_key(self, place: Place) -> None:
        """16 at a time, in one process: one key, and 15 are late."""
        needs(place, "rotation", "compare")
        backends = [place.open() for _ in range(16)]
        newest: str | None = None
        for step in range(3):
            outcomes = await asyncio.gather(
                *(backend.add("ES256", newest=newest, created=NOW + step) for backend in backends),
                return_exceptions=True,
            )
            assert sum(isinstance(outcome, AlreadyRotatedError) for outcome in outcomes) == 15, outcomes
            assert len(await backends[0].versions()) == step + 1
            newest = await newest_of(backends[step])

    async def test_of_many_processes_one_makes_a_key(self, place: Place) -> None:
        """16 processes at once: the same."""
        needs(place, "rotation", "compare")
        if place.races is None:
            pytest.skip("processes")
        backend = place.open()
        for _ in range(2):
            outcomes = await asyncio.to_thread(place.races, await newest_of(backend), 16)
            assert sorted(outcomes) == ["added"] + ["late"] * 15
        assert len(await backend.versions()) == 2

    async def test_keys_are_made_one_after_the_other(self, place: Place) -> None:
        """A replica whose clock is behind makes a key that is newer all the same, and no name is ever given twice."""
        needs(place, "rotation")
        backend = place.open()
        kids: list[str] = []
        for offset in (10, 5, 5, 20):
            made = await backend.add("ES256", newest=kids[-1] if kids else None, created=NOW + offset)
            assert made.kid not in kids
            kids.append(made.kid)
            versions = await backend.versions()
            assert [version.kid for version in versions] == kids
            assert made == versions[-1]
        times = [version.created for version in versions]
        assert times == sorted(set(times))
        if "clock" not in place.lacks:
            assert [times[0], times[-1]] == [NOW + 10, NOW + 20]

    async def test_what_is_removed_is_gone_for_all(self, place: Place) -> None:
        """The key and all that are older sign nothing more, in any process; to remove it again is no fault."""
        needs(place, "rotation")
        backend, other = place.open(), place.open()
        await fill(place, backend, 3)
        old, middle, new = [version.kid for version in await other.versions()]
        await backend.remove(middle)
        await backend.remove(middle)
        for one in (backend, other, place.open()):
            assert [version.kid for version in await one.versions()] == [new]
            for kid in (old, middle):
                with pytest.raises(SigningError):
                    await one.sign(kid, b"a.b")
            assert await one.sign(new, b"a.b")

    async def test_all_can_be_removed(self, place: Place) -> None:
        """Then it begins anew, with another name."""
        needs(place, "rotation", "last")
        backend = place.open()
        await fill(place, backend, 2)
        kids = [version.kid for version in await backend.versions()]
        await backend.remove(kids[-1])
        assert list(await backend.versions()) == []
        made = await backend.add("ES256", newest=None, created=NOW + 100)
        assert made.kid not in kids

    async def test_a_backup_brings_no_removed_key_back(self, place: Place) -> None:
        """Whatever is put back: what was destroyed is never used again, the newest one least of all (K18)."""
        needs(place, "rotation", "back up")
        backend = place.open()
        await fill(place, backend, 2)
        leaked = await newest_of(backend)
        assert leaked is not None
        put_back = place.back_up()
        new = await backend.add("ES256", newest=leaked, created=NOW + 50)
        await backend.remove(leaked)
        put_back()
        for one in (backend, place.open()):
            assert [version.kid for version in await one.versions()] == [new.kid]
            with pytest.raises(SigningError):
                await one.sign(leaked, b"a.b")
        await backend.remove(new.kid)
        put_back()
        assert list(await place.open().versions()) == []

    async def test_somebody_else_writes_the_keys(self, place: Place) -> None:
        """Where we don't, nothing is made or destroyed, and that is said."""
        if "rotation" not in place.lacks:
            pytest.skip("only where somebody else writes the keys")
        backend = place.open()
        assert not backend.rotates
        kid = (await backend.versions())[0].kid
        with pytest.raises(SigningError):
            await backend.add("ES256", newest=kid, created=NOW)
        with pytest.raises(SigningError):
            await backend.remove(kid)
        assert (await backend.versions())[0].kid == kid

    async def test_a_fault_is_told_without_secrets_and_passes(self, place: Place) -> None:
        """A broken backend raises SigningError, in whose text and history no secret is; mended it works as before."""
        backend = place.open()
        await fill(place, backend, 1)
        before = await backend.versions()
        place.break_it()
        try:
            for one in (backend, place.open()):
                with pytest.raises(SigningError) as caught:
                    await one.versions()
                if one.rotates:
                    with pytest.raises(SigningError):
                        await one.add("ES256", newest=before[-1].kid, created=NOW + 100)
                told = [str(caught.value), repr(caught.value), repr(caught.value.__context__)]
                assert not any(secret.decode("latin-1") in text for secret in place.secrets() for text in told)
        finally:
            place.mend()
        assert list(await mended(backend)) == list(before)
        assert await backend.sign(before[-1].kid, b"a.b")


def needs(place: Place, *what: str) -> None:
    """Skip what a backend can't do."""
    if lacking := sorted(place.lacks & set(what)):
        pytest.skip(", ".join(lacking))


async def fill(place: Place, backend: KeyBackend, count: int) -> None:
    """Make more keys, where the backend makes them."""
    for _ in range(0 if "rotation" in place.lacks else count):
        versions = await backend.versions()
        created = versions[-1].created + 1 if versions else NOW
        await backend.add("ES256", newest=versions[-1].kid if versions else None, created=created)


async def mended(backend: KeyBackend) -> Sequence[KeyVersion]:
    """The keys, as soon as the backend has noticed that it is well again."""
    for _ in range(100):
        with contextlib.suppress(SigningError):
            return await backend.versions()
        await asyncio.sleep(0.1)
    return await backend.versions()


async def newest_of(backend: KeyBackend) -> str | None:
    """The name of the newest key."""
    versions = await backend.versions()
    return versions[-1].kid if versions else None


async def signed(backend: KeyBackend, kid: str, algorithm: str) -> str:
    """A token."""
    parts: list[dict[str, Any]] = [{"alg": algorithm, "kid": kid, "typ": "at+jwt"}, {"sub": "a"}]
    signing_input = ".".join(base64url(canonical_json(part)) for part in parts)
    return f"{signing_input}.{base64url(await backend.sign(kid, signing_input.encode()))}"
