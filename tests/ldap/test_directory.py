"""What a real directory says about people."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.errors import EntryError, UpstreamError
from extauthz.ldap import GroupSearch, LdapDirectory, LdapSettings, Person, PersonSearch
from tests.ldap.slapd import ALICE, BOB_PASSWORD, GROUPS, PEOPLE, READER, TEMPLATE, Slapd, running

pytestmark = pytest.mark.system("slapd")
Open = Callable[[LdapSettings], LdapDirectory]

PERSON = Person(ALICE, "alice", ("admins", "staff"))


async def test_the_right_password(slapd: Slapd, opened: Open) -> None:
    """Who shows the right password is known by DN, name and groups, over ldaps and over StartTLS."""
    for extra in ({}, {"url": f"ldap://127.0.0.1:{slapd.port}", "start_tls": True}):
        directory = opened(slapd.settings(**extra))
        assert await directory.authenticate("alice", "wonderland") == PERSON
        assert await directory.authenticate("bob", BOB_PASSWORD) == Person(f"uid=bob,{PEOPLE}", "bob", ("staff",))


async def test_the_wrong_password(slapd: Slapd, opened: Open) -> None:
    """A wrong password and a wrong name are refused alike, and leave nothing behind on the connections."""
    for settings_ in (slapd.settings(), slapd.as_the_person()):
        directory = opened(settings_)
        for name, password in (("alice", "Wonderland"), ("alice", BOB_PASSWORD), ("nobody", "wonderland")):
            assert await directory.authenticate(name, password) is None
        assert await directory.authenticate("alice", "wonderland") is not None
        assert await directory.authenticate("alice", "wonderlan") is None
        assert await directory.authenticate("bob", "wonderland") is None


@pytest.mark.parametrize("password", ["", "\0", "\0wonderland", "wonderland\0", "wonderland\0x"])
async def test_empty_passwords(slapd: Slapd, opened: Open, password: str) -> None:
    """RFC 4513 5.1.2: an empty password, or one that a C string would make empty or right, never reaches the directory."""
    for settings_ in (slapd.settings(), slapd.as_the_person()):
        assert await opened(settings_).authenticate("alice", password) is None
        assert await opened(settings_).authenticate("", "wonderland") is None


@pytest.mark.parametrize("typed", ["ALICE", "Alice", " alice", "alice ", "  aLiCe  "])
async def test_one_person_has_one_name(slapd: Slapd, opened: Open, typed: str) -> None:
    """However the name is typed, DN and name are those of the entry: limits and policies see one person."""
    assert await opened(slapd.settings()).authenticate(typed, "wonderland") == PERSON
    assert await opened(slapd.settings(person=TEMPLATE)).authenticate(typed, "wonderland") == PERSON
    found = await opened(slapd.as_the_person()).authenticate(typed, "wonderland")
    assert found == Person(ALICE, "alice", ())


async def test_a_name_with_signs(slapd: Slapd, opened: Open) -> None:
    """A name may hold what DNs give a meaning."""
    for settings_ in (slapd.settings(), slapd.settings(person=TEMPLATE)):
        found = await opened(settings_).authenticate("o,dd+one=\\", "odd-password")
        assert found is not None
        assert (found.username, found.groups) == ("o,dd+one=\\", ("staff",))


INJECTIONS = (
    "*",
    "a*",
    "alice*",
    "*)(uid=*",
    "alice)(objectClass=*",
    "x)(|(uid=alice",
    "x))(|(uid=alice)",
    "alice))%00",
    "\\61lice",
    "\\2a",
    "(uid=alice)",
    "alice,ou=people,dc=example,dc=org",
    "x,uid=alice",
    "x+uid=alice",
    "alice+uid=x",
    "#04056164616d",
    "alice\\",
    '"alice"',
    "{username}",
    "{dn}",
    "alice;lang-en",
    "*" * 256,
)


@pytest.mark.parametrize("typed", INJECTIONS)
async def test_a_name_is_never_more_than_a_name(slapd: Slapd, opened: Open, typed: str) -> None:
    """Filters and DNs can't be changed by what is typed: nobody is found, with anybody's password."""
    for settings_ in (slapd.settings(), slapd.settings(person=TEMPLATE), slapd.as_the_person()):
        directory = opened(settings_)
        for password in ("wonderland", BOB_PASSWORD, "reader-password"):
            assert await directory.authenticate(typed, password) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    typed=st.text(
        st.sampled_from('alice*()\\,+=#"<>;& |!~:{}ü') | st.characters(codec="utf-8"), min_size=1, max_size=24
    )
)
def test_no_name_but_the_own_one_opens(slapd: Slapd, typed: str) -> None:
    """Whoever gets in with alice's password has typed alice's name; anything else is refused, and is no fault."""

    async def ask() -> Person | None:
        directory = LdapDirectory(slapd.as_the_person())
        searching = LdapDirectory(slapd.settings())
        try:
            return await directory.authenticate(typed, "wonderland") or await searching.authenticate(
                typed, "wonderland"
            )
        finally:
            await directory.close()
            await searching.close()

    found = asyncio.run(ask())
    assert found is None or typed.strip().casefold() == "alice"


async def test_people_without_one_name(slapd: Slapd, opened: Open) -> None:
    """Two entries with one name, and an entry with two names, are refused: policies could take one for the other."""
    directory = opened(slapd.settings())
    with pytest.raises(EntryError, match="more than one entry"):
        await directory.authenticate("twin", "twin-password")
    with pytest.raises(EntryError, match="more than one uid"):
        await directory.authenticate("two", "two-password")
    with pytest.raises(EntryError, match="no telephoneNumber"):
        await opened(slapd.settings(username_attribute="telephoneNumber")).authenticate("alice", "wonderland")
    assert await directory.authenticate("alice", "wonderland") == PERSON


async def test_who_may_read_what(slapd: Slapd, opened: Open) -> None:
    """Groups are read as bindDn, or else as the person, who may not see them here: then nobody is said to have none."""
    with pytest.raises(UpstreamError, match="search for groups with NO_SUCH_OBJECT"):
        await opened(slapd.as_the_person(groups=GroupSearch(GROUPS))).authenticate("alice", "wonderland")
    found = await opened(slapd.settings(person=TEMPLATE)).authenticate("alice", "wonderland")
    assert found == PERSON


async def test_other_searches(slapd: Slapd, opened: Open) -> None:
    """Filters of other forms, groups by name, one level."""
    both = PersonSearch(PEOPLE, "(&(objectClass=person)(|(uid={username})(mail={username})))", subtree=False)
    directory = opened(slapd.settings(person=both))
    assert await directory.authenticate("a@example.org", "wonderland") == PERSON
    assert await directory.authenticate("alice", "wonderland") == PERSON
    above = PersonSearch("dc=example,dc=org", subtree=False)
    assert await opened(slapd.settings(person=above)).authenticate("alice", "wonderland") is None
    dns = GroupSearch(GROUPS, "(&(objectClass=groupOfNames)(member={dn}))", "member")
    found = await opened(slapd.settings(groups=dns)).authenticate("alice", "wonderland")
    assert found is not None
    assert len(found.groups) == 3


async def test_too_many_groups(slapd: Slapd, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of groups is never cut: it is refused."""
    monkeypatch.setattr("extauthz.ldap.directory.MAX_GROUPS", 1)
    directory = opened(slapd.settings())
    with pytest.raises(EntryError, match="more than 1 groups"):
        await directory.authenticate("alice", "wonderland")
    assert await directory.authenticate("bob", BOB_PASSWORD) is not None


async def test_wrong_bases_and_accounts(slapd: Slapd, opened: Open, tmp_path: Path) -> None:
    """What the operator got wrong is the directory's fault and nobody's password; the probe tells of the account."""
    with pytest.raises(UpstreamError, match="search for people with NO_SUCH_OBJECT"):
        await opened(slapd.settings(person=PersonSearch("ou=x,dc=example,dc=org"))).authenticate("alice", "wonderland")
    wrong = tmp_path / "password"
    wrong.write_text("other\n")
    directory = opened(slapd.settings(bind_password_file=str(wrong)))
    with pytest.raises(UpstreamError, match="does not let bindDn in: INVALID_CREDENTIALS"):
        await directory.probe()
    wrong.write_text("reader-password")
    await directory.probe()
    await opened(slapd.as_the_person()).probe()


async def test_certificates(slapd: Slapd, opened: Open, tmp_path: Path) -> None:
    """Only the right authority and the right name are trusted, over ldaps and over StartTLS, and no password is sent else."""
    start_tls = {"url": f"ldap://127.0.0.1:{slapd.port}", "start_tls": True}
    other = {"ca_file": str(slapd.folder / "other-ca.pem")}
    for parts in (other, other | start_tls, {"ca_file": None}):
        with pytest.raises(UpstreamError, match="certificate is not trusted"):
            await opened(slapd.as_the_person(**parts)).authenticate("alice", "wonderland")
    localhost = {"url": f"ldaps://localhost:{slapd.tls_port}"}
    with pytest.raises(UpstreamError, match=r"is not trusted: .*localhost"):
        await opened(slapd.as_the_person(**localhost)).authenticate("alice", "wonderland")
    with pytest.raises(UpstreamError, match="TLS can't be agreed on"):
        await opened(slapd.as_the_person(url=f"ldaps://127.0.0.1:{slapd.port}")).authenticate("alice", "wonderland")


async def test_a_directory_without_tls(tmp_path: Path, opened: Open) -> None:
    """StartTLS that is refused ends the matter; nothing goes on in plain text unless that was asked for."""
    folder = tmp_path / "slapd"
    folder.mkdir()
    with running(folder, tls=False, people_read_groups=True) as server:
        ca_file = str(server.folder / "ca.pem")
        with pytest.raises(UpstreamError, match="refuses StartTLS"):
            await opened(server.as_the_person(start_tls=True, ca_file=ca_file)).authenticate("alice", "wonderland")
        found = await opened(server.as_the_person(groups=GroupSearch(GROUPS))).authenticate("alice", "wonderland")
        assert found == PERSON


async def test_many_at_once(slapd: Slapd, opened: Open) -> None:
    """Each of many people who sign in at once over two connections is taken for nobody else."""
    directory = opened(slapd.settings(pool_size=2, timeout=10))
    people = {"alice": "wonderland", "bob": BOB_PASSWORD, "o,dd+one=\\": "odd-password"}
    asked = [(name, right) for index in range(40) for name, right in [(list(people)[index % 3], index % 4 != 0)]]
    found = await asyncio.gather(
        *(directory.authenticate(name, people[name] if right else "wrong") for name, right in asked)
    )
    assert [person and person.username for person in found] == [name if right else None for name, right in asked]


async def test_stopped_and_continued(own_slapd: Slapd, opened: Open) -> None:
    """I9: a directory that hangs costs a sign-in its time limit and the event loop nothing, and is used again later."""
    for settings_ in (
        own_slapd.settings(timeout=0.3),
        own_slapd.as_the_person(timeout=0.3, url=f"ldap://127.0.0.1:{own_slapd.port}", start_tls=True),
    ):
        fresh, warm = opened(settings_), opened(settings_)
        assert await warm.authenticate("alice", "wonderland") is not None
        gaps: list[float] = []

        async def beat() -> None:
            last = time.monotonic()
            while True:
                await asyncio.sleep(0.005)
                gaps.append(time.monotonic() - last)  # noqa: B023 - this round's
                last = time.monotonic()

        heart = asyncio.create_task(beat())
        own_slapd.send(SIGSTOP)
        began, busy = time.monotonic(), time.process_time()
        outcomes = await asyncio.gather(
            *(directory.authenticate("alice", "wonderland") for directory in (fresh, warm) for _ in range(20)),
            return_exceptions=True,
        )
        taken, busy = time.monotonic() - began, time.process_time() - busy
        own_slapd.send(SIGCONT)
        heart.cancel()
        assert {type(outcome) for outcome in outcomes} == {UpstreamError}
        assert taken < 1.0
        assert busy < 0.3
        assert max(gaps) < 0.25
        assert await fresh.authenticate("alice", "wonderland") is not None
        assert await warm.authenticate("alice", "wonderland") is not None


async def test_killed_and_restarted(own_slapd: Slapd, opened: Open) -> None:
    """A directory that died is a fault at once; when it is back, connections from before don't stand in the way."""
    directory = opened(own_slapd.settings())
    assert await directory.authenticate("alice", "wonderland") == PERSON
    own_slapd.stop()
    with pytest.raises(UpstreamError, match="can't connect"):
        await directory.authenticate("alice", "wonderland")
    own_slapd.start()
    assert await directory.authenticate("alice", "wonderland") == PERSON
    own_slapd.stop()
    own_slapd.start()
    assert await directory.authenticate("alice", "wonderland") == PERSON
    assert await directory.authenticate("alice", "wrong") is None


async def test_the_person_cannot_use_the_readers_connection(slapd: Slapd, opened: Open) -> None:
    """The account that reads is bound on connections of its own: a person may even have its name."""
    directory = opened(slapd.settings(person="cn={username},dc=example,dc=org", pool_size=1, username_attribute="cn"))
    for password, right in (("wrong", False), ("reader-password", True), ("wrong", False)):
        found = await directory.authenticate("reader", password)
        assert found == (Person(READER, "reader", ()) if right else None)
        await directory.probe()
