"""Properties of whole sets of policies, against a naive evaluator that reads the documents as docs/policies.md does.

The evaluator below works on the written spec, compiles nothing, and shares no code with the room. It answers the one
question that matters (allowed or not, and 401 or not); reasons in detail have tests of their own.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

import pytest

from extauthz.model import Allow, Deny, Identity, Peer, Reason, Request
from extauthz.policy import PolicySettings, Snapshot

Shown = Identity | Deny | None
"""What the connection proves: a mesh identity, why it is none, nobody."""
LoadSpecs = Callable[..., Snapshot]
MakeRequest = Callable[..., Request]
MakeIdentity = Callable[..., Identity]

# ---------------------------------------------------------------------------------------------------------- the oracle


def naive_host(pattern: str, host: str) -> bool:
    if pattern == "*":
        return True
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def naive_path(pattern: str, path: str, *, tolerant: bool) -> bool:
    if pattern.endswith("/**"):
        return path == pattern[:-3] or path.startswith(pattern[:-2])
    if tolerant and path == pattern + "/":
        return True
    wanted, parts = pattern.split("/"), path.split("/")
    return len(wanted) == len(parts) and all(
        part != "" if want.startswith("{") else part == want for want, part in zip(wanted, parts, strict=True)
    )


def naive_principal(pattern: str, principal: str) -> bool:
    if pattern.endswith("*"):
        return principal.startswith(pattern[:-1])
    return principal.endswith(pattern[1:]) if pattern.startswith("*") else principal == pattern


def naive_entry(entry: Mapping[str, Any], request: Request, *, deny: bool) -> bool:
    attributes: dict[str, tuple[Any, Callable[..., bool]]] = {
        "hosts": (request.host, naive_host),
        "ports": (request.destination.port, lambda pattern, port: int(pattern) == port),
        "methods": (request.method, lambda pattern, method: pattern == method),
        "principals": (request.source.principal, naive_principal),
        "ipBlocks": (request.source_ip, lambda pattern, address: address in ip_network(pattern)),
        "remoteIpBlocks": (request.client_ip, lambda pattern, address: address in ip_network(pattern)),
    }
    for key, patterns in entry.items():
        negative = key.startswith("not")
        word = key[3].lower() + key[4:] if negative else key
        if word == "paths":
            value: Any = request.path
            found = any(naive_path(pattern, value, tolerant=deny or negative) for pattern in patterns)
        else:
            value, matches = attributes[word]
            found = bool(value) and any(matches(pattern, value) for pattern in patterns)
        if not value:
            unknown_client = word == "remoteIpBlocks" and deny
            if not (unknown_client or (negative and (deny or not patterns))):
                return False
        elif found == negative:
            return False
    return True


def naive_request(rule: Mapping[str, Any], request: Request, *, deny: bool) -> bool:
    entries = rule.get("to")
    if not deny:
        if not request.http:
            entries = [entry for entry in entries or () if entry.keys() <= {"ports", "notPorts"}]
        elif request.method == "CONNECT":
            entries = [entry for entry in entries or () if "CONNECT" in entry.get("methods", ())]
    if entries is not None and not any(naive_entry(entry, request, deny=deny) for entry in entries):
        return False
    sources = rule.get("from")
    return sources is None or any(naive_entry(entry, request, deny=deny) for entry in sources)


def naive_roles(rule: Mapping[str, Any], identity: Identity | None, *, deny: bool) -> bool:
    roles = {rule["role"]} if "role" in rule else set(rule.get("roles", ()))
    if not roles:
        return deny or identity is not None
    return bool(roles & (identity.roles if identity else {"anonymous"}))


def naive_when(rule: Mapping[str, Any]) -> bool | None:
    return {"true": True, "false": False, "claims.none == 1": None}[rule.get("when", "true")]


def naive_covers(spec: Mapping[str, Any], request: Request) -> bool:
    targets = spec.get("targets")
    return targets is None or any(
        ("hosts" not in target or (request.host and any(naive_host(host, request.host) for host in target["hosts"])))
        and all(request.context.get(key) == value for key, value in target.get("context", {}).items())
        for target in targets
    )


MESHES = {"mesh", "other-mesh"}


def naive_names_mesh(spec: Mapping[str, Any]) -> set[str]:
    return MESHES & set(spec.get("authentication", {}).get("providers", ()))


def naive_caller(spec: Mapping[str, Any], identity: Identity | None, peer: Shown) -> Identity | str | None:
    """Whom the rules of a policy count for; None is anonymous."""
    authentication = spec.get("authentication", {})
    if identity is not None and identity.provider in authentication.get("providers", {"corporate", "partner"}):
        return identity
    if isinstance(peer, Identity) and peer.provider in naive_names_mesh(spec):
        return peer
    shown_nothing = identity is None and (peer is None or not naive_names_mesh(spec))
    return None if shown_nothing and authentication.get("optional", False) else "nobody"


def naive_denies(spec: Mapping[str, Any], request: Request, identity: Identity | None, peer: Shown) -> bool:
    known = peer if isinstance(peer, Identity) and peer.provider in naive_names_mesh(spec) else None
    callers: list[Identity | None] = [caller for caller in (identity, known) if caller is not None]
    unknown = isinstance(peer, Deny) and peer.reason is not Reason.ISSUER_UNKNOWN and naive_names_mesh(spec)
    for rule in spec.get("deny", ()):
        if not naive_request(rule, request, deny=True) or naive_when(rule) is False:
            continue
        if any(naive_roles(rule, caller, deny=True) for caller in callers or [None]):
            return True
        if unknown and ("roles" in rule or "claims" in rule.get("when", "")):
            return True
    return False


def naive(specs: Mapping[str, Any], request: Request, identity: Identity | None, peer: Shown = None) -> str:
    """'allow', '401' or 'deny'."""
    selected = [spec for spec in specs.values() if naive_covers(spec, request)]
    if not selected or any(naive_denies(spec, request, identity, peer) for spec in selected):
        return "deny"
    if request.preflight and any(spec.get("authentication", {}).get("preflight") == "allow" for spec in selected):
        return "allow"
    if identity is None and isinstance(peer, Deny) and any(naive_names_mesh(spec) for spec in selected):
        return "deny"
    could_help = False
    for spec in selected:
        caller = naive_caller(spec, identity, peer)
        for rule in spec.get("rules", ()):
            if not naive_request(rule, request, deny=False):
                continue
            counts = not isinstance(caller, str) and naive_roles(rule, caller, deny=False)
            if counts and naive_when(rule) is True:
                return "allow"
            asks = {*rule.get("roles", ()), rule.get("role")} - {None} != {"anonymous"}
            could_help = could_help or (asks and not (peer is not None and naive_names_mesh(spec)))
    return "401" if identity is None and could_help else "deny"


# -------------------------------------------------------------------------------------------------------- what is tried

HOSTS = ["a.test", "*.a.test", "*.test", "*", "b.test"]
TO: Mapping[str, list[Any]] = {
    "hosts": HOSTS,
    "ports": [443, "5432"],
    "methods": ["GET", "POST", "CONNECT"],
    "paths": ["/", "/x", "/x/", "/x/{id}", "/x/**", "/**", "/{a}/y"],
}
FROM: Mapping[str, list[Any]] = {
    "principals": ["spiffe://a/b", "spiffe://a/*", "*/b", "*"],
    "ipBlocks": ["10.0.0.0/8", "192.0.2.1"],
    "remoteIpBlocks": ["203.0.113.0/24", "10.0.0.0/8"],
}


STRANGER = Deny(Reason.ISSUER_UNKNOWN, provider="mesh")
UNREADABLE = Deny(Reason.CREDENTIALS_INVALID, "the header is malformed", provider="mesh")
MESH_SETTINGS = PolicySettings(providers=frozenset({"corporate", "partner"}), mesh_providers=frozenset(MESHES))


class Draw:
    """Random policies, requests and callers from a seed: the same ones each time."""

    def __init__(self, seed: int, make_request: MakeRequest, make_identity: MakeIdentity) -> None:
        self.random = Random(seed)
        self.make_request = make_request
        self.make_identity = make_identity

    def some(self, values: list[Any], most: int = 2) -> list[Any]:
        return self.random.sample(values, self.random.randint(1, min(most, len(values))))

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def entry(self, words: Mapping[str, list[Any]]) -> dict[str, Any]:
        entry = {}
        for word in self.some(list(words), 3):
            negative = self.chance(0.3)
            entry[f"not{word[0].upper()}{word[1:]}" if negative else word] = self.some(words[word], 3)
        return entry

    def rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {}
        if self.chance(0.6):
            rule["roles"] = self.some(["user", "admin", "anonymous"])
        if self.chance(0.6):
            rule["to"] = [self.entry(TO) for _ in range(self.random.randint(1, 2))]
        if self.chance(0.3):
            rule["from"] = [self.entry(FROM) for _ in range(self.random.randint(1, 2))]
        if self.chance(0.2):
            rule["when"] = self.random.choice(["true", "false", "claims.none == 1"])
        return rule

    def target(self) -> dict[str, Any]:
        kind = self.random.randrange(3)
        hosts = {"hosts": self.some(HOSTS)} if kind else {}
        return hosts | ({"context": {"app": "x"}} if kind != 1 else {})

    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"rules": [self.rule() for _ in range(self.random.randint(1, 3))]}
        if self.chance(0.5):
            spec["targets"] = [self.target() for _ in range(self.random.randint(1, 2))]
        if self.chance(0.3):
            spec["deny"] = [self.rule() | {"to": [self.entry(TO)]}]
        authentication: dict[str, Any] = {}
        if self.chance(0.4):
            authentication["providers"] = self.some(["corporate", "partner", "mesh"])
        if self.chance(0.4):
            authentication["optional"] = self.chance(0.8)
        if self.chance(0.2):
            authentication["preflight"] = self.random.choice(["deny", "allow"])
        return spec | ({"authentication": authentication} if authentication else {})

    def specs(self) -> dict[str, Any]:
        return {name: self.spec() for name in "abc"[: self.random.randint(1, 3)]}

    def request(self) -> Request:
        choose = self.random.choice
        changes: dict[str, Any] = {
            "method": choose(["GET", "POST"]),
            "path": choose(["/", "/x", "/x/", "/x/y", "/x/y/z", "/z/y"]),
            "host": choose(["a.test", "b.a.test", "b.test", "test"]),
            "preflight": self.chance(0.1),
        }
        if self.chance(0.15):
            changes |= {"method": "CONNECT", "path": "", "preflight": False}
        elif self.chance(0.15):
            changes = {"http": False}
        address, principal = choose([("10.1.1.1", ""), ("192.0.2.1", "spiffe://a/b"), ("", "spiffe://a/c"), ("", "")])
        client = choose([None, "203.0.113.9", "10.2.2.2"])
        return self.make_request(
            **changes,
            source=Peer(address, 1, principal),
            source_ip=ip_address(address) if address else None,
            client_ip=ip_address(client) if client else None,
            destination=Peer("10.9.9.9", choose([0, 443, 5432])),
            context=choose([{}, {"app": "x"}, {"app": "y"}]),
        )

    def caller(self) -> Identity | None:
        if self.chance(0.3):
            return None
        provider = self.random.choice(["corporate", "corporate", "partner", "mesh"])
        return self.make_identity(*self.some(["user", "admin", "other"]), provider=provider)

    def peer(self) -> Shown:
        return self.random.choice([None, STRANGER, UNREADABLE, self.known_peer(), self.known_peer()])

    def known_peer(self) -> Identity:
        provider = self.random.choice(["mesh", "mesh", "other-mesh"])
        roles = self.some(["user", "admin", "other"])
        return self.make_identity(*roles, subject="spiffe://a/b", provider=provider, claims={})


@pytest.fixture
def draw(seed: int, make_request: MakeRequest, make_identity: MakeIdentity) -> Draw:
    return Draw(seed, make_request, make_identity)


def decide(snapshot: Snapshot, request: Request, identity: Identity | None, peer: Shown = None) -> Allow | Deny:
    return snapshot.decide(request, snapshot.select(request), identity, peer)


def answer_of(verdict: Allow | Deny) -> str:
    if isinstance(verdict, Allow):
        return "allow"
    return "401" if verdict.reason is Reason.NO_CREDENTIALS else "deny"


@pytest.mark.parametrize("seed", range(10))
def test_every_decision_is_that_of_a_naive_reading(draw: Draw, load_specs: LoadSpecs) -> None:
    """Compiled sets, host index and precomputed entries decide as the specification read aloud."""
    answers: Counter[str] = Counter()
    for _ in range(30):
        specs = draw.specs()
        snapshot = load_specs(specs)
        for _ in range(15):
            request, identity = draw.request(), draw.caller()
            answer = answer_of(decide(snapshot, request, identity))
            assert answer == naive(specs, request, identity), (specs, request, identity)
            answers[answer] += 1
    assert min(answers["allow"], answers["401"], answers["deny"]) >= 20, answers


@pytest.mark.parametrize("seed", range(100, 105))
def test_the_order_of_files_changes_nothing(draw: Draw, load_specs: LoadSpecs) -> None:
    """Not the verdict, and not a word of what it says."""
    for _ in range(15):
        specs = draw.specs()
        one, other = load_specs(specs), load_specs(dict(reversed(specs.items())))
        for _ in range(15):
            request, identity = draw.request(), draw.caller()
            assert decide(one, request, identity) == decide(other, request, identity)


@pytest.mark.parametrize("seed", range(200, 205))
def test_adding_a_deny_or_taking_a_rule_away_never_allows_more(draw: Draw, load_specs: LoadSpecs) -> None:
    """What was denied before stays denied."""
    for _ in range(15):
        specs = draw.specs()
        name = draw.random.choice(list(specs))
        spec = specs[name]
        more = spec | {"deny": [*spec.get("deny", []), draw.rule()]}
        left = spec["rules"][1:]
        fewer = {key: value for key, value in spec.items() if key != "rules"} | ({"rules": left} if left else {})
        before = load_specs(specs)
        after = [load_specs(specs | {name: changed}) for changed in (more, fewer)]
        for _ in range(15):
            request, identity = draw.request(), draw.caller()
            if isinstance(decide(before, request, identity), Deny):
                assert all(isinstance(decide(snapshot, request, identity), Deny) for snapshot in after)


@pytest.mark.parametrize("seed", range(300, 303))
def test_no_header_changes_the_verdict_of_policies_without_conditions(draw: Draw, load_specs: LoadSpecs) -> None:
    """Only the canonical attributes are judged: no header, no query, no scheme."""
    for _ in range(10):
        snapshot = load_specs(draw.specs())
        for _ in range(10):
            request, identity = draw.request(), draw.caller()
            spoofed = replace(
                request,
                headers={
                    "x-forwarded-host": ("a.test",),
                    "x-original-url": ("/x",),
                    "x-http-method-override": ("GET",),
                },
                query="path=/x",
                scheme="gopher",
            )
            assert decide(snapshot, request, identity) == decide(snapshot, spoofed, identity)


SET = {"x-auth-subject": "identity.subject", "x-auth-roles": "identity.roles", "x-auth-tenant": "claims.tenant"}
REMOVED = ["x-auth-internal", "authorization"]


@pytest.mark.parametrize("seed", range(400, 405))
def test_no_caller_smuggles_a_header_of_ours_past_an_allow(draw: Draw, load_specs: LoadSpecs) -> None:
    """I5 for every mixture of policies, callers, preflights and tunnels: what any policy sets is set or removed, what a
    policy that covers the request removes is removed, and no name is both.
    """
    allows = 0
    for _ in range(20):
        specs = draw.specs()
        for spec in specs.values():
            set_headers = draw.random.sample(list(SET), draw.random.randint(0, 2))
            removed = draw.random.sample(REMOVED, draw.random.randint(0, 1))
            response = {"headers": {name: SET[name] for name in set_headers}, "removeHeaders": removed}
            spec["response"] = {key: value for key, value in response.items() if value}
        snapshot = load_specs(specs)
        for _ in range(20):
            request, identity = draw.request(), draw.caller()
            verdict = decide(snapshot, request, identity)
            if not isinstance(verdict, Allow):
                continue
            allows += 1
            kept, removed_names = {name for name, _ in verdict.set_headers}, set(verdict.remove_headers)
            assert not kept & removed_names
            assert kept | removed_names >= set(snapshot.owned_headers)
            covering = [spec["response"] for spec in specs.values() if naive_covers(spec, request)]
            assert removed_names >= {name for response in covering for name in response.get("removeHeaders", ())}
            assert not (request.preflight and identity is None and kept)
    assert allows >= 20


def with_meshes(draw: Draw, specs: dict[str, Any]) -> dict[str, Any]:
    """The policies, most of which name mesh providers and have denials."""
    for spec in specs.values():
        authentication = spec.setdefault("authentication", {})
        if draw.chance(0.7):
            authentication["providers"] = draw.some(["corporate", "partner", "mesh", "other-mesh"], 3)
        if draw.chance(0.4):
            spec["deny"] = [draw.rule() | {"to": [draw.entry(TO)]}]
        if not authentication:
            del spec["authentication"]
    return specs


@pytest.mark.parametrize("seed", range(400, 410))
def test_with_mesh_identities_too_every_decision_is_that_of_a_naive_reading(draw: Draw, load_specs: LoadSpecs) -> None:
    """Token, peer, both or neither: each policy counts the caller that it should, and denials count them all."""
    answers: Counter[str] = Counter()
    for _ in range(30):
        specs = with_meshes(draw, draw.specs())
        snapshot = load_specs(specs, MESH_SETTINGS)
        for _ in range(15):
            request, identity, peer = draw.request(), draw.caller(), draw.peer()
            answer = answer_of(decide(snapshot, request, identity, peer))
            assert answer == naive(specs, request, identity, peer), (specs, request, identity, peer)
            answers[answer] += 1
    assert min(answers["allow"], answers["401"], answers["deny"]) >= 15, answers


@pytest.mark.parametrize("seed", range(500, 505))
def test_naming_a_mesh_provider_changes_nothing_for_connections_that_prove_nobody(
    draw: Draw, load_specs: LoadSpecs
) -> None:
    """Whoever comes without a principal is judged as before; whoever is not named is not asked."""
    for _ in range(15):
        specs = draw.specs()
        for spec in specs.values():
            spec.setdefault("authentication", {})["providers"] = draw.some(["corporate", "partner"])
        before = load_specs(specs, MESH_SETTINGS)
        request = draw.request()
        assert before.select(request).mesh_providers == frozenset()
        for spec in specs.values():
            spec["authentication"]["providers"] = [*spec["authentication"]["providers"], "mesh"]
        after = load_specs(specs, MESH_SETTINGS)
        for _ in range(15):
            request, identity = draw.request(), draw.caller()
            if identity is None or identity.provider != "mesh":
                one, other = decide(before, request, identity), decide(after, request, identity)
                assert (type(one), one.reason, one.policy, one.rule) == (
                    type(other),
                    other.reason,
                    other.policy,
                    other.rule,
                )
                # And where nobody named a mesh provider, the peer is not even looked at.
                assert decide(before, request, identity, draw.peer()) == one


@pytest.mark.parametrize("seed", range(600, 605))
def test_a_peer_never_stands_in_the_way_of_a_token_but_by_a_deny(draw: Draw, load_specs: LoadSpecs) -> None:
    """Somebody else's principal changes nothing beside a token, and what can't be read opens nothing that any peer
    could not open.
    """
    for _ in range(15):
        snapshot = load_specs(with_meshes(draw, draw.specs()), MESH_SETTINGS)
        for _ in range(15):
            request, identity = draw.request(), draw.caller()
            if identity is not None and identity.provider not in MESHES:
                assert decide(snapshot, request, identity, STRANGER) == decide(snapshot, request, identity)
                if isinstance(decide(snapshot, request, identity, UNREADABLE), Allow):
                    for _ in range(3):
                        assert isinstance(decide(snapshot, request, identity, draw.known_peer()), Allow)
