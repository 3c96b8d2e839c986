"""Decisions become CheckResponses that mean to Envoy what they say."""

import json

import pytest

from extauthz._pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.model import Allow, Decision, Deny, Identity, Reason
from extauthz.wire import INTERNAL_ERROR_ANSWER, Encoder

OVERWRITE = HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
DENIALS = [reason for reason in Reason if reason is not Reason.ALLOWED]
ALICE = Identity("alice", "https://login.example.com/", "corporate", frozenset({"user"}))


def answer(verdict: Allow | Deny, *, reasons: bool = False, grpc: bool = False) -> CheckResponse:
    """What the proxy receives."""
    decision = Decision("d-1", verdict, 7, identity=ALICE, grpc=grpc)
    return CheckResponse.FromString(Encoder(reasons=reasons).encode(decision))


def headers(response: CheckResponse) -> dict[str, str]:
    """The headers of a denial."""
    return {option.header.key: option.header.value for option in response.denied_response.headers}


@pytest.mark.parametrize("reason", DENIALS, ids=lambda reason: reason.word)
@pytest.mark.parametrize("grpc", [False, True])
def test_every_denial_is_a_denial(reason: Reason, *, grpc: bool) -> None:
    """A status that is set and not 0, a denied_response with the table's code, never an error_response (I1)."""
    response = answer(Deny(reason), grpc=grpc)
    assert response.status.code == reason.grpc != 0
    assert response.WhichOneof("http_response") == "denied_response"
    assert response.denied_response.status.code == reason.http
    assert response.denied_response.status.code >= 400
    assert headers(response)["cache-control"] == "no-store"
    assert "location" not in headers(response)


def test_denials_that_are_alike_have_their_own_ids() -> None:
    """Their bytes are kept, but for the id; ids of another length are written anew."""
    ids = ("0123456789abcdef01234567", "76543210fedcba9876543210", "short", "")
    encoder = Encoder()
    for number in (*ids, *ids):
        response = CheckResponse.FromString(encoder.encode(Decision(number, Deny(Reason.NO_RULE, "", "p", "r"), 7)))
        assert response.dynamic_metadata.fields["decision_id"].string_value == number
        assert json.loads(response.denied_response.body)["decision_id"] == number


def test_denials_of_different_callers_are_told_apart() -> None:
    """What is kept of one says nothing of another."""
    encoder = Encoder()
    for subject in ("alice", "bob", "alice"):
        who = Identity(subject, "https://i/", "p", frozenset())
        bytes_ = encoder.encode(Decision("0" * 24, Deny(Reason.ROLE_MISSING, "", "p", "r"), 7, identity=who))
        assert CheckResponse.FromString(bytes_).dynamic_metadata.fields["subject"].string_value == subject


def test_an_allow_is_an_allow() -> None:
    """Status 0 with an ok_response that is there even if it is empty."""
    response = answer(Allow("orders", "read"))
    assert response.HasField("status")
    assert response.status.code == 0
    assert response.WhichOneof("http_response") == "ok_response"


def test_headers_overwrite_what_the_client_sent() -> None:
    """Each with the action spelled out: unset means append to newer Envoys."""
    response = answer(Allow("p", "r", (("x-auth-subject", "alice"),), ("x-auth-roles",)))
    (option,) = response.ok_response.headers
    assert (option.header.key, option.header.value, option.append_action) == ("x-auth-subject", "alice", OVERWRITE)
    assert list(response.ok_response.headers_to_remove) == ["x-auth-roles"]


def test_a_token_in_the_query_goes_no_further() -> None:
    """T11: its parameter is removed, by the name as the client spelled it; other requests keep their query as it is."""
    decision = Decision("d-1", Allow("p", "r"), 7, spent_parameter="%61ccess_token")
    response = CheckResponse.FromString(Encoder().encode(decision))
    assert list(response.ok_response.query_parameters_to_remove) == ["%61ccess_token"]
    assert list(answer(Allow("p", "r")).ok_response.query_parameters_to_remove) == []


@pytest.mark.parametrize(
    "name",
    [
        *(":path", "host", "content-length", "transfer-encoding", "connection", "te", "upgrade"),
        *("x-envoy-original-path", "x-forwarded-for", "X-Upper", "x auth", "x-auth\n", ""),
    ],
)
def test_headers_that_would_break_the_request_never_leave(name: str) -> None:
    """Whatever a policy says: Envoy would pass them on."""
    for allow in (Allow("p", "r", ((name, "v"),)), Allow("p", "r", (), (name,))):
        with pytest.raises(ValueError, match="header"):
            answer(allow)


@pytest.mark.parametrize("value", ["a\r\nb", "a\x00", "a\x7f", "é", "\ud800"])
def test_values_that_would_split_a_message_never_leave(value: str) -> None:
    """Policies encode them; what is left is a fault."""
    with pytest.raises(ValueError, match="character"):
        answer(Allow("p", "r", (("x-auth-subject", value),)))


def test_more_headers_than_envoy_takes_never_leave() -> None:
    """Envoy answers 500 above 60 KiB or 100 headers."""
    with pytest.raises(ValueError, match="more headers"):
        answer(Allow("p", "r", tuple((f"x-auth-{n}", "v") for n in range(70))))
    with pytest.raises(ValueError, match="more headers"):
        answer(Allow("p", "r", (("x-auth-a", "v" * 50_000),)))


def test_a_header_is_set_or_removed_once() -> None:
    """Envoy removes after it sets, and the last of two values wins: neither is meant."""
    with pytest.raises(ValueError, match="twice"):
        answer(Allow("p", "r", (("x-auth-a", "1"), ("x-auth-a", "2"))))
    with pytest.raises(ValueError, match="removed"):
        answer(Allow("p", "r", (("x-auth-a", "1"),), ("x-auth-a",)))


def test_a_denial_is_problem_json_with_an_id() -> None:
    """RFC 9457, without the reason unless the operator wants it."""
    response = answer(Deny(Reason.ROLE_MISSING, "alice lacks admin", "orders", "write"))
    body = json.loads(response.denied_response.body)
    assert body == {"type": "about:blank", "title": "Forbidden", "status": 403, "decision_id": "d-1"}
    assert headers(response)["content-type"] == "application/problem+json"
    assert headers(response)["cache-control"] == "no-store"


def test_a_denial_names_its_reason_if_asked() -> None:
    """``responses.reasons``: the word and the sentence, never the detail."""
    body = json.loads(answer(Deny(Reason.ROLE_MISSING, "alice lacks admin"), reasons=True).denied_response.body)
    assert body["reason"] == "role-missing"
    assert body["detail"] == Reason.ROLE_MISSING.sentence
    assert "alice" not in json.dumps(body)


@pytest.mark.parametrize(
    ("reason", "challenge"),
    [
        (Reason.NO_CREDENTIALS, "Bearer"),
        (Reason.TOKEN_EXPIRED, 'Bearer error="invalid_token"'),
        (Reason.CREDENTIALS_AMBIGUOUS, 'Bearer error="invalid_request"'),
        (Reason.ROLE_MISSING, None),
    ],
)
def test_a_401_says_what_would_help(reason: Reason, challenge: str | None) -> None:
    """RFC 6750 section 3: no error code where no credentials came."""
    assert headers(answer(Deny(reason))).get("www-authenticate") == challenge


def test_a_401_asks_for_a_password_where_one_would_do() -> None:
    """Both challenges in one header (RFC 9110 section 11.6.1), so that a browser can ask."""
    decision = Decision("d-1", Deny(Reason.NO_CREDENTIALS), 7)
    response = CheckResponse.FromString(Encoder(basic=True).encode(decision))
    assert headers(response)["www-authenticate"] == 'Basic realm="extauthz", charset="UTF-8", Bearer'


def test_a_503_says_when_to_come_back() -> None:
    """``Retry-After`` in seconds, from the denial or a second."""
    assert headers(answer(Deny(Reason.KEYS_UNAVAILABLE, retry_after=30)))["retry-after"] == "30"
    assert headers(answer(Deny(Reason.OVERLOADED)))["retry-after"] == "1"


def test_grpc_callers_get_a_status_and_plain_text() -> None:
    """The body becomes grpc-message; JSON has no place there."""
    response = answer(Deny(Reason.NO_CREDENTIALS), grpc=True)
    assert headers(response)["grpc-status"] == "16"
    assert response.denied_response.body == "Unauthorized (decision d-1)"


@pytest.mark.parametrize("verdict", [Allow("orders", "read"), Deny(Reason.NO_RULE, "", "orders", "read")])
def test_the_access_log_can_say_why(verdict: Allow | Deny) -> None:
    """Dynamic metadata holds reason, policy, rule, subject and decision id, and nothing else."""
    facts = {key: value.string_value for key, value in answer(verdict).dynamic_metadata.fields.items()}
    assert facts == {
        "reason": verdict.reason.word,
        "policy": "orders",
        "rule": "read",
        "subject": "alice",
        "decision_id": "d-1",
    }


def test_a_denial_can_not_say_allowed() -> None:
    """The value itself can't be made (I1)."""
    with pytest.raises(ValueError, match="allowed"):
        Deny(Reason.ALLOWED)


def test_the_answer_of_last_resort_is_a_denial() -> None:
    """It exists before anything can go wrong."""
    response = CheckResponse.FromString(INTERNAL_ERROR_ANSWER)
    assert (response.status.code, response.denied_response.status.code) == (13, 500)
