"""Decisions to be told of, and telemetry parts that leave nothing behind."""

import logging
import os
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
import structlog
from prometheus_client import CollectorRegistry

from extauthz.model import Allow, AttributeContext, Decision, HttpAttributes, Identity, Peer, Request
from extauthz.telemetry import Metrics


@pytest.fixture(autouse=True)
def no_otel_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own OTEL_* variables mean nothing to a test."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def metrics() -> Metrics:
    """Metrics in a registry of their own."""
    return Metrics(CollectorRegistry())


@pytest.fixture
def sent() -> AttributeContext:
    """What the proxy sent."""
    peer = Peer("10.1.2.3", 41000, "spiffe://cluster.local/ns/shop/sa/web")
    headers = {"x-request-id": ("31657f27",), "authorization": ("Bearer abc",)}
    http = HttpAttributes("17304042", "GET", "/orders/42?x=1", "orders.example.com", "https", "HTTP/2", headers)
    return AttributeContext(peer, Peer("10.1.2.4", 443), 1_700_000_000.0, http)


@pytest.fixture
def request_() -> Request:
    """The canonical form of it."""
    peer = Peer("10.1.2.3", 41000, "spiffe://cluster.local/ns/shop/sa/web")
    return Request(
        http=True,
        id="31657f27",
        time=1_700_000_000.0,
        method="GET",
        path="/orders/42",
        query="x=1",
        host="orders.example.com",
        scheme="https",
        protocol="HTTP/2",
        headers={"x-request-id": ("31657f27",), "authorization": ("Bearer abc",)},
        source=peer,
        destination=Peer("10.1.2.4", 443),
        source_ip=ip_address("10.1.2.3"),
        client_ip=ip_address("192.0.2.7"),
        sni="",
        context={},
        grpc=False,
        preflight=False,
        websocket=False,
    )


@pytest.fixture
def identity() -> Identity:
    """A proven caller."""
    return Identity("alice", "https://login.example.com/", "corporate", frozenset({"user", "admin"}))


@pytest.fixture
def allowed(request_: Request, identity: Identity) -> Decision:
    """An allow with everything in it."""
    return Decision("d-1", Allow("orders", "read-orders"), 7, request_, identity)


@pytest.fixture
def preserved_logging() -> Iterator[None]:
    """The process's logging, put back as it was."""
    root = logging.getLogger()
    names = (
        "extauthz",
        "asyncio",
        "grpc",
        "opentelemetry",
        "uvicorn",
        "uvicorn.access",
        "uvicorn.asgi",
        "uvicorn.error",
    )
    levels = {name: logging.getLogger(name).level for name in names}
    before, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    configured = structlog.get_config()
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.raiseExceptions = raising
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.configure(**configured)
