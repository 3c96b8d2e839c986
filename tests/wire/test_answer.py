"""What an answer tells the proxy, read back from its bytes."""

from extauthz.model import Allow, Decision, Deny, Reason
from extauthz.wire import Answer, Encoder, read_answer


def read(decision: Decision) -> Answer:
    return read_answer(Encoder().encode(decision))


def test_an_allow_is_read_back() -> None:
    """What is set, and what is removed."""
    allow = Allow("orders", "read", (("x-auth-subject", "alice"),), ("authorization",))
    told = read(Decision("d-1", allow, 1, spent_parameter="access_token"))
    assert told == Answer(
        allowed=True,
        status=0,
        headers=(("x-auth-subject", "alice"),),
        removed_headers=("authorization",),
        removed_parameters=("access_token",),
    )


def test_a_denial_is_read_back() -> None:
    """Status, headers and body as the client gets them."""
    told = read(Decision("d-1", Deny(Reason.KEYS_UNAVAILABLE, retry_after=7), 1))
    assert (told.allowed, told.status) == (False, 503)
    assert dict(told.headers)["retry-after"] == "7"
    assert '"decision_id": "d-1"' in told.body
