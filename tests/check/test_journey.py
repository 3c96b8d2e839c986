"""One request's journey: which step answers, and by which snapshot."""

from dataclasses import replace

from extauthz.model import Deny, Reason
from tests.journey import ALLOW_ALL, Always, Journey, assert_denies, caller, check_request, policies, reason_of

USERS_ONLY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: users}
spec:
  targets: [{hosts: [orders.example.com]}]
  rules: [{role: user}]
"""


def test_without_policies_everything_is_denied() -> None:
    """An empty set is a set that allows nothing."""
    response = Journey().answer(check_request())
    assert_denies(response)
    assert reason_of(response) == "no-policy"


def test_the_form_is_judged_before_the_credentials() -> None:
    """Nobody is asked about a request that can be read in two ways."""
    authenticator = Always(caller("user"))
    journey = Journey(policies(ALLOW_ALL), authenticator)
    assert reason_of(journey.answer(check_request(path="/a/../b"))) == "path-ambiguous"
    assert authenticator.asked == []


def test_targets_are_judged_before_the_credentials() -> None:
    """A token is not verified for a request that no policy covers."""
    authenticator = Always(Deny(Reason.TOKEN_EXPIRED))
    journey = Journey(policies(USERS_ONLY), authenticator)
    assert reason_of(journey.answer(check_request(host="other.example.com"))) == "no-policy"
    assert authenticator.asked == []


def test_bad_credentials_are_refused_also_where_none_are_needed() -> None:
    """A refused token never makes its bearer anonymous (T50)."""
    response = Journey(policies(ALLOW_ALL), Always(Deny(Reason.SIGNATURE_INVALID))).answer(check_request())
    assert_denies(response)
    assert reason_of(response) == "signature-invalid"


def test_a_caller_with_the_role_passes() -> None:
    """Identity and policy together allow."""
    response = Journey(policies(USERS_ONLY), Always(caller("user"))).answer(check_request())
    assert response.status.code == 0
    assert response.WhichOneof("http_response") == "ok_response"


def test_the_next_request_is_judged_by_the_next_snapshot() -> None:
    """A reload swaps one reference; a decision names the generation that judged it."""
    journey = Journey(policies(USERS_ONLY, generation=1), Always(caller("user")))
    assert journey.answer(check_request()).status.code == 0
    journey.check.snapshot = policies(generation=2)
    assert reason_of(journey.answer(check_request())) == "no-policy"
    assert [decision.generation for decision in journey.watcher.finished] == [1, 2]


def test_each_decision_has_its_own_id() -> None:
    """Two answers are never confused."""
    journey = Journey()
    journey.answer(check_request())
    journey.answer(b"garbage")
    first, second = journey.watcher.finished
    assert first.id != second.id


MESH = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: workloads}
spec:
  targets: [{hosts: [orders.example.com]}]
  authentication: {providers: [corporate, mesh]}
  rules: [{role: workload}, {role: user}]
"""


def test_the_connection_is_asked_only_where_a_policy_names_a_mesh_provider() -> None:
    """Everywhere else the peer's certificate is no credential, and costs nothing."""
    authenticator = Always(None, connection=caller("workload", provider="mesh"))
    journey = Journey(policies(MESH, ALLOW_ALL), authenticator)
    assert journey.answer(check_request(host="other.example.com")).status.code == 0
    assert authenticator.peers_asked == []
    assert journey.answer(check_request()).status.code == 0
    assert authenticator.peers_asked == [frozenset({"mesh"})]


def test_a_decision_tells_of_the_caller_that_was_allowed() -> None:
    """The token's, or that of the connection."""
    peer = caller("workload", subject="spiffe://cluster.local/web", provider="mesh")
    for found, connection, subject in (
        (None, peer, "spiffe://cluster.local/web"),
        (caller("user"), peer, "alice"),
        (caller("user"), Deny(Reason.CREDENTIALS_INVALID), "alice"),
    ):
        journey = Journey(policies(MESH), Always(found, connection=connection))
        response = journey.answer(check_request())
        assert response.status.code == 0
        assert response.dynamic_metadata.fields["subject"].string_value == subject


def test_a_refused_peer_is_a_denial_with_its_reason_where_there_is_no_token() -> None:
    """T50: and a refused token is final, whoever is connected."""
    peer = caller("workload", provider="mesh")
    for found, connection, reason in (
        (None, Deny(Reason.CREDENTIALS_INVALID, provider="mesh"), "credentials-invalid"),
        (None, None, "no-credentials"),
        (Deny(Reason.TOKEN_EXPIRED), peer, "token-expired"),
    ):
        response = Journey(policies(MESH), Always(found, connection=connection)).answer(check_request())
        assert_denies(response)
        assert reason_of(response) == reason


def test_a_token_in_the_query_is_taken_out_whoever_is_allowed() -> None:
    """T11: also where a policy lets the peer in and not the bearer of the token."""
    mesh_only = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: mesh-only}
spec:
  authentication: {providers: [mesh]}
  rules: [{role: user}]
"""
    bearer = replace(caller("user"), query_parameter="%74oken")
    for text, peer in ((USERS_ONLY, None), (mesh_only, caller("user", provider="mesh"))):
        response = Journey(policies(text), Always(bearer, connection=peer)).answer(
            check_request(path="/orders?%74oken=x")
        )
        assert response.status.code == 0
        assert list(response.ok_response.query_parameters_to_remove) == ["%74oken"]
