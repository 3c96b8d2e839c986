"""The bytes of an allow, held against what protobuf makes of them: an allow is written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz._pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.model import Allow, Decision, Identity
from extauthz.wire.allowed import allowed

OVERWRITE = HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
NAMES = st.lists(st.from_regex(r"x-[a-z]{1,12}", fullmatch=True), unique=True, max_size=8)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


@st.composite
def allows(draw: st.DrawFn) -> Allow:
    """Any allow that policies could make."""
    names = draw(NAMES)
    kept = draw(st.integers(0, len(names)))
    headers = tuple((name, draw(VALUES)) for name in names[:kept])
    return Allow(draw(WORDS), draw(WORDS), headers, tuple(names[kept:]))


def written(decision: Decision, allow: Allow, told: list[tuple[str, str]]) -> CheckResponse:
    """The same answer, by protobuf's own objects."""
    response = CheckResponse()
    response.status.SetInParent()
    ok = response.ok_response
    ok.SetInParent()
    for headers, pairs in ((ok.headers, allow.set_headers), (ok.response_headers_to_add, told)):
        for name, value in pairs:
            headers.add(header={"key": name, "value": value}, append_action=OVERWRITE)
    ok.headers_to_remove.extend(allow.remove_headers)
    if decision.spent_parameter:
        ok.query_parameters_to_remove.append(decision.spent_parameter)
    subject = decision.identity.subject[:256] if decision.identity else ""
    words = {"reason": "allowed", "policy": allow.policy, "rule": allow.rule}
    for name, value in (words | {"subject": subject, "decision_id": decision.id}).items():
        response.dynamic_metadata.fields[name].string_value = value
    return response


@given(
    allow=allows(),
    subject=st.none() | WORDS,
    number=WORDS,
    spent=st.just("") | WORDS,
    told=st.lists(st.tuples(st.just("ratelimit"), VALUES), max_size=2),
)
def test_the_bytes_say_what_protobuf_would_say(
    allow: Allow, subject: str | None, number: str, spent: str, told: list[tuple[str, str]]
) -> None:
    """Field by field, whatever the lengths are; nothing is left that protobuf does not know."""
    identity = None if subject is None else Identity(subject, "https://i/", "p", frozenset())
    decision = Decision(number, allow, 1, identity=identity, spent_parameter=spent)
    response = CheckResponse.FromString(allowed(decision, allow, told))
    assert response == written(decision, allow, told)
    assert response.SerializeToString(deterministic=True) == written(decision, allow, told).SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("value", ["a\r\nb", "é", "\x7f"])
def test_what_is_remembered_is_what_was_checked(value: str) -> None:
    """A value that is refused is refused again."""
    allow = Allow("p", "r", (("x-name", value),))
    for _ in range(2):
        with pytest.raises(ValueError, match="x-name"):
            allowed(Decision("d-1", allow, 1), allow)


def test_names_are_checked_wherever_they_stand() -> None:
    """Removed ones as well, and each once."""
    for allow in (
        Allow("p", "r", (), ("host",)),
        Allow("p", "r", (("x-a", "1"),), ("x-a",)),
        Allow("p", "r", (("x-a", "1"), ("x-a", "1"))),
        Allow("p", "r", (), ("x-a", "x-a")),
    ):
        with pytest.raises(ValueError, match="header"):
            allowed(Decision("d-1", allow, 1), allow)
