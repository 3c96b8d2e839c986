"""Programs that show an API key, through the authenticator."""

import asyncio
import hmac
from pathlib import Path
from typing import Any

import pytest

from extauthz.errors import ConfigError
from extauthz.identity import Authenticator, HeaderPlace, RoleRules
from extauthz.identity import api_keys as room
from extauthz.model import Deny, Identity, Reason
from tests.identity.issuer import NOW, Clock, authenticator, bearer, mint, provider, request, settle, word
from tests.identity.key_file import entry, fresh_key, keys_in, write

LATER = "2099-01-01T00:00:00Z"
PAST = "2001-01-01"


def ask(subject: Authenticator, key: str) -> Any:
    return subject.authenticate(request({"x-api-key": key}))


def test_a_key_proves_who_it_was_given_to(tmp_path: Path) -> None:
    """Subject, roles, provider and end come from the record; the identity's issuer is the provider's own."""
    key = fresh_key()
    file = write(tmp_path / "keys.yaml", entry(key, roles="[partner, reader]", expires=LATER))
    rules = RoleRules(mapping={"reader": "user"}, may_grant=frozenset({"partner", "user"}))
    found = ask(authenticator(keys_in(file, roles=rules), includes={"partner": ["guest"]}), key)
    assert isinstance(found, Identity)
    assert (found.subject, found.provider, found.issuer) == ("billing", "partners", "api-keys:partners")
    assert found.roles == {"partner", "user", "guest"}
    assert found.expires == 4_070_908_800.0
    assert found.claims["key_id"] == key[:16]


def test_roles_that_the_provider_may_not_grant_are_left_out(tmp_path: Path) -> None:
    """What stands in the key file is confined by mayGrant like the claims of an issuer."""
    key = fresh_key()
    file = write(tmp_path / "keys.yaml", entry(key, roles="[partner, admin]"))
    found = ask(authenticator(keys_in(file, roles=RoleRules(may_grant=frozenset({"partner"})))), key)
    assert found.roles == {"partner"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"expires": PAST}, Reason.TOKEN_EXPIRED),
        ({"disabled": "true"}, Reason.TOKEN_REVOKED),
        ({"disabled": "true", "expires": PAST}, Reason.TOKEN_REVOKED),
        ({"sha256": "ab" * 32}, Reason.CREDENTIALS_INVALID),
    ],
)
def test_keys_that_count_no_more(tmp_path: Path, fields: dict[str, Any], reason: Reason) -> None:
    """Expired, revoked and wrong are different reasons, and the detail names the key by its id."""
    key = fresh_key()
    denial = ask(authenticator(keys_in(write(tmp_path / "keys.yaml", entry(key, **fields)))), key)
    assert isinstance(denial, Deny)
    assert (denial.reason, denial.provider) == (reason, "partners")
    assert key[:16] in denial.detail
    assert key[17:] not in repr(denial)


def test_a_key_ends_at_its_moment(tmp_path: Path) -> None:
    """T33: a second before it is good, at the moment it is over."""
    key, clock = fresh_key(), Clock()
    file = write(tmp_path / "keys.yaml", entry(key, expires="2027-01-15T08:00:01Z"))
    subject = authenticator(keys_in(file), now=clock.now)
    assert word(ask(subject, key)) == "identity"
    clock.time = NOW + 1
    assert word(ask(subject, key)) == "token-expired"


def test_unknown_and_wrong_keys_are_invalid(tmp_path: Path) -> None:
    """An unknown id, and a known id with another secret, look the same to the caller."""
    key, stranger = fresh_key(), fresh_key()
    subject = authenticator(keys_in(write(tmp_path / "keys.yaml", entry(key), entry(fresh_key()))))
    other = authenticator(keys_in(write(tmp_path / "other.yaml", entry(key, sha256="ab" * 32))))
    unknown, wrong = ask(subject, stranger), ask(other, key)
    assert word(unknown) == word(wrong) == "credentials-invalid"
    assert stranger[:16] not in repr(unknown)


@pytest.mark.parametrize("text", ["eak_", "eak_x", "eak_" + "0" * 62, "x", "eak_" + "A" * 100_000, "a.b.c.d", "\u0663"])
def test_what_is_no_key_is_malformed(tmp_path: Path, text: str) -> None:
    """T2, T50: cut, mistyped, huge or of another kind: refused, and not nobody."""
    subject = authenticator(keys_in(write(tmp_path / "keys.yaml", entry(fresh_key()))))
    assert word(ask(subject, text)) == "token-malformed"
    assert word(ask(subject, fresh_key()[:-1] + "!")) == "token-malformed"


def test_every_key_costs_one_digest_and_one_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known or not, right or wrong: the same work, and the comparison is the one of constant time."""
    good, over, off, stranger = (fresh_key() for _ in range(4))
    file = write(tmp_path / "keys.yaml", entry(good), entry(over, expires=PAST), entry(off, disabled="true"))
    subject = authenticator(keys_in(file))
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    for key in (good, over, off, stranger):
        ask(subject, key)
        assert compared == [(32, 32)]
        compared.clear()


def test_a_key_whose_digest_is_zero_opens_nothing(tmp_path: Path) -> None:
    """The digest that unknown keys are compared with is nobody's, whatever a file says."""
    key = fresh_key()
    subject = authenticator(keys_in(write(tmp_path / "keys.yaml", entry(key, sha256='"' + "0" * 64 + '"'))))
    assert word(ask(subject, key)) == "credentials-invalid"
    assert word(ask(subject, fresh_key())) == "credentials-invalid"


def test_the_prefix_picks_the_provider(tmp_path: Path) -> None:
    """Several kinds can share a place: what begins with the prefix is a key, the rest is what it was."""
    key, foreign = fresh_key("acme_"), fresh_key("eak_")
    places = (HeaderPlace("authorization", "Bearer "),)
    mine = keys_in(write(tmp_path / "a.yaml", entry(key)), name="a", prefix="acme_", places=places)
    other = keys_in(write(tmp_path / "b.yaml", entry(foreign)), name="b", places=places)
    subject = authenticator(provider(), mine, other)
    for credential, name in ((key, "a"), (foreign, "b"), (mint(), "corporate")):
        found = subject.authenticate(bearer(credential))
        assert isinstance(found, Identity)
        assert found.provider == name
    assert word(subject.authenticate(bearer(fresh_key("acme_")))) == "credentials-invalid"


def test_a_key_counts_only_in_its_place(tmp_path: Path) -> None:
    """T10: a good key where only JWTs are read is no credential of any kind."""
    key = fresh_key()
    subject = authenticator(provider(), keys_in(write(tmp_path / "keys.yaml", entry(key))))
    assert word(subject.authenticate(bearer(key))) == "token-malformed"
    assert word(ask(subject, mint())) == "issuer-unknown"
    assert word(ask(subject, key)) == "identity"


@pytest.mark.parametrize("scheme", ["Bearer", "ApiKey", "apikey"])
def test_a_scheme_can_carry_keys(tmp_path: Path, scheme: str) -> None:
    """T8: in `authorization` a key stands behind a scheme, whose case does not count."""
    key = fresh_key()
    places = (HeaderPlace("authorization", "Bearer "), HeaderPlace("authorization", "ApiKey "))
    subject = authenticator(keys_in(write(tmp_path / "keys.yaml", entry(key)), places=places))
    assert word(subject.authenticate(request({"authorization": f"{scheme} {key}"}))) == "identity"
    assert word(subject.authenticate(request({"authorization": key}))) == "credentials-invalid"


def test_a_name_belongs_to_one_provider(tmp_path: Path) -> None:
    """Two providers with one name are refused, whatever their kinds."""
    keys = keys_in(write(tmp_path / "keys.yaml"), name="corporate")
    with pytest.raises(ValueError, match="another provider"):
        authenticator(provider(), keys)
    with pytest.raises(ValueError, match="prefix such as"):
        keys_in(tmp_path, prefix="EAK")


async def follow(subject: Authenticator, clock: Clock) -> None:
    """Let the looks at the files happen that one second brings. They run in threads, so they are waited for."""
    for _ in range(2):
        await clock.advance(0.5)
        for _ in range(200):
            await asyncio.sleep(0.001)
            if len(clock._sleepers) > 0:
                break


async def test_changes_are_in_force_within_a_second(tmp_path: Path) -> None:
    """I8: a new key works, a revoked one does not, without a restart; a file that breaks changes nothing but the state."""
    first, second, clock = fresh_key(), fresh_key(), Clock()
    file = write(tmp_path / "keys.yaml", entry(first))
    subject = authenticator(keys_in(file), now=clock.now, sleep=clock.sleep)
    running = asyncio.create_task(subject.run())
    await settle()
    assert [word(ask(subject, key)) for key in (first, second)] == ["identity", "credentials-invalid"]
    write(file, entry(first, disabled="true"), entry(second))
    await follow(subject, clock)
    assert [word(ask(subject, key)) for key in (first, second)] == ["token-revoked", "identity"]
    [state] = subject.states()
    assert (state.usable, state.error) == (True, "")
    write(file, entry(first), "- subjet: x\n")
    await follow(subject, clock)
    assert [word(ask(subject, key)) for key in (first, second)] == ["token-revoked", "identity"]
    [state] = subject.states()
    assert state.usable
    assert state.error.startswith(f"{file}:")
    assert state.error.endswith("(and 3 more)")
    file.unlink()
    await follow(subject, clock)
    assert [word(ask(subject, key)) for key in (first, second)] == ["token-revoked", "identity"]
    assert "no such file" in subject.states()[0].error
    write(file, entry(second))
    await follow(subject, clock)
    assert [word(ask(subject, key)) for key in (first, second)] == ["credentials-invalid", "identity"]
    [state] = subject.states()
    assert state.error == ""
    assert state.age_seconds is not None
    assert state.age_seconds <= 0.5
    running.cancel()
    await asyncio.wait([running])


async def test_a_change_is_in_force_within_a_second_of_real_time(tmp_path: Path) -> None:
    """I8: measured on the clock of the machine, with a file that is edited in place."""
    first, second = fresh_key(), fresh_key()
    file = write(tmp_path / "keys.yaml", entry(first))
    subject = authenticator(keys_in(file))
    running = asyncio.create_task(subject.run())
    await asyncio.sleep(0.05)
    with file.open("a") as stream:
        stream.write(entry(second))
    for _ in range(100):
        await asyncio.sleep(0.01)
        if word(ask(subject, second)) == "identity":
            break
    else:
        pytest.fail("not in force after a second")
    running.cancel()
    await asyncio.wait([running])


async def test_secrets_in_a_folder_are_followed(tmp_path: Path) -> None:
    """A Kubernetes Secret for each key: its files are links through ``..data``, which is swapped when it changes."""
    first, second, clock = fresh_key(), fresh_key(), Clock()
    secret = tmp_path / "keys" / "billing"
    for version, key in (("..1", first), ("..2", second)):
        (secret / version).mkdir(parents=True)
        write(secret / version / "key.yaml", entry(key))
    (secret / "..data").symlink_to("..1")
    (secret / "key.yaml").symlink_to("..data/key.yaml")
    third = fresh_key()
    write(tmp_path / "keys" / "plain.yml", entry(third))
    (tmp_path / "keys" / "notes.txt").write_text("no key")
    (tmp_path / "keys" / ".swap.yaml").write_text("no key")
    subject = authenticator(keys_in(tmp_path / "keys"), now=clock.now, sleep=clock.sleep)
    running = asyncio.create_task(subject.run())
    await settle()
    assert [word(ask(subject, key)) for key in (first, second, third)] == [
        "identity",
        "credentials-invalid",
        "identity",
    ]
    (secret / "..new").symlink_to("..2")
    (secret / "..new").rename(secret / "..data")
    await follow(subject, clock)
    assert [word(ask(subject, key)) for key in (first, second, third)] == [
        "credentials-invalid",
        "identity",
        "identity",
    ]
    (secret / "key.yaml").unlink()
    await follow(subject, clock)
    assert word(ask(subject, second)) == "credentials-invalid"
    running.cancel()
    await asyncio.wait([running])


async def test_a_request_meets_one_table(tmp_path: Path) -> None:
    """I3: a reload makes another table; the one in force is never changed."""
    key = fresh_key()
    file = write(tmp_path / "keys.yaml", entry(key))
    subject = room.ApiKeys(keys_in(file), {}, now=lambda: NOW)
    before = subject._table
    write(file)
    await subject._look()
    assert subject._table is not before
    assert list(before) == [key[:16]]
    assert not subject._table


async def test_an_unforeseen_fault_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: whatever goes wrong in a look at the files, the keys in force stay and the state names it without its text."""
    key = fresh_key()
    subject = room.ApiKeys(keys_in(write(tmp_path / "keys.yaml", entry(key))), {}, now=lambda: NOW)

    def broken() -> None:
        raise RuntimeError(key)

    monkeypatch.setattr(subject, "_changed", broken)
    await subject._look()
    assert isinstance(subject.identify(key, NOW, waited=False), Identity)
    assert subject.state().error == "unexpected fault: RuntimeError"


def test_a_broken_file_stops_the_start(tmp_path: Path) -> None:
    """Nothing is served with half of the keys; every problem is told, with file, line and column."""
    broken = write(tmp_path / "keys.yaml", entry(fresh_key(), subject='""'), entry("x", id="y", sha256="z"))
    with pytest.raises(ConfigError) as caught:
        authenticator(keys_in(broken))
    assert [str(problem.where).removeprefix(str(broken)) for problem in caught.value.problems] == [
        ":4:12",
        ":5:7",
        ":6:11",
    ]
    foreign = write(tmp_path / "foreign.yaml", entry(fresh_key("acme_")))
    with pytest.raises(ConfigError, match="begins with eak_"):
        authenticator(keys_in(foreign))
