"""The headers of an allowed request: what is set, how it is encoded, and that every other owned one is removed."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.model import Allow, Deny, Identity, Peer, Request
from extauthz.policy import Snapshot
from extauthz.policy.expression import read_header_value
from extauthz.policy.response import encode

Decide = Callable[..., Allow | Deny]
MakeRequest = Callable[..., Request]
MakeIdentity = Callable[..., Identity]


def headers_of(verdict: Allow | Deny) -> tuple[dict[str, str], tuple[str, ...]]:
    assert isinstance(verdict, Allow)
    return dict(verdict.set_headers), verdict.remove_headers


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("identity.subject", "alice"),
        (" identity.subject ", "alice"),
        ("identity.roles", "admin,user"),
        ("identity.scopes", ""),
        ("claims.tenant", "acme"),
        ("claims.groups", "a%2Cb,c%25,d"),
        ("'roles: ' + identity.roles[0]", "roles: admin"),
        ("string(claims.number)", "7"),
        ("''", ""),
        ("[]", ""),
        ("identity.roles.filter(r, r == 'x')", ""),
        ("claims.missing", None),
        ("claims.number", None),
        ("claims.mixed", None),
        ("claims.object", None),
        ("claims.nothing", None),
        ("source.principal", None),
        ("claims.long", None),
        ("claims.fits", "x" * 8192),
    ],
)
def test_a_header_is_a_string_or_a_list_of_strings_or_removed(
    decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity, source: str, expected: str | None
) -> None:
    """Errors, absent values, other types and values beyond 8 KiB remove the header."""
    claims = {
        "tenant": "acme",
        "groups": ["a,b", "c%", "d"],
        "number": 7,
        "mixed": ["a", 1],
        "object": {"a": "b"},
        "nothing": None,
        "long": "x" * 8193,
        "fits": "x" * 8192,
    }
    spec = {"rules": [{}], "response": {"headers": {"x-auth-it": source}}}
    verdict = decide(spec, make_request(), make_identity("user", "admin", claims=claims))
    assert headers_of(verdict) == (({}, ("x-auth-it",)) if expected is None else ({"x-auth-it": expected}, ()))


@pytest.mark.parametrize("source", ["1", "claims", "request.time", "true", "null", "[1]", "request.headers", "b'x'"])
def test_an_expression_that_can_be_no_header_is_refused(source: str) -> None:
    """What is known to be of another type is told when the policy is loaded."""
    faults = read_header_value(source)
    assert isinstance(faults, list)
    assert "a header must be a string" in faults[0].message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain value!", "plain value!"),
        ("a,b", "a%2Cb"),
        ("100%", "100%25"),
        ("a\r\nx-evil: 1", "a%0D%0Ax-evil: 1"),
        ("\x7f\t", "%7F%09"),
        (" admin", "%20admin"),
        ("admin  ", "admin %20"),
        (" ", "%20"),
        (["user", " admin"], "user,%20admin"),
        ("Zoë", "Zo%C3%AB"),
        ("😀", "%F0%9F%98%80"),
        (["a,b", "c"], "a%2Cb,c"),
        ([], ""),
        (["", ""], ","),
        ("\ud800", None),
    ],
)
def test_unsafe_characters_are_percent_encoded_in_each_element(value: Any, expected: str | None) -> None:
    """Per cent signs, commas, controls and what is not ASCII; the comma between elements stays."""
    assert encode(value) == expected


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=4))
def test_the_receiver_gets_back_exactly_the_list_that_was_meant(values: list[str]) -> None:
    """Splitting at commas and decoding is the inverse, and a header never holds anything but printable ASCII."""
    encoded = encode(values)
    assert encoded is not None
    assert [unquote(part.strip()) for part in encoded.split(",")] == values
    assert all(" " <= char <= "~" for char in encoded)


def test_every_owned_header_is_set_or_removed_on_each_allow(
    load_specs: Callable[..., Snapshot], make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """I5: also the headers of policies that do not cover the request or do not accept the caller. What a policy removes
    goes from each request that it covers.
    """
    snapshot = load_specs(
        {
            "a": {"rules": [{}], "response": {"headers": {"x-auth-a": "identity.subject"}}},
            "b": {
                "authentication": {"providers": ["partner"]},
                "response": {"headers": {"x-auth-b": "identity.subject"}, "removeHeaders": ["cookie"]},
            },
            "c": {"targets": [{"hosts": ["elsewhere"]}], "response": {"headers": {"x-auth-c": "'x'"}}},
            "d": {"response": {"headers": {"x-auth-d": "claims.missing"}, "removeHeaders": ["authorization"]}},
        }
    )
    assert snapshot.owned_headers == ("x-auth-a", "x-auth-b", "x-auth-c", "x-auth-d")
    request = make_request()
    verdict = snapshot.decide(request, snapshot.select(request), make_identity())
    removed = ("authorization", "cookie", "x-auth-b", "x-auth-c", "x-auth-d")
    assert headers_of(verdict) == ({"x-auth-a": "alice"}, removed)


@pytest.mark.parametrize("caller", [None, "corporate", "partner"])
def test_what_a_policy_removes_is_removed_whoever_asks(
    load_specs: Callable[..., Snapshot], make_request: MakeRequest, make_identity: MakeIdentity, caller: str | None
) -> None:
    """A caller whom only another policy accepts does not keep the header that this one takes away."""
    snapshot = load_specs(
        {
            "open": {"authentication": {"optional": True}, "rules": [{"roles": ["anonymous", "user"]}]},
            "strict": {
                "authentication": {"providers": ["partner"]},
                "response": {"removeHeaders": ["x-auth-internal"]},
            },
        }
    )
    request = make_request(headers={"x-auth-internal": ("1",)})
    identity = None if caller is None else make_identity("user", provider=caller)
    verdict = snapshot.decide(request, snapshot.select(request), identity)
    assert headers_of(verdict) == ({}, ("x-auth-internal",))


def test_policies_that_share_a_header_set_it_once(
    load_specs: Callable[..., Snapshot], make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """The same expression in two policies is no conflict."""
    response = {"response": {"headers": {"x-auth-subject": "identity.subject"}}}
    snapshot = load_specs({"a": {"rules": [{}]} | response, "b": response})
    request = make_request()
    verdict = snapshot.decide(request, snapshot.select(request), make_identity())
    assert headers_of(verdict) == ({"x-auth-subject": "alice"}, ())


def test_an_anonymous_caller_has_no_subject_to_forward(decide: Decide, make_request: MakeRequest) -> None:
    """The header is removed rather than left as the client sent it, or set to nothing."""
    spec = {
        "authentication": {"optional": True},
        "rules": [{"role": "anonymous"}],
        "response": {"headers": {"x-auth-subject": "identity.subject", "x-auth-roles": "identity.roles"}},
    }
    request = make_request(headers={"x-auth-subject": ("root",)}, source=Peer())
    assert headers_of(decide(spec, request)) == ({"x-auth-roles": "anonymous"}, ("x-auth-subject",))


def test_a_name_is_never_both_set_and_removed(
    load_specs: Callable[..., Snapshot], make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """Even in a set that the loader would have refused, removing wins."""
    setter = load_specs({"a": {"rules": [{}], "response": {"headers": {"x-auth-a": "identity.subject"}}}})
    remover = load_specs({"b": {"response": {"removeHeaders": ["x-auth-a"]}}})
    snapshot = Snapshot((*setter.policies, *remover.policies), 1)
    request = make_request()
    verdict = snapshot.decide(request, snapshot.select(request), make_identity())
    assert headers_of(verdict) == ({}, ("x-auth-a",))
