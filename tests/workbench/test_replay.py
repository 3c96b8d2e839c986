"""Recorded decisions before other policies: what changes is found, what is not certain is said to be so."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.capture import CaptureWriter, CredentialPlaces
from extauthz.check import RequestRules
from extauthz.model import (
    AttributeContext,
    Decision,
    Deny,
    HttpAttributes,
    Identity,
    Peer,
    Reason,
    Request,
    VerifiedClaims,
)
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.policy.vocabulary import NAMES
from extauthz.telemetry.record import decision_line
from extauthz.telemetry.redaction import is_sensitive, mask
from extauthz.workbench.engine import Engine
from extauthz.workbench.given import Given
from extauthz.workbench.replay import (
    Comparison,
    Kind,
    Outcome,
    Record,
    Replayer,
    Skipped,
    outcome_of,
    read_record,
)
from extauthz.workbench.replay.doubts import _NOT_IN_PLAIN

SETTINGS = PolicySettings(providers=frozenset({"corporate", "partner"}), mesh_providers=frozenset({"mesh"}))
PLACES = CredentialPlaces(frozenset({"authorization"}), frozenset({"sid"}), frozenset())
WRITER = CaptureWriter(PLACES, mask=mask, sensitive=is_sensitive)
MESH = frozenset({"mesh"})
WEB = "spiffe://cluster.local/ns/shop/sa/web"

ORDERS = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  authentication: {optional: true}
  deny:
  - {name: no-internals, to: [{paths: ["/internal/**"]}]}
  rules:
  - {name: health, role: anonymous, to: [{paths: [/healthz]}]}
  - {name: read, role: user, to: [{methods: [GET], paths: ["/orders/**"]}]}
  - {name: tenant, role: user, to: [{paths: [/tenants]}], when: 'claims.tenant == request.headers["x-tenant"]'}
"""


class Nobody:
    """Connections prove nobody."""

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        return None


class Web:
    """Connections prove a workload by its principal."""

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        principal = request.source.principal
        return Identity(principal, "spiffe://cluster.local", "mesh", frozenset({"user"})) if principal else None


@cache
def engine(*texts: str, **rules: Any) -> Engine:
    files = [PolicyText(f"{n}.yaml", text) for n, text in enumerate(texts)]
    return Engine(load(files, SETTINGS, 1), RequestRules(**rules))


def check(method: str = "GET", path: str = "/orders/1", headers: Any = None, **more: Any) -> AttributeContext:
    host = more.pop("host", "orders.example.com")
    http = HttpAttributes("1", method, path, host, "https", "HTTP/2", headers or {})
    return AttributeContext(Peer("10.1.2.3", 40000, WEB), Peer("10.1.2.4", 8443), 1_700_000_000.0, http, **more)


def alice(*roles: str, provider: str = "corporate", **claims: Any) -> Identity:
    return Identity("alice", "https://login.example.com/", provider, frozenset(roles), (), VerifiedClaims(claims))


def recorded(decision: Decision, sent: AttributeContext, *, capture: bool = True) -> bytes:
    """The line that the server writes."""
    captures = WRITER if capture else None
    return decision_line(decision, sent, now=1_700_000_000.5, seconds=0.0001, trace=None, captures=captures)


def replayed(
    line: bytes | list[bytes], new: Engine, *, peers: Any = None, gateways: frozenset[str] = frozenset()
) -> Comparison:
    """The comparison of some lines with other policies."""
    comparison = Comparison(examples=3)
    replayer = Replayer(new, comparison, peers=peers or Nobody(), gateways=gateways, places=PLACES)
    for number, each in enumerate(line if isinstance(line, list) else [line], 1):
        record = read_record(each, MESH)
        if isinstance(record, Skipped):
            comparison.skip(record, f"log:{number}")
        else:
            replayer.replay(record)
    return comparison


def asked(
    sent: AttributeContext, caller: Any = None, peer: Any = None, *, old: str = ORDERS, capture: bool = True
) -> bytes:
    """The line that the server writes of this request, under these policies."""
    return recorded(engine(old).decide(sent, Given(caller, peer)), sent, capture=capture)


def test_same_policies_change_nothing() -> None:
    """A log before the policies that wrote it."""
    lines = [asked(check(), alice("user")), asked(check("POST"), alice("user")), asked(check(path="/healthz"))]
    found = replayed(lines, engine(ORDERS))
    assert (found.compared, found.unchanged, found.approximate) == (3, 3, 0)


@pytest.mark.parametrize("capture", [True, False])
def test_what_would_be_denied(capture: bool) -> None:
    """A rule that is narrowed: what it allowed is found with rule, route and decision."""
    line = asked(check(path="/orders/4711/items/9"), alice("user"), capture=capture)
    found = replayed([line, line], engine(ORDERS.replace("/orders/**", "/orders/{id}")))
    assert found.count(Kind.DENIED) == 2
    [change] = found.changes(Kind.DENIED)
    assert change.old == Outcome("allow", "allowed", "orders", "read")
    assert (change.new.decision, change.new.reason) == ("deny", "no-rule")
    [(route, here)] = change.by_count()
    assert str(route) == "GET orders.example.com /orders/{id}/items/{id}"
    assert (here.count, here.examples) == (2, ["1", "1"])
    assert change.approximate == 0


@pytest.mark.parametrize("capture", [True, False])
def test_what_would_be_allowed(capture: bool) -> None:
    """A rule that is widened."""
    line = asked(check("POST"), alice("user"), capture=capture)
    found = replayed(line, engine(ORDERS.replace("[GET]", "[GET, POST]")))
    assert (found.count(Kind.ALLOWED), found.count(Kind.DENIED)) == (1, 0)


@pytest.mark.parametrize("capture", [True, False])
def test_another_rule_is_no_other_answer(capture: bool) -> None:
    """A rule that is renamed."""
    found = replayed(asked(check(), alice("user"), capture=capture), engine(ORDERS.replace("read,", "list,")))
    [change] = found.changes(Kind.OTHER)
    assert (change.old.rule, change.new.rule) == ("read", "list")


def test_captured_conditions_are_exact() -> None:
    """Claims and headers are in a capture, so a condition holds, or not, as it did then."""
    tenants = [({"x-tenant": ("acme",)}, "acme"), ({"x-tenant": ("acme",)}, "umbrella"), ({}, "acme")]
    lines = [asked(check(path="/tenants", headers=headers), alice("user", tenant=its)) for headers, its in tenants]
    found = replayed(lines, engine(ORDERS))
    assert (found.unchanged, found.approximate) == (3, 0)


def test_conditions_without_capture_are_approximate() -> None:
    """What the condition asks for is not in a plain record: the answer is counted as uncertain, and why is told."""
    sent = check(path="/tenants", headers={"x-tenant": ("acme",)})
    found = replayed(asked(sent, alice("user", tenant="acme"), capture=False), engine(ORDERS))
    assert found.approximate == 1
    assert dict(found.doubts) == {"claims": 1, "headers": 1}
    assert found.changes(Kind.DENIED)[0].approximate == 1


def test_conditions_that_are_not_asked_raise_no_doubt() -> None:
    """A condition of a rule for other paths has nothing to do with the answer."""
    assert replayed(asked(check(), alice("user"), capture=False), engine(ORDERS)).approximate == 0


def test_hidden_header_that_a_condition_reads_is_told() -> None:
    """A capture has no cookie; a policy that asks for one can't be judged by it, others can."""
    sent = check(headers={"cookie": ("theme=dark",), "x-tenant": ("acme",)})
    line = asked(sent, alice("user"))

    def reading(condition: str) -> Engine:
        return engine(
            ORDERS.replace(
                "role: user, to: [{methods: [GET]", f"when: '{condition}', role: user, to: [{{methods: [GET]"
            )
        )

    for condition in ('request.headers["cookie"] == "a"', 'request.headers.exists(n, n == "x")'):
        assert dict(replayed(line, reading(condition)).doubts) == {"headers.cookie": 1}
    for condition in ('request.headers["x-tenant"] == "acme"', '"cookie" in request.headers'):
        assert replayed(line, reading(condition)).approximate == 0


def test_refused_credentials_stay_refused() -> None:
    """Nobody knows whom an expired token would have proved: with other rules it is a 401 as well."""
    expired = Deny(Reason.TOKEN_EXPIRED, "exp has passed", provider="corporate")
    for capture in (True, False):
        line = asked(check(), expired, capture=capture)
        found = replayed(line, engine(ORDERS.replace("role: user", "role: admin")))
        assert (found.compared, found.unchanged) == (1, 1)


def test_refused_credentials_of_a_provider_that_nobody_asks_for() -> None:
    """Policies that take other providers overlook a bad token of this one, as the server does."""
    expired = Deny(Reason.TOKEN_EXPIRED, "exp has passed", provider="corporate")
    partners = ORDERS.replace("{optional: true}", "{optional: true, providers: [partner]}")
    found = replayed(asked(check(path="/healthz"), expired), engine(partners))
    assert found.count(Kind.ALLOWED) == 1


def test_unread_credentials_are_a_doubt() -> None:
    """A request that no policy covered may carry a token: who its bearer is was never asked."""
    elsewhere = ORDERS.replace("spec:", "spec:\n  targets: [{hosts: [other.example.com]}]")
    for capture in (True, False):
        line = asked(check(headers={"authorization": ("Bearer x",)}), alice("user"), old=elsewhere, capture=capture)
        found = replayed(line, engine(ORDERS))
        assert dict(found.doubts) == {"credentials": 1}


def test_request_over_its_rate_is_what_its_rule_says() -> None:
    """A replay has no counters: a 429 of a rule is compared as the rule's allow."""
    sent = check()
    over = Deny(Reason.RATE_LIMITED, "", "orders", "read")
    decision = replace(engine(ORDERS).decide(sent, Given(alice("user"))), verdict=over)
    for capture in (True, False):
        found = replayed(recorded(decision, sent, capture=capture), engine(ORDERS))
        assert (found.unchanged, found.over_rate) == (1, 1)
        narrowed = replayed(recorded(decision, sent, capture=capture), engine(ORDERS.replace("role: user", "role: x")))
        assert narrowed.count(Kind.DENIED) == 1


@pytest.mark.parametrize(
    ("denial", "why"),
    [
        (Deny(Reason.PATH_AMBIGUOUS), Skipped.FORM),
        (Deny(Reason.HOST_INVALID), Skipped.FORM),
        (Deny(Reason.REQUEST_MALFORMED), Skipped.FORM),
        (Deny(Reason.KEYS_UNAVAILABLE), Skipped.UNDECIDED),
        (Deny(Reason.STORE_UNAVAILABLE), Skipped.UNDECIDED),
        (Deny(Reason.DEADLINE_EXCEEDED), Skipped.UNDECIDED),
        (Deny(Reason.OVERLOADED), Skipped.UNDECIDED),
        (Deny(Reason.INTERNAL_ERROR), Skipped.UNDECIDED),
        (Deny(Reason.RATE_LIMITED), Skipped.UNDECIDED),
    ],
)
def test_what_no_policy_decided_is_left_out(denial: Deny, why: Skipped) -> None:
    """Requests refused for their form, and faults, are no answer of policies; they are counted."""
    found = replayed(recorded(Decision("d", denial, 1), check()), engine(ORDERS))
    assert found.skipped == {why: 1}
    assert (found.compared, found.records) == (0, 1)


@pytest.mark.parametrize("capture", [True, False])
def test_mesh_callers(capture: bool) -> None:
    """A caller by certificate is a peer, and counts only where a policy names its provider."""
    mesh = ORDERS.replace("{optional: true}", "{providers: [mesh]}")
    peer = Identity(WEB, "spiffe://cluster.local", "mesh", frozenset({"user"}))
    line = asked(check(), None, peer, old=mesh, capture=capture)
    assert replayed(line, engine(mesh)).unchanged == 1
    assert replayed(line, engine(ORDERS)).count(Kind.DENIED) == 1


def test_peer_that_nobody_asked_for_is_told_by_its_principal() -> None:
    """New policies name a mesh provider that the old ones did not: the connection's principal is in the record."""
    mesh = ORDERS.replace("{optional: true}", "{providers: [mesh]}")
    for capture in (True, False):
        line = asked(check(), capture=capture)
        found = replayed(line, engine(mesh), peers=Web())
        assert (found.count(Kind.ALLOWED), found.approximate) == (1, 0)
        assert dict(replayed(line, engine(mesh), peers=Web(), gateways=frozenset({WEB})).doubts) == {"peer": 1}


def test_client_address_behind_hops() -> None:
    """``remoteIpBlocks`` asks for the client's address, which a plain record has."""
    office = ORDERS.replace("role: user, to", "from: [{remoteIpBlocks: [192.0.2.0/24]}], role: user, to")
    sent = check(headers={"x-forwarded-for": ("192.0.2.7, 10.0.0.1",)})
    behind = engine(office, trusted_hops=2)
    line = recorded(behind.decide(sent, Given(alice("user"))), sent, capture=False)
    found = replayed(line, behind)
    assert (found.unchanged, found.count(Kind.DENIED)) == (1, 0)


def test_ports_and_context_are_not_in_plain_records() -> None:
    """Rules for ports, and targets by the route's context, can't be judged without a capture."""
    ports = ORDERS.replace("paths: [/healthz]", "paths: [/healthz], ports: [8443]")
    context = ORDERS.replace("spec:", "spec:\n  targets: [{context: {app: shop}}]")
    sent = check(context={"app": "shop"})
    for policies, doubt in ((ports, "port"), (context, "context")):
        plain = replayed(asked(sent, alice("user"), capture=False), engine(policies))
        assert doubt in plain.doubts
        assert replayed(asked(sent, alice("user")), engine(policies)).approximate == 0


def test_preflights_are_told_by_headers() -> None:
    """Whether an OPTIONS is a true preflight is in its headers."""
    policies = ORDERS.replace("{optional: true}", "{optional: true, preflight: allow}")
    headers = {"origin": ("https://a.example",), "access-control-request-method": ("GET",)}
    line = asked(check("OPTIONS", headers=headers), capture=False)
    assert dict(replayed(line, engine(policies)).doubts) == {"headers": 1}
    captured = replayed(asked(check("OPTIONS", headers=headers)), engine(policies))
    assert (captured.count(Kind.ALLOWED), captured.approximate) == (1, 0)


def test_shadow_verdicts_of_the_new_policies_are_told() -> None:
    """A policy in shadow mode changes nothing, and it is told how often it would."""
    soon = ORDERS.replace("name: orders", "name: soon").replace("spec:", "spec:\n  mode: Shadow")
    soon = soon.replace("role: user", "role: admin")
    lines = [asked(check(), alice("user")), asked(check(), alice("user", "admin"))]
    found = replayed(lines, engine(ORDERS, soon))
    assert found.unchanged == 2
    count = found.shadows["soon", ""]
    assert (count.allow, count.deny, count.differs, count.examples) == (1, 1, 1, ["1"])


def test_requests_without_http() -> None:
    """A TCP connection has a record, and a route without method, host and path."""
    tcp = ORDERS.replace("role: anonymous, to: [{paths: [/healthz]}]", "role: anonymous, to: [{ports: [8443]}]")
    sent = replace(check(), http=None)
    found = replayed(asked(sent, old=tcp), engine(ORDERS))
    [change] = found.changes(Kind.DENIED)
    assert [str(route) for route, _ in change.by_count()] == ["(no HTTP)"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"decision":"allow"}',
        b'{"decision":"allow","reason":"no-rule"}',
        b'{"decision":"deny","reason":"allowed"}',
        b'{"decision":"maybe","reason":"no-rule"}',
        b'{"decision":"deny","reason":["no-rule"]}',
        b'{"decision":"deny","reason":"no-rule"}',
        b'{"decision":"allow","reason":"allowed","capture":{"version":9}}',
    ],
)
def test_lines_that_are_no_records(line: bytes) -> None:
    """Whatever stands in a log: a line is a record or counted as none."""
    assert read_record(line, MESH) is Skipped.MALFORMED


@pytest.mark.parametrize("name", ["method", "path", "host", "roles", "source", "provider"])
def test_what_an_operator_left_out_is_not_made_up(name: str) -> None:
    """Without its roles a caller would be taken for nobody; with a capture nothing is missing."""
    sent, policies = check(), engine(ORDERS)
    decision = policies.decide(sent, Given(alice("user")))
    line = decision_line(decision, sent, now=0, seconds=0, trace=None, omit=[name])
    assert replayed(line, policies).skipped == {Skipped.OMITTED: 1}
    line = decision_line(decision, sent, now=0, seconds=0, trace=None, omit=[name], captures=WRITER)
    assert replayed(line, policies).unchanged == 1


def test_cut_off_path_is_left_out() -> None:
    """Of a path of more than a thousand characters the record has the beginning: nobody can say what rules match."""
    line = asked(check(path="/orders/" + "a" * 2000), alice("user"), capture=False)
    assert replayed(line, engine(ORDERS)).skipped == {Skipped.CUT: 1}


def test_masked_path_is_a_doubt() -> None:
    """A path that a token was taken out of matches other rules."""
    line = asked(check(path="/orders/eyJhbGciOiJub25lIn0.abc.def"), alice("user"), capture=False)
    assert "path" in replayed(line, engine(ORDERS)).doubts


def test_first_malformed_line_is_named() -> None:
    """Somebody may want to look at it."""
    found = replayed([asked(check(), alice("user")), b"{", b"["], engine(ORDERS))
    assert (found.first_malformed, found.skipped[Skipped.MALFORMED]) == ("log:2", 2)


def test_routes_are_bounded() -> None:
    """A scan of ten thousand paths does not make ten thousand routes."""
    lines = [asked(check(path=f"/orders/{'x' * 3}-{n:x}z"), alice("user"), capture=False) for n in range(1200)]
    found = replayed(lines, engine(ORDERS.replace("role: user", "role: x")))
    [change] = found.changes(Kind.DENIED)
    assert change.count == 1200
    assert len(change.routes) == 1001


def test_doubts_are_bounded() -> None:
    """Header names come from clients: a thousand of them are told, the rest is counted together."""
    reading = ORDERS.replace(
        "role: user, to: [{methods", "when: 'request.headers.exists(n, n == \"x\")', role: user, to: [{methods"
    )
    lines = [asked(check(headers={f"x-token-{n}": ("1",)}), alice("user")) for n in range(1100)]
    doubts = replayed(lines, engine(reading)).doubts
    assert (len(doubts), doubts["headers"], doubts.total()) == (1001, 100, 1100)


def test_every_name_of_conditions_is_in_a_plain_record_or_missing() -> None:
    """A name that is new to conditions must be put on one side, or plain records would be taken for certain."""
    in_plain = {
        "request.method",
        "request.url_path",
        "request.host",
        "request.time",
        "request.id",
        "source.address",
        "source.principal",
        "identity.subject",
        "identity.provider",
        "identity.roles",
    }
    assert in_plain | set(_NOT_IN_PLAIN) == set(NAMES)
    assert in_plain.isdisjoint(_NOT_IN_PLAIN)


ALL = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: all}
spec:
  targets: [{hosts: [a.example.com]}, {hosts: [b.example.com], context: {app: x}}]
  authentication: {optional: true, preflight: allow}
  deny:
  - {name: d1, to: [{paths: ["/d/**"]}], when: '"x" in request.query'}
  - {name: d2, role: bad, from: [{notIpBlocks: [10.0.0.0/8]}]}
  rules:
  - {name: r1, role: user, to: [{paths: ["/a/**"], methods: [GET, OPTIONS]}]}
  - {name: r2, role: user, to: [{paths: [/b], ports: [8443]}]}
  - {name: r3, role: anonymous, to: [{paths: [/c]}], when: 'request.headers["x-t"] == "1"'}
  - {name: r4, to: [{paths: [/c, /d/e]}], when: 'has(claims.t) && claims.t == "1" && context.app == "x"'}
  - {name: r5, role: admin, when: '"s" in identity.scopes'}
---
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: corporate}
spec:
  targets: [{hosts: ["*.example.com"]}]
  authentication: {providers: [corporate]}
  rules:
  - {name: q, role: user, to: [{paths: [/c]}], when: 'request.path == "/c?x=1" || identity.issuer == "j"'}
"""
ENGINE = engine(ALL)
HEADERS = st.dictionaries(
    st.sampled_from(["x-t", "origin", "access-control-request-method", "authorization"]), st.just(("1",))
)
IDENTITIES = st.builds(
    lambda provider, roles, issuer, scopes, claims: Identity(
        "s", issuer, provider, frozenset(roles), tuple(scopes), VerifiedClaims(claims)
    ),
    st.sampled_from(["corporate", "partner"]),
    st.sets(st.sampled_from(["user", "admin", "bad"])),
    st.sampled_from(["i", "j"]),
    st.sets(st.just("s")),
    st.dictionaries(st.just("t"), st.just("1")),
)
CALLERS = st.none() | IDENTITIES | st.just(Deny(Reason.TOKEN_EXPIRED, provider="partner"))
CHECKS = st.builds(
    check,
    st.sampled_from(["GET", "OPTIONS", "POST"]),
    st.sampled_from(["/a/1", "/b", "/c", "/c?x=1", "/d/e", "/d/e?x", "/a//b"]),
    HEADERS,
    host=st.sampled_from(["a.example.com", "b.example.com", "example.com"]),
    context=st.dictionaries(st.just("app"), st.just("x")),
)


@given(CHECKS, CALLERS)
def test_what_was_captured_is_decided_as_it_was(sent: AttributeContext, caller: Any) -> None:
    """The property that replays stand on: the same policies give the same answer to a capture as to the request."""
    decision = ENGINE.decide(sent, Given(caller))
    record = read_record(recorded(decision, sent), MESH)
    if isinstance(record, Record):
        comparison = replayed(recorded(decision, sent), ENGINE)
        assert comparison.unchanged == 1
        assert record.old == outcome_of(decision)
    else:
        assert decision.request is None


@given(CHECKS, CALLERS)
def test_what_raises_no_doubt_is_decided_as_it_was(sent: AttributeContext, caller: Any) -> None:
    """A plain record lacks most of a request: where the answer may differ for that, it is counted as approximate."""
    decision = ENGINE.decide(sent, Given(caller))
    comparison = replayed(recorded(decision, sent, capture=False), ENGINE)
    assert comparison.skipped[Skipped.FORM] + comparison.unchanged + comparison.approximate >= 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_under_any_field_is_a_record_or_none(value: Any) -> None:
    """A log that somebody edited raises nothing."""
    line = json.loads(asked(check(), alice("user")))
    for field in ("id", "policy", "rule", "host", "path", "method", "roles", "subject", "time", "capture", "source"):
        replayed(json.dumps(line | {field: value}).encode(), engine(ORDERS))
    del line["capture"]
    for field in ("host", "path", "method", "roles", "subject", "time", "principal", "client", "provider"):
        replayed(json.dumps(line | {field: value}).encode(), engine(ORDERS))
