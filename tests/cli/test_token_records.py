"""``extauthz token client`` and ``token revoke``: what is in the store and in the audit log afterwards."""

import asyncio
import json
import os
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import jwt
import pytest

from extauthz.stores import SqliteTokenStore
from extauthz.telemetry import audit_key, check_audit
from extauthz.tokens.clients import Client
from extauthz.tokens.records import Family, Revocation
from extauthz.tokens.refresh_token import digest_of, new_refresh_token
from extauthz.tokens.registry import ClientRegistry
from extauthz.tokens.revocation_list import RevocationList

Command = Callable[..., Any]
_T = TypeVar("_T")
SECRET = re.compile(r"ecs_[A-Za-z0-9_-]{43}")
ISSUER = "https://auth.example.com"


@pytest.fixture
def desk(run: Command) -> Command:
    """A folder with a token service, its records in a file, and an audit log."""
    Path("extauthz.yaml").write_text(f"""
store: {{url: "sqlite:state.db"}}
providers:
- name: corporate
  jwt: {{issuer: "https://login.example.com/", audiences: [orders]}}
tokens:
  issuer: {ISSUER}
  audiences: [orders]
  audit: {{file: audit.log, keyFile: audit.key}}
  clients:
  - {{id: written, secretFile: written.secret}}
""")
    return run


def stored(ask: Callable[[SqliteTokenStore], Awaitable[_T]]) -> _T:
    """What the store says."""

    async def answer() -> _T:
        store = SqliteTokenStore("state.db", timeout=5)
        try:
            return await ask(store)
        finally:
            await store.close()

    return asyncio.run(answer())


def client(name: str) -> Client | None:
    return stored(lambda store: store.client(name))


def revocations() -> Sequence[Revocation]:
    async def all_of_them(store: SqliteTokenStore) -> Sequence[Revocation]:
        return (await store.revocations()).revocations

    return stored(all_of_them)


def audited() -> list[dict[str, Any]]:
    assert check_audit(["audit.log"], audit_key("audit.key", make=False)).whole
    return [json.loads(line) for line in Path("audit.log").read_text().splitlines()[1:]]


class TestClients:
    """Registered in the store."""

    def test_a_secret_is_shown_once(self, desk: Command) -> None:
        """Alone on standard output; the store has its digest, and no log or list has either."""
        result = desk(
            "token", "client", "add", "billing", "--role", "billing", "--scope", "orders:read", "--lifetime", "2m"
        )
        assert result.code == 0
        secret = result.out.strip()
        assert SECRET.fullmatch(secret)
        assert result.err == "client billing is registered. Its secret is not shown again.\n"
        made = client("billing")
        assert made is not None
        assert made == Client(
            "billing",
            "client_secret_basic",
            frozenset({"client_credentials"}),
            ("orders",),
            roles=("billing",),
            scopes=("orders:read",),
            lifetime=120.0,
            secret_digests=(sha256(secret.encode()).digest(),),
        )
        (line,) = audited()
        assert (line["action"], line["client_id"]) == ("client", "billing")
        assert line["detail"] == f"added by user {os.getuid()} of the server's machine, with extauthz token"
        for text in (Path("audit.log").read_text(), desk("token", "client", "list", "--output", "json").out):
            assert secret not in text
            assert sha256(secret.encode()).hexdigest()[:16] not in text

    def test_json(self, desk: Command) -> None:
        """Programs get one object."""
        told = json.loads(desk("token", "client", "add", "billing", "--output", "json").out)
        assert SECRET.fullmatch(told.pop("secret"))
        assert told == {"id": "billing"}

    def test_all_that_a_client_may_have(self, desk: Command) -> None:
        """In the words of the configuration."""
        words = [
            "--refresh",
            "--renew",
            "--may-introspect",
            "--secret-in",
            "form",
            "--audience",
            "a",
            "--audience",
            "b",
        ]
        words += ["--exchange", "corporate", "--may-grant", "user"]
        assert desk("token", "client", "add", "gateway", *words).code == 0
        made = client("gateway")
        assert made is not None
        assert made.audiences == ("a", "b")
        assert made.authentication == "client_secret_post"
        assert (made.refresh, made.renew, made.may_introspect) == (True, True, True)
        assert made.exchange is not None
        assert made.exchange.may_grant == frozenset({"user"})
        assert len(made.grants) == 3

    def test_other_proofs(self, desk: Command) -> None:
        """Public keys or the name in a certificate: then there is no secret."""
        key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "k"}
        Path("jwks.json").write_text(json.dumps({"keys": [key]}))
        result = desk("token", "client", "add", "signer", "--jwks-file", "jwks.json")
        assert (result.code, result.out) == (0, "")
        made = client("signer")
        assert made is not None
        assert (made.authentication, made.public_keys) == ("private_key_jwt", {"keys": [key]})
        assert desk("token", "client", "add", "meshed", "--certificate-subject", "spiffe://x/y").code == 0
        made = client("meshed")
        assert made is not None
        assert (made.authentication, made.secret_digests) == ("tls_client_auth", ())

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["a b"], "can't be the id of a client"),
            (["mint"], "is the client of tokens that are made by extauthz token mint"),
            (["x", "--role", "anonymous"], "anonymous"),
            (["x", "--audience", "*"], "a token for everybody"),
            (["x", "--scope", 'a"b'], "can't be a scope"),
            (["x", "--lifetime", "2d"], "lifetime"),
            (["x", "--exchange", "nobody"], "there is no provider 'nobody'"),
            (["x", "--may-grant", "user"], "providers"),
            (["x", "--jwks-file", "none.json"], "none.json can't be read"),
            (["x", "--jwks-file", "audit.key", "--certificate-subject", "y"], "in one way"),
            (["written"], "the configuration has a client 'written'"),
        ],
    )
    def test_what_can_be_no_client(self, desk: Command, words: list[str], told: str) -> None:
        """Exit code 2, what is wrong, and nothing is changed."""
        result = desk("token", "client", "add", *words)
        assert (result.code, result.out) == (2, "")
        assert told in result.err
        assert json.loads(desk("token", "client", "list", "--output", "json").out) == []

    def test_one_of_an_id(self, desk: Command) -> None:
        """A second one must be meant, and so must the replacement of one that is not there."""
        assert desk("token", "client", "add", "billing", "--replace").code == 1
        first = desk("token", "client", "add", "billing").out
        assert desk("token", "client", "add", "billing").code == 1
        second = desk("token", "client", "add", "billing", "--role", "x", "--replace").out
        assert first != second
        made = client("billing")
        assert made is not None
        assert made.secret_digests == (sha256(second.strip().encode()).digest(),)

    def test_a_new_secret_beside_the_last_one(self, desk: Command) -> None:
        """Two are in force while one takes the place of the other; with --only one at once."""
        made_by = [desk("token", "client", verb, "billing").out.strip() for verb in ("add", "secret", "secret")]
        digests = [sha256(secret.encode()).digest() for secret in made_by]
        made = client("billing")
        assert made is not None
        assert made.secret_digests == (digests[2], digests[1])
        assert desk("token", "client", "secret", "billing", "--only").code == 0
        made = client("billing")
        assert made is not None
        assert len(made.secret_digests) == 1
        assert made.secret_digests[0] not in digests
        assert desk("token", "client", "secret", "nobody").code == 1

    def test_removing_one_ends_what_it_was_given(self, desk: Command) -> None:
        """Its access tokens by revocation, its refresh tokens with their families."""
        assert desk("token", "client", "add", "billing").code == 0
        family, _ = begun("billing", "alice")
        result = desk("token", "client", "remove", "billing")
        assert result.code == 0
        assert client("billing") is None
        assert {(one.kind, one.value) for one in revocations()} == {("client", "billing"), ("subject", "billing")}
        assert has_ended(family)
        assert [line["detail"].partition(" by user")[0] for line in audited()] == [
            "added",
            "removed, and all that it was given is revoked",
        ]

    def test_what_is_removed_twice_is_ended_twice(self, desk: Command) -> None:
        """Whoever was interrupted, or has taken the client out of the configuration, says it (again)."""
        family, _ = begun("billing", "alice")
        result = desk("token", "client", "remove", "billing")
        assert result.code == 1
        assert "what one was given before is revoked" in result.err
        assert {(one.kind, one.value) for one in revocations()} == {("client", "billing"), ("subject", "billing")}
        assert has_ended(family)
        assert [line["detail"].partition(" by user")[0] for line in audited()] == [
            "not there; all that it was given is revoked"
        ]

    def test_a_client_of_the_configuration_has_what_it_has(self, desk: Command) -> None:
        """One of the same id in the store never counted; neither can be disabled by command."""
        family, _ = begun("written", "alice")
        assert desk("token", "client", "remove", "written").code == 1
        stored(
            lambda store: store.put_client(Client("written", "client_secret_basic", frozenset(), ("a",)), replace=False)
        )
        result = desk("token", "client", "remove", "written")
        assert (result.code, client("written")) == (0, None)
        assert "the one in the configuration has what it had" in result.out
        assert revocations() == []
        assert not has_ended(family)
        assert desk("token", "client", "disable", "written").code == 2

    def test_a_disabled_client_is_refused_and_has_nothing(self, desk: Command) -> None:
        """On every replica: its tokens are revoked in the store that all of them read. Enabled, it begins anew."""
        assert desk("token", "client", "add", "billing").code == 0
        family, _ = begun("billing", "alice")
        before = time.time()
        assert desk("token", "client", "disable", "billing").code == 0
        assert "disabled" in desk("token", "client", "list").out
        assert has_ended(family)
        found = stored(lambda store: ClientRegistry({}, store).find("billing"))
        assert found is None
        replica = RevocationList(max_staleness=5)
        replica.add(revocations())
        marks = ("j", "alice", "billing", family.id, "k")
        refused = replica.refusal(marks, before, time.time())
        assert refused is not None
        assert refused.reason.word == "token-revoked"
        assert desk("token", "client", "secret", "billing").code == 0
        still = client("billing")
        assert still is not None
        assert still.disabled
        assert desk("token", "client", "enable", "billing").code == 0
        again = client("billing")
        assert again is not None
        assert not again.disabled
        assert has_ended(family)
        assert [line["detail"].partition(" by user")[0] for line in audited()] == [
            "added",
            "disabled, and all that it was given is revoked",
            "has a new secret",
            "enabled",
        ]
        assert {desk("token", "client", verb, "nobody").code for verb in ("disable", "enable")} == {1}

    def test_a_new_client_of_an_old_id_inherits_no_session(self, desk: Command) -> None:
        """Even one that began in the moment in which the old one was removed."""
        family, _ = begun("billing", "alice")
        assert desk("token", "client", "add", "billing").code == 0
        assert has_ended(family)

    def test_list_for_people(self, desk: Command) -> None:
        """Columns; a word instead of nothing."""
        told = "there is no client: state.db is not there yet: extauthz serve makes it when it starts\n"
        assert desk("token", "client", "list").err == told
        assert revocations() == []
        assert desk("token", "client", "list").err == "there is no client in the store\n"
        assert desk("token", "client", "add", "billing", "--role", "a", "--role", "b").code == 0
        head, row = (re.split(r" {2,}", line) for line in desk("token", "client", "list").out.splitlines())
        assert head == ["ID", "STATE", "PROOF", "SECRETS", "GRANTS", "AUDIENCES", "ROLES", "SCOPES"]
        assert row == ["billing", "in force", "client_secret_basic", "1", "client_credentials", "orders", "a,b", "-"]


def begun(client_id: str, subject: str) -> tuple[Family, str]:
    """A family in the store, and its refresh token."""
    name, key, now = "AAECAwQFBgcICQoLDA0ODw", os.urandom(32), time.time()
    token = new_refresh_token(name, key, 0, os.urandom)
    family = Family(name, key, client_id, subject, "{}", now, now + 1000, now + 1000, digest_of(token))
    stored(lambda store: store.begin(family))
    return family, token


def has_ended(family: Family) -> bool:
    kept = stored(lambda store: store.family(family.id))
    return kept is None or kept.revoked


def own_token(**claims: Any) -> str:
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": "orders",
        "client_id": "billing",
        "jti": "j1",
        "iat": now,
        "exp": now + 300,
    }
    token = jwt.encode(said | claims, "s" * 32, "HS256")
    Path("token").write_text(token)
    return token


class TestRevoke:
    """In the store before the command ends."""

    def test_one_token(self, desk: Command) -> None:
        """By its name, until nobody could take it any more; the log has its digest."""
        token = own_token()
        result = desk("token", "revoke", "token")
        assert (result.code, result.out) == (0, "revoked: token j1\n")
        (one,) = revocations()
        assert (one.kind, one.value) == ("token", "j1")
        assert one.until > time.time() + 300
        (line,) = audited()
        assert line["token"] == audit_key("audit.key", make=False).digest(token)
        assert (line["action"], line["subject"], line["client_id"], line["jti"]) == ("revoke", "alice", "billing", "j1")

    def test_a_token_that_may_have_been_renewed(self, desk: Command) -> None:
        """Others may have followed from it, in whoever's hands: its session ends too, also that of a client that is gone."""
        assert desk("token", "client", "add", "loop", "--renew").code == 0
        assert desk("token", "client", "add", "steady", "--refresh").code == 0
        for client_id in ("loop", "gone", "steady", "written"):
            own_token(client_id=client_id, jti=client_id, sid=f"of-{client_id}")
            assert desk("token", "revoke", "token").code == 0
        own_token(client_id="loop", jti="exchanged", sid="another", act={"sub": "loop"})
        assert desk("token", "revoke", "token").code == 0
        assert [one.value for one in revocations() if one.kind == "family"] == ["of-loop", "of-gone"]
        assert len([one for one in revocations() if one.kind == "token"]) == 5

    @pytest.mark.parametrize("wrong", [{"iss": "https://other"}, {"jti": 5}, {"exp": "soon"}])
    def test_a_token_that_is_not_ours(self, desk: Command, wrong: dict[str, Any]) -> None:
        """Exit code 2; nothing is revoked, nothing is repeated."""
        token = own_token(**wrong)
        result = desk("token", "revoke", "token")
        assert result.code == 2
        assert token[10:40] not in result.err
        assert revocations() == []

    @pytest.mark.parametrize("kind", ["subject", "client", "key"])
    def test_all_of_somebody(self, desk: Command, kind: str) -> None:
        """All that was issued until now, sessions included, for as long as any token may live."""
        family, _ = begun("billing", "alice")
        value = {"subject": "alice", "client": "billing", "key": "k1"}[kind]
        now = time.time()
        result = desk("token", "revoke", f"--{kind}", value)
        ended = 0 if kind == "key" else 1
        assert (result.code, result.out) == (0, f"revoked: {kind} {value}; sessions ended: {ended}\n")
        # A client's tokens that somebody else has exchanged are about it, and not its own.
        kinds = ["client", "subject"] if kind == "client" else [kind]
        assert [(one.kind, one.value) for one in revocations()] == [(kind, value) for kind in kinds]
        assert all(one.before >= now and one.until > now + 86_400 for one in revocations())
        after = stored(lambda store: store.family(family.id))
        assert (after is None or after.revoked) == bool(ended)
        (line,) = audited()
        assert value in line.values()

    @pytest.mark.parametrize("kind", ["key", "family"])
    def test_a_name_that_begins_like_an_option(self, desk: Command, kind: str) -> None:
        """One of 64 that are made at random does."""
        name = "-apC-UvkfZ3kDqi6Ea54s4"
        desk("token", "revoke", f"--{kind}", name)
        assert [(one.kind, one.value) for one in revocations()] == [(kind, name)]

    def test_a_session(self, desk: Command) -> None:
        """By its name, or by its refresh token."""
        family, token = begun("billing", "alice")
        Path("refresh.token").write_text(token)
        told = json.loads(desk("token", "revoke", "refresh.token", "--output", "json").out)
        assert told == {"revoked": "family", "value": family.id, "sessions": 1}
        assert [(one.kind, one.value) for one in revocations()] == [("family", family.id)]
        assert token not in Path("audit.log").read_text()
        assert desk("token", "revoke", "--family", family.id).code == 0
        assert desk("token", "revoke", "--family", "AAAAAAAAAAAAAAAAAAAAAA").code == 2

    def test_a_session_of_which_only_half_can_be_ended(self, desk: Command) -> None:
        """Its refresh token, which could live for months, is dead: the revocation of its access tokens is forgotten after
        a day. The command says that it failed, and can be given again.
        """
        family, token = begun("billing", "alice")
        Path("refresh.token").write_text(token)
        own_token(client_id="gone", sid=family.id)
        with closing(sqlite3.connect("state.db")) as other:
            other.execute("CREATE TRIGGER full BEFORE INSERT ON revocations BEGIN SELECT RAISE(ABORT, 'full'); END")
        for given in ("token", "refresh.token"):
            assert desk("token", "revoke", given).code == 2
            assert has_ended(family)
            with closing(sqlite3.connect("state.db")) as other, other:
                other.execute("UPDATE families SET revoked = 0")
        with closing(sqlite3.connect("state.db")) as other:
            other.execute("DROP TRIGGER full")
        assert desk("token", "revoke", "refresh.token").code == 0
        assert [one.kind for one in revocations()] == ["family"]

    def test_a_forged_refresh_token_ends_nothing(self, desk: Command) -> None:
        """Who knows a session's name and not its key is told that this is none of ours."""
        family, _ = begun("billing", "alice")
        Path("refresh.token").write_text(new_refresh_token(family.id, os.urandom(32), 0, os.urandom))
        assert desk("token", "revoke", "refresh.token").code == 2
        assert revocations() == []

    def test_wrong_use(self, desk: Command) -> None:
        """Nothing, two things, a store that nobody shares, no token service."""
        own_token()
        assert desk("token", "revoke").code == 2
        assert desk("token", "revoke", "token", "--subject", "alice").code == 2
        text = Path("extauthz.yaml").read_text()
        Path("extauthz.yaml").write_text(text.replace('"sqlite:state.db"', '"memory:"'))
        result = desk("token", "revoke", "--subject", "alice")
        assert result.code == 2
        assert "store.url is memory" in result.err
        Path("extauthz.yaml").write_text("{}\n")
        assert "no token service" in desk("token", "revoke", "--subject", "alice").err

    def test_a_log_that_can_not_be_written(self, desk: Command) -> None:
        """Is told before anything is done."""
        Path("audit.log").mkdir()
        result = desk("token", "revoke", "--subject", "alice")
        assert result.code == 2
        assert "audit log" in result.err
        assert revocations() == []
