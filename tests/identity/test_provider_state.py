"""How a provider is, in the words of ``/readyz?verbose``."""

import pytest

from extauthz.identity import ProviderState


@pytest.mark.parametrize(
    ("age", "error", "retry_after", "told"),
    [
        (None, "", 0, "in use"),
        (0.0, "", 0, "in use"),
        (35.4, "", 0, "in use, read 35 s ago"),
        (7_199.0, "", 0, "in use, read 1 h ago"),
        (3 * 86_400.0, "", 0, "in use, read 3 d ago"),
        (90.0, "the issuer answered 500", 12, "the issuer answered 500; tried again in 12 s"),
        (None, "keys.json can't be read", 0, "keys.json can't be read"),
    ],
)
def test_state_error_and_next_attempt_are_told(age: float | None, error: str, retry_after: int, told: str) -> None:
    """What somebody at night wants to know: how old it is, what is wrong, and whether to wait."""
    assert (
        ProviderState("corporate", usable=True, age_seconds=age, error=error, retry_after=retry_after).sentence == told
    )
