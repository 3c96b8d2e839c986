"""Whatever policies, request and callers: the compiled snapshot answers as the documents read aloud (``oracle.py``).

Hypothesis makes sets of policies from small alphabets, so that hosts, paths, roles and names collide, and asks each set
about some requests by some callers. ``ORACLE_EXAMPLES=20000`` makes the run as long as one likes; the default is what
every change can afford.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.check.shadows import shadow_verdicts
from extauthz.model import Allow, Deny, Identity, Peer, Reason, Request, VerifiedClaims
from extauthz.policy import PolicySettings, PolicyText, Snapshot, load
from tests.journey import Always
from tests.policy.oracle import CONDITIONS, HEADER_VALUES, Answer, Oracle
from tests.policy.oracle import Peer as Shown

EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "700"))
"""Sets of policies; each is asked about 24 requests."""

Specs = dict[str, dict[str, Any]]
Value = TypeVar("Value")

# ------------------------------------------------------------------------------------------------------------- policies

HOSTS = ["a.test", "*.a.test", "*.test", "*", "b.test"]
OPERATION: Mapping[str, Sequence[Any]] = {
    "hosts": HOSTS,
    "ports": [443, "5432"],
    "methods": ["GET", "POST", "CONNECT", "OPTIONS"],
    "paths": ["/", "/x", "/X", "/x/", "/x/{id}", "/x/**", "/x/y", "/**", "/{a}/y", "/{a}/**", "/{a}/{b}/z"],
}
SOURCE: Mapping[str, Sequence[Any]] = {
    "principals": ["spiffe://a/b", "spiffe://a/*", "*/b", "*", "web.example.com"],
    "ipBlocks": ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"],
    "remoteIpBlocks": ["203.0.113.0/24", "10.0.0.0/8"],
}
ROLES = ["user", "admin", "ops,eu", "anonymous"]
HEADERS = {
    "x-auth-subject": "identity.subject",
    "x-auth-roles": "identity.roles",
    "x-auth-scopes": "identity.scopes",
    "x-auth-tenant": "claims.tenant",
    "x-auth-path": "request.url_path",
    "x-auth-by": '"by " + request.method',
}
"""Each name has one value wherever it is set, as two values for one request are refused when policies are loaded."""
REMOVED = ["authorization", "cookie", "x-auth-internal"]
PROVIDERS = PolicySettings(
    providers=frozenset({"corporate", "partner"}), mesh_providers=frozenset({"mesh", "other-mesh"})
)
FOLDING = replace(PROVIDERS, case_insensitive_paths=True)


KINDS = ["allowed", "with headers", "charged", "preflight", "no-policy", "no-credentials", "role-missing", "no-rule"]
KINDS += ["denied-by-rule", "condition-error", "issuer-unknown", "credentials-invalid"]
"""What a run must have met."""


class Made:
    """Policies, requests and callers from the choices of one example."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw
        self._crowded = self.chance(35)
        """Rules that ask for little, so that many match the same request for its token and for its peer."""

    def chance(self, percent: int) -> bool:
        # What shrinks goes to False: the smallest example has no part that does not matter.
        return bool(self._draw(_PERCENT) >= 100 - percent)

    def one(self, values: Sequence[Value]) -> Value:
        return values[self.count(0, len(values) - 1)]

    def some(self, values: Sequence[Value], most: int = 2) -> list[Value]:
        return [values[place] for place in self._draw(_some(len(values), most))]

    def count(self, least: int, most: int) -> int:
        return int(self._draw(_count(least, most)))

    # policies

    def specs(self, most: int = 6) -> Specs:
        names = ["a", "b", "b-c", "c", "d", "e"][: self.count(1, most)]
        return {name: self.spec() for name in names}

    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        if self.chance(10 if self._crowded else 50):
            spec["targets"] = [self.target() for _ in range(self.count(1, 2))]
        authentication = self.authentication()
        if authentication:
            spec["authentication"] = authentication
        if self.chance(10 if self._crowded else 35):
            spec["deny"] = named([self.rule(narrow=True) for _ in range(self.count(1, 2))], "no")
        if self.chance(90):
            spec["rules"] = named([self.rated(self.rule()) for _ in range(self.count(1, 3))], "may")
        if self.chance(50):
            names = self.some(list(HEADERS), 3)
            spec["response"] = {"headers": {name: HEADERS[name] for name in names}}
        if self.chance(25):
            spec.setdefault("response", {})["removeHeaders"] = self.some(REMOVED)
        if self.chance(12):
            spec["mode"] = "Shadow"
        return spec

    def authentication(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if self.chance(80 if self._crowded else 40):
            made["providers"] = self.some(
                ["corporate", "mesh", "partner", "other-mesh"][: 2 if self._crowded else 4], 3
            )
        if self.chance(40):
            made["optional"] = True
        if self.chance(15):
            made["preflight"] = "allow"
        return made

    def target(self) -> dict[str, Any]:
        hosts = {"hosts": self.some(HOSTS)}
        context = {"context": dict(self.some([("app", "x"), ("app", "y"), ("zone", "1")]))}
        return self.one([hosts, context, hosts | context])

    def rule(self, *, narrow: bool = False) -> dict[str, Any]:
        rule: dict[str, Any] = {}
        if self.chance(90 if self._crowded else 60):
            rule |= self.one([{"role": self.one(ROLES)}, {"roles": self.some(ROLES)}])
        if narrow or self.chance(20 if self._crowded else 60):
            rule["to"] = [self.entry(OPERATION) for _ in range(self.count(1, 2))]
        if self.chance(20 if self._crowded else 30):
            rule["from"] = [self.entry(SOURCE) for _ in range(self.count(1, 2))]
        if self.chance(20 if self._crowded else 40):
            rule["when"] = self.one(list(CONDITIONS))
        if self.chance(10):
            rule["shadow"] = True
        if self.chance(20):
            rule["name"] = "named"
        return rule

    def rated(self, rule: dict[str, Any]) -> dict[str, Any]:
        if self.chance(60 if self._crowded else 30):
            rule["maxRequestsPerMinute"] = self.one([10, 100, 1000])
            if self.chance(20):
                rule["rateShadow"] = True
        return rule

    def entry(self, words: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        entry = {}
        for word in self.some(list(words), 3):
            excluding = f"not{word[0].upper()}{word[1:]}"
            if self.chance(25):
                entry[excluding] = self.some(words[word])
            else:
                entry[word] = self.some(words[word])
                if self.chance(10):
                    entry[excluding] = self.one([[], self.some(words[word])])
        return entry

    # requests and callers

    def request(self) -> Request:
        preflight = self.chance(8)
        method = "OPTIONS" if preflight else self.one(["GET", "POST", "CONNECT"])
        address, principal = self.one(
            [
                ("10.1.1.1", "spiffe://a/b"),
                ("10.1.1.1", ""),
                ("192.0.2.1", "spiffe://a/c/b"),
                ("2001:db8::7", "web.example.com"),
                ("", "O=x,CN=y/b"),
                ("unreadable", ""),
            ]
        )
        client = self.one(["203.0.113.9", "10.2.2.2", ""])
        request = Request(
            http=True,
            id="c0ffee",
            time=1_790_000_000.0,
            method=method,
            path="" if method == "CONNECT" else self.one(["/x", "/x/", "/", "/x/y", "/X", "/x/y/", "/z/y", "/x/y/z"]),
            query="",
            host=self.one(["a.test", "b.a.test", "b.test", "c.b.a.test", "other"]),
            scheme="https",
            protocol="HTTP/2",
            headers=self.one([{}, {"x-tenant": ("a",)}, {"x-tenant": ("b", "c")}]),
            source=Peer(address, 40000 if address else 0, principal),
            destination=Peer("10.9.9.9", self.one([443, 5432, 0]), ""),
            source_ip=None if address in ("", "unreadable") else ip_address(address),
            client_ip=ip_address(client) if client else None,
            sni="",
            context=self.one([{}, {"app": "x"}, {"app": "y", "zone": "1"}]),
            grpc=False,
            preflight=preflight,
            websocket=False,
        )
        if not preflight and self.chance(12):
            nothing: dict[str, Any] = {
                "method": "",
                "path": "",
                "host": "",
                "scheme": "",
                "protocol": "",
                "headers": {},
                "id": "",
            }
            return replace(request, http=False, **nothing)
        return request

    def caller(self, providers: Sequence[str], subject: str) -> Identity:
        claims: dict[str, Any] = self.one([{}, {"tenant": "a"}, {"tenant": "b%,\u00e9 "}, {"tenant": 7}])
        return Identity(
            subject=subject,
            issuer="https://login.example.com/",
            provider=providers[0] if self._crowded else self.one(providers),
            roles=frozenset(["other"] if self.chance(25) else self.some(["user", "admin", "ops,eu", "other"])),
            scopes=self.one([(), ("read", "write")]),
            claims=VerifiedClaims(claims),
        )

    def token(self) -> Identity | None:
        if self.chance(35):
            return None
        return self.caller(["corporate", "corporate", "partner", "mesh"], self.one(["alice", " bob"]))

    def peer(self) -> Shown:
        refused = self.one([Reason.ISSUER_UNKNOWN, Reason.CREDENTIALS_INVALID])
        return self.one([None, self.caller(["mesh", "other-mesh"], "spiffe://a/b"), Deny(refused, provider="mesh")])


_PERCENT = st.integers(0, 99)


@cache
def _count(least: int, most: int) -> st.SearchStrategy[int]:
    return st.integers(least, most)


@cache
def _some(size: int, most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, size - 1), min_size=1, max_size=most, unique=True)


def named(rules: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    """The rules, those that have a name with one that no other of the policy has."""
    return [rule | {"name": f"{prefix}-{number}"} if "name" in rule else rule for number, rule in enumerate(rules)]


@st.composite
def made(draw: Callable[[st.SearchStrategy[Any]], Any], make: Callable[[Made], Any]) -> Any:
    """What a function makes of one example's choices."""
    return make(Made(draw))


Asked = tuple[Request, Identity | None, Shown]


def asked(make: Made, requests: int = 4, callers: int = 3, peers: int = 2) -> list[Asked]:
    """Requests, each by some callers over some connections."""
    tokens, shown = [make.token() for _ in range(callers)], [make.peer() for _ in range(peers)]
    return [
        (request, token, peer)
        for request in [make.request() for _ in range(requests)]
        for token in tokens
        for peer in shown
    ]


# ------------------------------------------------------------------------------------------------------- the real thing


def document(name: str, spec: Mapping[str, Any]) -> PolicyText:
    whole = {"apiVersion": "security.example.com/v1", "kind": "AuthPolicy", "metadata": {"name": name}, "spec": spec}
    return PolicyText(f"{name}.yaml", json.dumps(whole))


def loaded(specs: Specs, known: PolicySettings = PROVIDERS) -> Snapshot:
    return load([document(name, spec) for name, spec in specs.items()], known, 1)


def decide(snapshot: Snapshot, request: Request, token: Identity | None, peer: Shown) -> Allow | Deny:
    return snapshot.decide(request, snapshot.select(request), token, peer)


def answer(verdict: Allow | Deny) -> Answer:
    if isinstance(verdict, Deny):
        return Answer(verdict.reason.word, verdict.policy, verdict.rule)
    charged = None if verdict.charge is None else verdict.charge.rate.per_minute
    removed = frozenset(verdict.remove_headers)
    assert len(removed) == len(verdict.remove_headers), "a header is removed twice"
    return Answer("allowed", verdict.policy, verdict.rule, verdict.set_headers, removed, charged)


# ------------------------------------------------------------------------------------------------------------ the tests

run = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
)
shorter = settings(run, max_examples=max(EXAMPLES // 5, 1))


def test_every_answer_is_that_of_the_documents_read_aloud() -> None:
    """Verdict, reason, policy, rule, headers and charge; and every kind of answer occurs."""
    told: Counter[str] = Counter()

    @run
    @given(made(lambda make: (make.specs(), make.chance(15), asked(make))))
    def compare(example: tuple[Specs, bool, list[Asked]]) -> None:
        specs, fold, requests = example
        snapshot, oracle = loaded(specs, FOLDING if fold else PROVIDERS), Oracle(specs, fold=fold)
        for request, token, peer in requests:
            expected = oracle.decide(request, token, peer)
            assert answer(decide(snapshot, request, token, peer)) == expected, (request, token, peer)
            kind = "preflight" if expected.rule == "preflight" else expected.reason
            told[kind] += 1
            told["with headers"] += bool(expected.set_headers)
            told["charged"] += expected.charged is not None

    compare()
    assert all(told[kind] for kind in KINDS), told


def test_shadow_verdicts_are_those_of_the_documents_read_aloud() -> None:
    """A Shadow policy's is told whole; a shadow rule's is whether the request would have passed with it in force."""
    told: Counter[str] = Counter()

    @run
    @given(made(lambda make: (make.specs(4), asked(make, 3, 2, 2))))
    def compare(example: tuple[Specs, list[Asked]]) -> None:
        specs, requests = example
        snapshot, oracle = loaded(specs), Oracle(specs)
        for request, token, peer in requests:
            found = shadow_verdicts(Always(token, connection=peer), snapshot, request, snapshot.select(request), token)
            expected = oracle.shadows(request, token, peer)
            assert [(shadow.policy, shadow.rule) for shadow in found] == [
                (policy, rule) for policy, rule, _ in expected
            ]
            for shadow, (_, rule, said) in zip(found, expected, strict=True):
                if rule:
                    assert isinstance(shadow.verdict, Allow) == (said.reason == "allowed"), (request, token, peer)
                else:
                    assert answer(shadow.verdict) == said, (request, token, peer)
                told[f"{'rule' if rule else 'policy'} {said.reason == 'allowed'}"] += 1

    compare()
    assert len(told) == 4, told


@shorter
@given(made(lambda make: (make.specs(), make.some(range(6), 6), asked(make))))
def test_the_order_of_files_changes_nothing(example: tuple[Specs, list[int], list[Asked]]) -> None:
    """Not the verdict, and not a word of what it says."""
    specs, order, requests = example
    names = list(specs)
    shuffled = dict.fromkeys([names[place] for place in order if place < len(names)] + names)
    one, other = loaded(specs), loaded({name: specs[name] for name in shuffled})
    for request, token, peer in requests:
        assert decide(one, request, token, peer) == decide(other, request, token, peer)


@shorter
@given(made(lambda make: (make.specs(), make.rule(), asked(make))))
def test_one_more_deny_never_allows_more(example: tuple[Specs, dict[str, Any], list[Asked]]) -> None:
    """P12: wherever it is put, and whatever it says."""
    specs, deny, requests = example
    before = loaded(specs)
    for name, spec in specs.items():
        after = loaded({**specs, name: spec | {"deny": [*spec.get("deny", []), deny | {"name": "one-more"}]}})
        for request, token, peer in requests:
            if isinstance(decide(before, request, token, peer), Deny):
                assert isinstance(decide(after, request, token, peer), Deny)


@shorter
@given(made(lambda make: (make.specs(), asked(make))))
def test_one_rule_fewer_never_allows_more(example: tuple[Specs, list[Asked]]) -> None:
    """P12: also where the rule was the only one of its policy."""
    specs, requests = example
    before = loaded(specs)
    denied = [case for case in requests if isinstance(decide(before, *case), Deny)]
    for name, spec in specs.items():
        for number in range(len(spec.get("rules", []))):
            left = [rule for place, rule in enumerate(spec["rules"]) if place != number]
            fewer = {word: value for word, value in spec.items() if word != "rules"} | ({"rules": left} if left else {})
            after = loaded({**specs, name: fewer})
            for case in denied:
                assert isinstance(decide(after, *case), Deny)


@shorter
@given(made(lambda make: (make.specs(4), make.specs(3), make.rule(), asked(make))))
def test_shadow_changes_nothing(example: tuple[Specs, Specs, dict[str, Any], list[Asked]]) -> None:
    """P11: neither policies nor rules in shadow mode, whatever they say: the same answer to the last header."""
    specs, more, rule, requests = example
    before = loaded(specs)
    shadowing = {f"{name}-shadow": spec | {"mode": "Shadow"} for name, spec in more.items()}
    ruled: Specs = {}
    for name, spec in specs.items():
        ruled[name] = spec | {
            "deny": [*spec.get("deny", []), rule | {"shadow": True, "name": "one-more-deny"}],
            "rules": [*spec.get("rules", []), rule | {"shadow": True, "name": "one-more-rule"}],
        }
    after = [loaded(specs | shadowing), loaded(ruled), loaded(ruled | shadowing)]
    for request, token, peer in requests:
        expected = decide(before, request, token, peer)
        assert all(decide(snapshot, request, token, peer) == expected for snapshot in after)


def test_every_expression_that_the_oracle_knows_can_be_loaded() -> None:
    """It would be no oracle of CEL otherwise."""
    spec = {"rules": [{"when": source} for source in CONDITIONS]}
    headers = {f"x-auth-{number}": source for number, source in enumerate(HEADER_VALUES)}
    assert set(HEADERS.values()) <= set(HEADER_VALUES)
    assert len(loaded({"a": spec | {"response": {"headers": headers}}}).policies) == 1
