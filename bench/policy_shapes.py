"""Sets of policies of a given size in the shapes that real ones have, each with the requests that are asked of it.

A shape says where its rules differ from each other: in the host of their policy, in paths, in roles, in the peer. The asked
rule stands in the middle, so that nothing is found by being first.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from extauthz.model import Identity, Peer, Request, VerifiedClaims
from extauthz.policy import PolicySettings, PolicyText, Snapshot, load

__all__ = ["SHAPES", "Asked", "Shape", "snapshot", "texts"]

SETTINGS = PolicySettings(providers=frozenset({"corporate"}))
Specs = Iterator[tuple[str, Mapping[str, Any]]]

_SUBJECT = {"x-auth-subject": "identity.subject"}
_DESTINATION = Peer("10.9.9.9", 8443, "")
_SOURCE = Peer("10.1.2.3", 40000, "")


@dataclass(frozen=True)
class Asked:
    """A request and its caller."""

    request: Request
    caller: Identity | None
    reason: str
    """What the answer must be."""


@dataclass(frozen=True)
class Shape:
    """A way to write any number of rules."""

    name: str
    specs: Callable[[int], Specs]
    asked: Callable[[int], Asked]


def texts(specs: Specs, *, in_files: int = 1) -> list[PolicyText]:
    """The documents of a set, as YAML in some files."""
    documents = [
        json.dumps(
            {"apiVersion": "security.example.com/v1", "kind": "AuthPolicy", "metadata": {"name": name}, "spec": spec}
        )
        for name, spec in specs
    ]
    size = -(-len(documents) // in_files)
    parts = [documents[start : start + size] for start in range(0, len(documents), size)]
    return [PolicyText(f"{number}.yaml", "\n---\n".join(part)) for number, part in enumerate(parts)]


def snapshot(shape: Shape, rules: int) -> Snapshot:
    """A set of this shape in force."""
    return load(texts(shape.specs(rules)), SETTINGS, 1)


def _request(path: str = "/orders/4711", host: str = "orders.example.com", principal: str = "") -> Request:
    return Request(
        http=True,
        id="6a1d5d5e-3d38-4c6c-8a7c-3a7d4f1f6c11",
        time=1_790_000_000.0,
        method="GET",
        path=path,
        query="fields=all",
        host=host,
        scheme="https",
        protocol="HTTP/2",
        headers={"accept": ("application/json",), "x-tenant": ("north",)},
        source=replace(_SOURCE, principal=principal),
        destination=_DESTINATION,
        source_ip=ip_address("10.1.2.3"),
        client_ip=ip_address("203.0.113.7"),
        sni="",
        context={},
        grpc=False,
        preflight=False,
        websocket=False,
    )


def _caller(*roles: str) -> Identity:
    claims = VerifiedClaims({"sub": "alice", "tenant": "north", "roles": list(roles)})
    return Identity("alice", "https://login.example.com/", "corporate", frozenset(roles), claims=claims)


def _allowed(request: Request, *roles: str) -> Asked:
    return Asked(request, _caller(*(roles or ("user",))), "allowed")


# ------------------------------------------------------------------------------------------------------------- shapes


def _hosts(count: int) -> Specs:
    for number in range(count):
        rules = [{"role": "user", "to": [{"methods": ["GET"], "paths": ["/orders/{id}"]}]}]
        targets = [{"hosts": [f"s{number}.example.com"]}]
        yield f"p{number}", {"targets": targets, "rules": rules, "response": {"headers": _SUBJECT}}


def _wildcards(count: int) -> Specs:
    for number in range(count):
        yield f"p{number}", {"targets": [{"hosts": [f"*.s{number}.example.com"]}], "rules": [{"role": "user"}]}


def _paths(count: int) -> Specs:
    rules = [{"role": "user", "to": [{"methods": ["GET"], "paths": [f"/s{n}/{{id}}/**"]}]} for n in range(count)]
    yield "only", {"targets": [{"hosts": ["orders.example.com"]}], "rules": rules, "response": {"headers": _SUBJECT}}


def _variables(count: int) -> Specs:
    rules = [{"role": "user", "to": [{"paths": [f"/{{tenant}}/s{n}/{{id}}"]}]} for n in range(count)]
    yield "only", {"rules": rules}


def _roles(count: int) -> Specs:
    yield "only", {"rules": [{"role": f"r{n}", "to": [{"methods": ["GET"]}]} for n in range(count)]}


def _principals(count: int) -> Specs:
    rules = [
        {"role": "user", "from": [{"principals": [f"spiffe://cluster.local/ns/shop/sa/s{n}"]}]} for n in range(count)
    ]
    yield "only", {"rules": rules}


def _everywhere(count: int) -> Specs:
    for number in range(count):
        yield f"p{number}", {"rules": [{"role": "user", "to": [{"paths": [f"/s{number}/**"]}]}]}


def _operations(count: int) -> Specs:
    rules = [{"role": "user", "to": [{"hosts": [f"s{n}.example.com"], "paths": ["/orders/**"]}]} for n in range(count)]
    yield "only", {"rules": rules}


def _denies(count: int) -> Specs:
    deny = [{"to": [{"paths": [f"/internal/s{n}/**"]}]} for n in range(count)]
    yield "only", {"deny": deny, "rules": [{"role": "user"}]}


def _denies_of_roles(count: int) -> Specs:
    deny = [{"role": f"banned{n}", "to": [{"methods": ["GET", "POST"]}]} for n in range(count)]
    yield "only", {"deny": deny, "rules": [{"role": "user"}]}


def _without_credentials(count: int) -> Asked:
    return Asked(_request(f"/s{count // 2}/4711/x"), None, "no-credentials")


SHAPES: Sequence[Shape] = (
    Shape("one host a policy", _hosts, lambda n: _allowed(_request(host=f"s{n // 2}.example.com"))),
    Shape("one *.host a policy", _wildcards, lambda n: _allowed(_request(host=f"a.b.s{n // 2}.example.com"))),
    Shape("one host, a path a rule", _paths, lambda n: _allowed(_request(f"/s{n // 2}/4711/items"))),
    Shape("  role missing", _paths, lambda n: Asked(_request(f"/s{n // 2}/1"), _caller("x"), "role-missing")),
    Shape("  no such path", _paths, lambda _: Asked(_request("/other"), _caller("user"), "no-rule")),
    Shape("  no credentials", _paths, _without_credentials),
    Shape("  another host", _paths, lambda _: Asked(_request(host="x.example.com"), _caller("user"), "no-policy")),
    Shape("a variable first", _variables, lambda n: _allowed(_request(f"/north/s{n // 2}/4711"))),
    Shape("a role a rule", _roles, lambda n: _allowed(_request(), f"r{n // 2}")),
    Shape("  role missing", _roles, lambda _: Asked(_request(), _caller("x"), "role-missing")),
    Shape("  no credentials", _roles, lambda _: Asked(_request(), None, "no-credentials")),
    Shape(
        "a principal a rule",
        _principals,
        lambda n: _allowed(_request(principal=f"spiffe://cluster.local/ns/shop/sa/s{n // 2}")),
    ),
    Shape("  principal missing", _principals, lambda _: Asked(_request(), _caller("user"), "no-rule")),
    Shape("policies without targets", _everywhere, lambda n: _allowed(_request(f"/s{n // 2}/x"))),
    Shape("  role missing", _everywhere, lambda n: Asked(_request(f"/s{n // 2}/x"), _caller("x"), "role-missing")),
    Shape("  no such path", _everywhere, lambda _: Asked(_request("/other"), _caller("user"), "no-rule")),
    Shape("a host a rule", _operations, lambda n: _allowed(_request("/orders/1", f"s{n // 2}.example.com"))),
    Shape("a path a deny, passed", _denies, lambda _: _allowed(_request())),
    Shape("  denied", _denies, lambda n: Asked(_request(f"/internal/s{n // 2}/x"), _caller("user"), "denied-by-rule")),
    Shape("a role a deny, passed", _denies_of_roles, lambda _: _allowed(_request())),
    Shape("  denied", _denies_of_roles, lambda n: Asked(_request(), _caller(f"banned{n // 2}"), "denied-by-rule")),
)
