"""Endpoints by name, whatever a client writes into a path."""

import pytest

from extauthz.tokens.endpoints import ENDPOINTS, Endpoints


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/oauth2/token", "token"),
        ("/realm/oauth2/token", "token"),
        ("/realm/refresh", "refresh"),
        ("/realm/.well-known/openid-configuration", "metadata"),
        ("/.well-known/oauth-authorization-server/realm", "metadata"),
        ("/.well-known/jwks.json", "jwks"),
        ("/realm", "other"),
        ("/realm/realm/refresh", "other"),
        ("/oauth2/token/eyJhbGciOiJ", "other"),
        ("", "other"),
    ],
)
def test_a_path_has_a_name(path: str, name: str) -> None:
    """With the issuer's path or without it; what leads nowhere has one name."""
    found = Endpoints("https://auth.example.com/realm").of(path)
    assert found.name == name
    assert found.name in ENDPOINTS
    assert "realm" not in found.route
