"""What an explanation tells to programs and to people: all of it, in a stable form, and no credential."""

import base64
import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from rich.console import Console

from extauthz.capture import CredentialPlaces
from extauthz.check import Check, RequestRules, explain
from extauthz.cli.terminal import harmless
from extauthz.identity import ClaimPath, CookiePlace, HeaderPlace, QueryPlace, RoleRules
from extauthz.model import AttributeContext, Deny, Identity, Reason, VerifiedClaims
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.telemetry.redaction import is_sensitive, mask
from extauthz.wire import Encoder, read_answer
from extauthz.workbench.explain import Explained, Recorded, Redaction, Told, document, draw
from extauthz.workbench.given import Given, Unused
from extauthz.workbench.sketch import RequestSketch
from tests.check.test_explanation import as_sent
from tests.conftest import PROJECT
from tests.identity.issuer import NOW, authenticator, mint, provider
from tests.policy.test_oracle import Asked, Specs, asked, loaded, made

SCHEMA = json.loads((PROJECT / "extauthz/workbench/explain/explanation.schema.json").read_text("utf-8"))
VALID = Draft202012Validator(SCHEMA)
PLACES = CredentialPlaces(frozenset({"x-key"}), frozenset({"session"}), frozenset({"ticket_of_ours"}))
REDACTION = Redaction(PLACES, mask, is_sensitive)
SETTINGS = PolicySettings(
    providers=frozenset({"corporate", "partner"}),
    mesh_providers=frozenset({"mesh"}),
    allowed_headers=("x-auth-*", "authorization", "x-seen"),
)


def told(snapshot: Any, sent: AttributeContext, who: Any, **parts: Any) -> dict[str, Any]:
    """The document of a decision, valid by the published schema."""
    check = Check(who, snapshot, RequestRules(), limiter=Unused(), new_id=lambda: "d")
    journey = explain(check, sent)
    answer = read_answer(Encoder().encode(journey.decision))
    value = document(Explained(journey, snapshot, answer, **parts), REDACTION)
    VALID.validate(value)
    return value


def policy(name: str = "orders", **spec: Any) -> PolicyText:
    whole = {"apiVersion": "security.example.com/v1", "kind": "AuthPolicy", "metadata": {"name": name}, "spec": spec}
    return PolicyText(f"{name}.yaml", json.dumps(whole))


def of(*texts: PolicyText, caller: Any = None, **sketch: Any) -> dict[str, Any]:
    """The explanation of a GET of /orders by a caller under some policies."""
    sent = RequestSketch(**{"path": "/orders", "host": "orders.example.com", **sketch}).attributes()
    given = Given(caller)
    return told(load(texts, SETTINGS, 1), sent, Told(given, given))


def alice(*roles: str, provider_name: str = "corporate", **claims: Any) -> Identity:
    return Identity("alice", "https://i/", provider_name, frozenset(roles), claims=VerifiedClaims(claims))


def drawn(value: dict[str, Any], *, everything: bool = False, encoding: str = "utf-8", width: int = 80) -> str:
    """What a person sees."""

    class Stream(StringIO):
        @property
        def encoding(self) -> str:  # type: ignore[override]
            return encoding

    console = Console(file=Stream(), width=width, highlight=False, markup=False, emoji=False)
    draw(value, console, everything=everything, harmless=harmless)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@settings(max_examples=60, deadline=None)
@given(made(lambda make: (make.specs(4), make.specs(2), asked(make, 2, 2, 2))))
def test_every_explanation_has_the_published_form(example: tuple[Specs, Specs, list[Asked]]) -> None:
    """And can be drawn, in part and in full."""
    specs, more, requests = example
    snapshot = loaded({**specs, **{f"{name}-shadow": spec | {"mode": "Shadow"} for name, spec in more.items()}})
    for request, token, peer in requests:
        value = told(snapshot, as_sent(request), Given(token, peer))
        for everything in (False, True):
            text = drawn(value, everything=everything)
            assert text.startswith("ALLOWED" if value["decision"] == "allow" else "DENIED")
            assert max(map(len, text.splitlines())) <= 80


def test_the_answer_stands_first() -> None:
    """With its reason, the rule that decided and its place, and what would have to be different."""
    value = of(
        policy(rules=[{"name": "read", "role": "user"}, {"name": "all", "role": "admin"}]), caller=alice("guest")
    )
    assert drawn(value, width=120).splitlines()[:3] == [
        "DENIED 403  role-missing: the caller has none of the roles that a rule asks for",
        f"  by rule read of policy orders  {value['where']}",
        "  → the caller has [guest]; rules read, all ask for admin or user",
    ]
    assert value["where"].startswith("orders.yaml:1:")


RULE = {"name": "read", "role": "user"}


@pytest.mark.parametrize(
    ("spec", "parts", "hint"),
    [
        ({"targets": [{"hosts": ["order.example.com"]}]}, {}, "a policy covers order.example.com"),
        ({"targets": [{"hosts": ["zzz.test"]}]}, {}, "policies cover zzz.test"),
        ({"targets": [{"hosts": ["*"], "context": {"app": "x"}}]}, {}, "context_extensions"),
        ({"rules": [RULE]}, {}, "role user: rule read asks for it"),
        ({"rules": [{"name": "any"}]}, {}, "send a credential: a rule could allow"),
        ({}, {"caller": alice()}, "no rule that allows anything"),
        ({"rules": [RULE | {"to": [{"paths": ["/order"]}]}]}, {"caller": alice()}, "paths /order, and the request has"),
        (
            {"rules": [RULE | {"from": [{"ipBlocks": ["10.0.0.0/8"]}]}]},
            {"caller": alice("user")},
            "ipBlocks 10.0.0.0/8, and the request has 192.0.2.1",
        ),
        ({"rules": [RULE | {"when": "false"}]}, {"caller": alice("user")}, "but for its condition: false"),
        ({"deny": [{"name": "no", "to": [{"paths": ["/orders"]}]}]}, {"caller": alice()}, "paths /orders (/orders)"),
        ({"deny": [{"name": "no", "when": "claims.x == 1"}]}, {"caller": alice()}, "not there: claims.x"),
        ({"rules": [RULE]}, {"path": "/a/../b"}, "`request` in the configuration"),
        ({"rules": [RULE]}, {"caller": Deny(Reason.TOKEN_EXPIRED, "it did")}, "get a new token"),
    ],
)
def test_a_hint_says_what_would_have_to_differ(spec: dict[str, Any], parts: dict[str, Any], hint: str) -> None:
    """For each reason in its own words."""
    value = of(policy(**({"rules": [RULE]} | spec if "targets" in spec else spec)), **parts)
    assert hint in " ".join(value["hints"]), value["hints"]


def test_the_place_is_that_of_the_rule_that_decided() -> None:
    """Of `deny` or of `rules`."""
    both = policy(deny=[{"name": "a", "when": "claims.a == 1"}], rules=[{"name": "b", "when": "claims.b == 1"}])
    first, second = (both.text.index(f'{{"name": "{name}"') + 1 for name in "ab")
    denied = of(both, caller=alice("user", a=1, b=1))
    allowed = of(both, caller=alice("user", a=2, b=1))
    assert denied["where"] == f"orders.yaml:1:{first}"
    assert allowed["where"] == f"orders.yaml:1:{second}"


def test_a_caller_whom_no_policy_takes_is_told_so() -> None:
    """It is no fault of the rules."""
    partners = policy(authentication={"providers": ["partner"]}, rules=[{"name": "p"}])
    anybody = policy("others", rules=[RULE | {"to": [{"paths": ["/others"]}]}], targets=[{"hosts": ["*"]}])
    value = of(partners, anybody, caller=alice("user"))
    text = drawn(value, width=120)
    assert "its rules are not for this caller  it takes callers of partner, and nobody without credentials" in text
    alone = of(partners, caller=alice("user"))
    assert alone["reason"] == "no-credentials"
    assert "one of corporate is nobody to them" in alone["identity"]["steps"][0]["fault"]


def test_an_allowed_request_needs_no_hint() -> None:
    """And tells what is charged, and what the service is told."""
    spec: dict[str, Any] = {
        "rules": [{"name": "read", "role": "user", "maxRequestsPerMinute": 5}],
        "response": {"headers": {"x-auth-subject": "identity.subject"}, "removeHeaders": ["authorization"]},
    }
    value = of(policy(**spec), caller=alice("user"))
    assert (value["decision"], value["hints"]) == ("allow", [])
    assert value["charge"] == {"policy": "orders", "rule": "read", "per_minute": 5, "burst": None, "shadow": False}
    assert value["answer"]["headers"] == {"x-auth-subject": "alice"}
    assert value["answer"]["removed_headers"] == ["authorization"]
    assert "one of 5 a minute is charged" in drawn(value)


def test_the_first_part_that_fails_is_marked() -> None:
    """What comes after it was not asked, and is not blamed."""
    rule = RULE | {"to": [{"methods": ["GET"]}], "from": [{"ipBlocks": ["10.0.0.0/8"]}], "when": "false"}
    text = drawn(of(policy(rules=[rule]), caller=alice("guest")), width=120)
    assert "✓ to methods GET  the request has GET" in text
    assert "✗ from ipBlocks 10.0.0.0/8  the request has 192.0.2.1" in text
    assert "· role user  the caller has guest (not asked)" in text
    assert "· when false  false (not asked)" in text


def test_policies_that_do_not_cover_the_request_are_one_line() -> None:
    """Unless somebody wants to see everything."""
    texts = [policy(f"p{n}", targets=[{"hosts": [f"{n}.test"]}], rules=[RULE]) for n in range(7)]
    value = of(*texts, policy(rules=[RULE]), caller=alice("user"))
    assert "7 policies do not cover it  p0, p1, p2, p3, p4 and 2 more (--all tells why)" in drawn(value, width=120)
    assert "target hosts 3.test  the request has orders.example.com" in drawn(value, everything=True, width=120)


def test_shadow_verdicts_are_told() -> None:
    """Beside the answer that they don't touch."""
    texts = policy(rules=[RULE]), policy("stricter", mode="Shadow", rules=[{"name": "admins", "role": "admin"}])
    value = of(*texts, caller=alice("user"))
    [shadow] = value["shadows"]
    assert shadow == {"policy": "stricter", "rule": "", "would": "deny", "reason": "role-missing", "by": "admins"}
    assert "in shadow mode: policy stricter  would deny: role-missing, by rule admins" in drawn(value, width=120)


def test_conditions_tell_what_they_read() -> None:
    """The members that they name, under their names, and not everything there is."""
    when = 'claims.org.id == request.headers["x-tenant"] && "admin" in identity.roles && request.query["q"] == ["1"]'
    value = of(
        policy(rules=[RULE | {"when": when}]),
        caller=alice("user", org={"id": "a"}, other="x"),
        headers=(("x-tenant", "b"), ("x-more", "c")),
        path="/orders?q=1&z=2",
    )
    [rule] = value["policies"][0]["rules"]
    assert rule["when"]["values"] == {
        "claims.org.id": '"a"',
        "identity.roles": '["user"]',
        'request.headers["x-tenant"]': '"b"',
        'request.query["q"]': '["1"]',
    }


def test_a_record_that_says_otherwise_is_told() -> None:
    """Policies, keys or time have moved on since."""
    snapshot = load([policy(rules=[RULE])], SETTINGS, 1)
    sent = RequestSketch(host="orders.example.com").attributes()
    recorded = Recorded("d-1", "deny", "role-missing", "orders", "read", exact=True)
    value = told(snapshot, sent, Given(alice("user")), recorded=recorded, notes=("so to say",))
    assert value["recorded"]["same"] is False
    text = drawn(value, width=120)
    assert "the record says otherwise: deny, role-missing by rule read of policy orders" in text
    assert "note: so to say" in text
    same = told(snapshot, sent, Given(alice("user")), recorded=replace(recorded, decision="allow", reason="allowed"))
    assert "says otherwise" not in drawn(same)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """Marks and lines both."""
    value = of(policy(rules=[RULE]), caller=alice("guest"))
    assert drawn(value, encoding="ascii").isascii()


def test_strangers_do_not_drive_the_terminal() -> None:
    """Control characters and markup are text."""
    evil = "\x1b]0;owned\x07[bold red]x[/]\u202e"
    caller = Identity(evil, evil, "corporate", frozenset({"user"}))
    value = of(policy(rules=[RULE]), caller=caller, context=(("app", evil),), source_principal=evil)
    text = drawn(value, everything=True, width=200)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold red]x[/]" in text


# --------------------------------------------------------------------------------------------------------- I6, attacked

REAL = provider(
    roles=RoleRules((ClaimPath.parse("roles"),)),
    places=(
        HeaderPlace("authorization"),
        HeaderPlace("x-key", ""),
        CookiePlace("session"),
        QueryPlace("ticket_of_ours"),
    ),
)
SNOOPING = policy(
    rules=[
        {
            "name": "snoop",
            "when": 'request.headers["authorization"] != "" && request.headers["x-key"] != "" && request.path != ""'
            ' && size(request.headers) > 0 && size(request.query) > 0 && request.headers["cookie"] != ""',
        }
    ],
    response={"headers": {"authorization": 'request.headers["x-key"]', "x-seen": 'request.headers["x-copy"]'}},
)
TOKENS = {
    "good": mint(),
    "expired": mint({"exp": NOW - 500, "iat": NOW - 900}),
    "opaque": "c4nary-0pen-sesame-1234567890",
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("place", ["authorization", "x-key", "cookie", "query", "several", "basic", "path"])
def test_no_credential_is_ever_shown(token: str, place: str) -> None:
    """I6: wherever it stands, whoever copied it, and whatever a condition or a header of a policy makes of it."""
    basic = base64.b64encode(f"alice:{token}".encode()).decode()
    headers = {
        "authorization": (("authorization", f"Bearer {token}"),),
        "x-key": (("x-key", token),),
        "cookie": (("cookie", f"a=1; session={token}"),),
        "several": (("authorization", f"Bearer {token}"), ("x-key", token), ("cookie", f"session={token}")),
        "basic": (("authorization", f"Basic {basic}"),),
    }.get(place, ())
    query = {"query": f"?ticket_of_ours={token}&q=1", "path": f"?access_token={token}"}.get(place, "?q=1")
    copied = (("x-copy", token),) if place not in ("path", "basic") else ()
    sketch = RequestSketch(path=f"/orders{query}", host="h.test", headers=(*headers, *copied), time=NOW)
    snapshot = load([SNOOPING], SETTINGS, 1)
    for who in (authenticator(REAL), Given(alice("user")), Given()):
        value = told(snapshot, sketch.attributes(), who)
        shown = json.dumps(value) + drawn(value, everything=True, width=10_000)
        for secret in (token, basic, *(part for part in token.split(".") if len(part) > 20)):
            assert secret not in shown


@pytest.mark.parametrize(
    "sketch",
    [
        RequestSketch(headers=(("x-key", "open sesame"),)),
        RequestSketch(headers=(("x-key", "sesame"), ("authorization", "sesame"), ("cookie", "session=sesame"))),
        RequestSketch(path="/orders?ticket_of_ours=sesame&q=1"),
        RequestSketch(path="/orders?password=sesame"),
        RequestSketch(path="/orders?pin=sesame"),
    ],
    ids=["one", "several", "parameter", "password", "pin"],
)
def test_a_plain_word_is_hidden_by_where_it_stands(sketch: RequestSketch) -> None:
    """I6: a password need not look like one."""
    snapshot = load([SNOOPING], SETTINGS, 1)
    value = told(snapshot, replace(sketch, host="h.test").attributes(), Given(alice("user")))
    assert value["request"]["canonical"]
    assert "sesame" not in json.dumps(value) + drawn(value, everything=True, width=10_000)


def test_a_policy_can_not_make_a_credential_visible() -> None:
    """I6: what it passes on is hidden by the name of its header."""
    passing = policy(
        rules=[{"name": "all"}], response={"headers": {"authorization": '"Basic " + request.headers["x-plain"]'}}
    )
    sketch = RequestSketch(host="h.test", headers=(("x-plain", "sesame"),))
    value = told(load([passing], SETTINGS, 1), sketch.attributes(), Given(alice("user")))
    assert value["answer"]["headers"] == {"authorization": "[redacted]"}
