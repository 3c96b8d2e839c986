"""What callers are told about their credentials, through a whole Check (RFC 6750 section 3; docs/security.md T49)."""

from typing import Any

import pytest

from tests.identity.issuer import OTHER_RSA_KEY, authenticator, mint
from tests.journey import Journey, check_request, policies, reason_of

POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: users}
spec:
  rules: [{role: user}]
"""


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        ({}, 401, "Bearer"),
        ({"authorization": f"Bearer {mint(key=OTHER_RSA_KEY)}"}, 401, 'Bearer error="invalid_token"'),
        ({"authorization": f"Bearer {mint({'exp': 1, 'iat': 0})}"}, 401, 'Bearer error="invalid_token"'),
        ({"authorization": "Bearer x"}, 401, 'Bearer error="invalid_token"'),
        ({"authorization": "Basic eDp5"}, 401, 'Bearer error="invalid_token"'),
        ({"authorization": f"Bearer {mint()},Bearer {mint()}"}, 400, 'Bearer error="invalid_request"'),
        ({"authorization": f"Bearer {mint()}"}, 403, None),
    ],
)
def test_absent_bad_and_insufficient_are_told_apart(
    headers: dict[str, Any], status: int, challenge: str | None
) -> None:
    """T49: without credentials no error is named; bad ones are invalid_token; too few rights are no matter of tokens."""
    answer = Journey(policies(POLICY), authenticator()).answer(check_request(headers=headers))
    denied = answer.denied_response
    assert denied.status.code == status, reason_of(answer)
    found = [option.header.value for option in denied.headers if option.header.key == "www-authenticate"]
    assert found == ([] if challenge is None else [challenge])
