"""Checks to capture, and a writer that hides what the server's hides."""

from collections.abc import Mapping
from typing import Any

import pytest

from extauthz.capture import CaptureWriter, CredentialPlaces
from extauthz.model import AttributeContext, HttpAttributes, Identity, Peer, VerifiedClaims
from extauthz.telemetry.redaction import is_sensitive, mask

PLACES = CredentialPlaces(frozenset({"authorization", "x-partner"}), frozenset({"sid2"}), frozenset({"k"}))


def check(
    path: str = "/orders/42?x=1", headers: Mapping[str, tuple[str, ...]] | None = None, **http: Any
) -> AttributeContext:
    """What a proxy sent."""
    values: dict[str, Any] = {
        "id": "17304042",
        "method": "GET",
        "path": path,
        "host": "orders.example.com",
        "scheme": "https",
        "protocol": "HTTP/2",
        "headers": headers or {},
    }
    source = Peer("10.1.2.3", 41000, "spiffe://cluster.local/ns/shop/sa/web", "-----BEGIN CERTIFICATE-----")
    return AttributeContext(
        source,
        Peer("10.1.2.4", 443),
        1_700_000_000.25,
        HttpAttributes(**(values | http)),
        "orders.example.com",
        {"app": "shop"},
    )


def caller(**claims: Any) -> Identity:
    """A proven caller with these claims."""
    return Identity(
        "alice",
        "https://login.example.com/",
        "corporate",
        frozenset({"user"}),
        ("orders",),
        VerifiedClaims(claims),
        1.5,
    )


@pytest.fixture
def writer() -> CaptureWriter:
    """A writer as a server with some providers has it."""
    return CaptureWriter(PLACES, mask=mask, sensitive=is_sensitive)
