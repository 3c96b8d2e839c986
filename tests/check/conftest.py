"""What the tests of the journey send."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from extauthz.model import AttributeContext, HttpAttributes, Peer

Send = Callable[..., AttributeContext]


@pytest.fixture
def send() -> Send:
    """Build what a proxy sends for ``GET /orders`` on orders.example.com; keywords change parts of it."""

    def build(headers: Mapping[str, Any] | None = None, **parts: Any) -> AttributeContext:
        values = {name: (value,) if isinstance(value, str) else value for name, value in (headers or {}).items()}
        http = {
            "id": "7",
            "method": "GET",
            "path": "/orders",
            "host": "orders.example.com",
            "scheme": "http",
            "protocol": "HTTP/1.1",
            "headers": values,
        }
        outer = {key: parts.pop(key) for key in ("source", "destination", "sni", "context", "fault") if key in parts}
        if parts.pop("tcp", False):
            return AttributeContext(Peer("10.0.0.9", 40000), Peer("10.0.0.1", 5432), 1.0, None, **outer)
        outer = {"source": Peer("10.0.0.9", 40000), "destination": Peer("10.0.0.1", 8443), **outer}
        return AttributeContext(time=1.0, http=HttpAttributes(**(http | parts)), **outer)

    return build
