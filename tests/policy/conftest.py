"""What policy tests are made of: documents from plain values, requests and callers with only what matters spelled out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from extauthz.model import Allow, Deny, Identity, Peer, Request, VerifiedClaims
from extauthz.policy import PolicySettings, PolicyText, Snapshot, load

SETTINGS = PolicySettings(providers=frozenset({"corporate", "partner"}), mesh_providers=frozenset({"mesh"}))

_REQUEST = Request(
    http=True,
    id="c0ffee",
    time=1_790_000_000.5,
    method="GET",
    path="/orders",
    query="",
    host="orders.example.com",
    scheme="https",
    protocol="HTTP/2",
    headers={"x-tenant": ("acme",)},
    source=Peer("10.1.2.3", 40000, ""),
    destination=Peer("10.9.9.9", 8443, ""),
    source_ip=ip_address("10.1.2.3"),
    client_ip=ip_address("203.0.113.7"),
    sni="",
    context={},
    grpc=False,
    preflight=False,
    websocket=False,
)


def _make_request(**changes: Any) -> Request:
    if changes.get("http") is False:
        nothing = {"method": "", "path": "", "host": "", "scheme": "", "protocol": "", "headers": {}, "id": ""}
        changes = nothing | changes
    return replace(_REQUEST, **changes)


def _make_identity(*roles: str, **changes: Any) -> Identity:
    claims = VerifiedClaims(changes.pop("claims", {"tenant": "acme"}))
    values = {"subject": "alice", "issuer": "https://login.example.com/", "provider": "corporate"} | changes
    return Identity(roles=frozenset(roles), claims=claims, **values)


def _document(name: str, spec: Mapping[str, Any]) -> str:
    """A policy as YAML: JSON is a part of it."""
    document = {"apiVersion": "security.example.com/v1", "kind": "AuthPolicy", "metadata": {"name": name}, "spec": spec}
    return json.dumps(document)


def _load_specs(specs: Mapping[str, Any], settings: PolicySettings = SETTINGS) -> Snapshot:
    return load([PolicyText(f"{name}.yaml", _document(name, spec)) for name, spec in specs.items()], settings, 1)


def _decide(
    spec: Mapping[str, Any],
    request: Request = _REQUEST,
    identity: Identity | None = None,
    settings: PolicySettings = SETTINGS,
) -> Allow | Deny:
    snapshot = _load_specs({"only": spec}, settings)
    return snapshot.decide(request, snapshot.select(request), identity)


@pytest.fixture(scope="session")
def settings() -> PolicySettings:
    return SETTINGS


@pytest.fixture(scope="session")
def make_request() -> Callable[..., Request]:
    """A GET of https://orders.example.com/orders, with changes."""
    return _make_request


@pytest.fixture(scope="session")
def make_identity() -> Callable[..., Identity]:
    """Alice of the corporate provider with these roles, with changes."""
    return _make_identity


@pytest.fixture(scope="session")
def document() -> Callable[..., str]:
    """A policy's YAML from its name and spec."""
    return _document


@pytest.fixture(scope="session")
def load_specs() -> Callable[..., Snapshot]:
    """A snapshot of policies given as name -> spec."""
    return _load_specs


@pytest.fixture(scope="session")
def decide() -> Callable[..., Allow | Deny]:
    """The verdict of one policy, given by its spec, on a request and a caller."""
    return _decide
