"""What a rule matches: the words of `to` and `from`, and what they do where an attribute is absent."""

from collections.abc import Callable
from typing import Any

import pytest

from extauthz.model import Allow, Deny, Identity, Peer, Reason, Request

Decide = Callable[..., Allow | Deny]
MakeRequest = Callable[..., Request]
MakeIdentity = Callable[..., Identity]


@pytest.fixture
def allows(decide: Decide, make_identity: MakeIdentity) -> Callable[..., bool]:
    """Whether an allow rule with these words lets Alice through."""

    def ask(rule: dict[str, Any], request: Request) -> bool:
        return isinstance(decide({"rules": [rule]}, request, make_identity("user")), Allow)

    return ask


@pytest.fixture
def denies(decide: Decide, make_identity: MakeIdentity) -> Callable[..., bool]:
    """Whether a deny rule with these words stops Alice, whom another rule allows anything."""

    def ask(rule: dict[str, Any], request: Request) -> bool:
        everything = [{}, {"to": [{"ports": [8443]}]}, {"to": [{"methods": ["CONNECT"]}]}]
        verdict = decide({"deny": [rule], "rules": everything}, request, make_identity("user"))
        if isinstance(verdict, Deny):
            assert verdict.reason is Reason.DENIED_BY_RULE
        return isinstance(verdict, Deny)

    return ask


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"hosts": ["orders.example.com"]}, True),
        ({"hosts": ["*.example.com", "x"]}, True),
        ({"hosts": ["example.com"]}, False),
        ({"notHosts": ["*.example.com"]}, False),
        ({"notHosts": ["example.com"]}, True),
        ({"ports": [8443]}, True),
        ({"ports": ["443", "8443"]}, True),
        ({"ports": [443]}, False),
        ({"notPorts": [8443]}, False),
        ({"notPorts": [443]}, True),
        ({"methods": ["GET"]}, True),
        ({"methods": ["HEAD"]}, False),
        ({"notMethods": ["GET"]}, False),
        ({"notMethods": ["HEAD"]}, True),
        ({"paths": ["/orders"]}, True),
        ({"paths": ["/orders/"]}, False),
        ({"notPaths": ["/orders"]}, False),
        ({"notPaths": ["/orders/{id}"]}, True),
        ({"methods": ["GET"], "paths": ["/x"]}, False),
        ({"methods": ["GET"], "paths": ["/**"], "notPaths": ["/orders"]}, False),
        ({"methods": ["GET"], "notPaths": []}, True),
    ],
)
def test_the_words_of_an_operation_are_and_and_their_lists_or(
    allows: Callable[..., bool],
    denies: Callable[..., bool],
    make_request: MakeRequest,
    operation: dict[str, Any],
    expected: bool,
) -> None:
    """Each word must match, by one item of its list; with all attributes present allow and deny agree."""
    assert allows({"to": [operation]}, make_request()) is expected
    assert denies({"to": [operation]}, make_request()) is expected
    assert allows({"to": [{"paths": ["/nowhere"]}, operation]}, make_request()) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"principals": ["spiffe://t/ns/shop/sa/web"]}, True),
        ({"principals": ["spiffe://t/ns/shop/*"]}, True),
        ({"principals": ["spiffe://t/ns/bank/*"]}, False),
        ({"notPrincipals": ["spiffe://t/ns/shop/*"]}, False),
        ({"notPrincipals": ["spiffe://t/ns/bank/*"]}, True),
        ({"ipBlocks": ["10.0.0.0/8"]}, True),
        ({"ipBlocks": ["203.0.113.0/24"]}, False),
        ({"notIpBlocks": ["10.0.0.0/8"]}, False),
        ({"remoteIpBlocks": ["203.0.113.0/24"]}, True),
        ({"remoteIpBlocks": ["10.0.0.0/8"]}, False),
        ({"notRemoteIpBlocks": ["203.0.113.7"]}, False),
        ({"ipBlocks": ["10.0.0.0/8"], "remoteIpBlocks": ["10.0.0.0/8"]}, False),
    ],
)
def test_the_words_of_a_source_are_and_and_their_lists_or(
    allows: Callable[..., bool],
    denies: Callable[..., bool],
    make_request: MakeRequest,
    source: dict[str, Any],
    expected: bool,
) -> None:
    """ipBlocks look at the connection's peer, remoteIpBlocks at the client."""
    request = make_request(source=Peer("10.1.2.3", 4, "spiffe://t/ns/shop/sa/web"))
    assert allows({"from": [source]}, request) is expected
    assert denies({"from": [source]}, request) is expected
    assert allows({"from": [{"principals": ["nobody"]}, source]}, request) is expected


@pytest.mark.parametrize(
    ("source", "deny_matches"),
    [
        ({"principals": ["*"]}, False),
        ({"notPrincipals": ["x"]}, True),
        ({"notPrincipals": ["*"]}, True),
        ({"ipBlocks": ["0.0.0.0/0"]}, False),
        ({"notIpBlocks": ["10.0.0.0/8"]}, True),
        ({"remoteIpBlocks": ["192.0.2.0/24"]}, True),
        ({"notRemoteIpBlocks": ["192.0.2.0/24"]}, True),
    ],
)
def test_an_absent_attribute_of_the_peer_never_matches_in_an_allow(
    allows: Callable[..., bool],
    denies: Callable[..., bool],
    make_request: MakeRequest,
    source: dict[str, Any],
    deny_matches: bool,
) -> None:
    """In deny, not* and a client address that can't be told match: what is unknown is denied."""
    request = make_request(source=Peer(), source_ip=None, client_ip=None)
    assert not allows({"from": [source]}, request)
    assert denies({"from": [source]}, request) is deny_matches


def test_an_unreadable_peer_address_counts_as_denied_block(
    denies: Callable[..., bool], make_request: MakeRequest
) -> None:
    """An address that is there but no IP address might be in the block; that of a unix socket is absent."""
    rule = {"from": [{"ipBlocks": ["10.0.0.0/8"]}]}
    assert denies(rule, make_request(source=Peer("@weird"), source_ip=None))
    assert not denies(rule, make_request(source=Peer(""), source_ip=None))


@pytest.mark.parametrize(
    "operation",
    [
        {"hosts": ["*"]},
        {"notHosts": ["x"]},
        {"methods": ["GET"]},
        {"notMethods": ["GET"]},
        {"paths": ["/**"]},
        {"notPaths": ["/x"]},
        {"ports": [8443], "notPaths": ["/x"]},
    ],
)
def test_without_http_only_rules_that_name_just_ports_allow(
    allows: Callable[..., bool], make_request: MakeRequest, operation: dict[str, Any]
) -> None:
    """No word about HTTP, not even a negative one, can allow a TCP connection, and neither can a rule without `to`."""
    request = make_request(http=False)
    assert not allows({}, request)
    assert not allows({"to": [operation]}, request)
    assert allows({"to": [operation, {"ports": [8443]}]}, request)
    assert allows({"to": [operation, {"notPorts": [1]}]}, request)
    assert not allows({"to": [{"ports": [1]}]}, request)


def test_without_http_deny_rules_match_by_what_is_not_said(
    denies: Callable[..., bool], make_request: MakeRequest
) -> None:
    """A deny without `to` and one with a not* word cover TCP connections; a positive word about HTTP doesn't."""
    request = make_request(http=False)
    assert denies({}, request)
    assert denies({"to": [{"notPaths": ["/x"]}]}, request)
    assert denies({"to": [{"ports": [8443]}]}, request)
    assert not denies({"to": [{"paths": ["/**"]}]}, request)
    assert not denies({"to": [{"hosts": ["*"]}]}, request)


def test_an_absent_port_matches_no_port(
    allows: Callable[..., bool], denies: Callable[..., bool], make_request: MakeRequest
) -> None:
    """A destination that is a unix socket has no port: not* on it matches in deny only."""
    request = make_request(destination=Peer())
    assert not allows({"to": [{"ports": [8443]}]}, request)
    assert not allows({"to": [{"notPorts": [1]}]}, request)
    assert denies({"to": [{"notPorts": [1]}]}, request)


def test_connect_is_allowed_only_where_methods_names_it(
    allows: Callable[..., bool], denies: Callable[..., bool], make_request: MakeRequest
) -> None:
    """A tunnel hides every later request, so no rule means it by silence; a deny does."""
    request = make_request(method="CONNECT", path="", host="db.example.com")
    assert not allows({}, request)
    assert not allows({"to": [{"hosts": ["db.example.com"]}]}, request)
    assert not allows({"to": [{"notMethods": ["GET"]}]}, request)
    assert not allows({"to": [{"methods": ["CONNECT"], "paths": ["/**"]}]}, request)
    assert not allows({"to": [{"methods": ["CONNECT"], "notPaths": ["/x"]}]}, request)
    assert allows({"to": [{"methods": ["CONNECT"], "hosts": ["db.example.com"]}]}, request)
    assert not allows({"to": [{"methods": ["CONNECT"], "hosts": ["other.example.com"]}]}, request)
    assert denies({}, request)
    assert denies({"to": [{"hosts": ["db.example.com"]}]}, request)


def test_a_final_slash_does_not_dodge_a_deny(
    allows: Callable[..., bool], denies: Callable[..., bool], make_request: MakeRequest
) -> None:
    """`/orders` in deny or in notPaths covers `/orders/`; in an allow it doesn't."""
    request = make_request(path="/orders/")
    assert denies({"to": [{"paths": ["/orders"]}]}, request)
    assert denies({"to": [{"paths": ["/{any}"]}]}, request)
    assert not allows({"to": [{"paths": ["/orders"]}]}, request)
    assert not allows({"to": [{"paths": ["/**"], "notPaths": ["/orders"]}]}, request)


def test_case_insensitive_paths_cover_other_spellings(
    decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity, settings: Any
) -> None:
    """With the setting `/Admin` is `/admin` for deny and allow alike; without it they differ."""
    spec = {"deny": [{"to": [{"paths": ["/admin/**"]}]}], "rules": [{"to": [{"paths": ["/**"]}]}]}
    folded = type(settings)(providers=settings.providers, case_insensitive_paths=True)
    request, caller = make_request(path="/ADMIN/x"), make_identity("user")
    assert isinstance(decide(spec, request, caller, folded), Deny)
    assert isinstance(decide(spec, request, caller, settings), Allow)
    upper = {"rules": [{"to": [{"paths": ["/Admin/{Id}"]}]}]}
    assert isinstance(decide(upper, request, caller, folded), Allow)
    for name in ("request.url_path", "request.path"):
        condition = {"deny": [{"when": f"{name}.startsWith('/admin')"}], "rules": [{}]}
        assert isinstance(decide(condition, request, caller, folded), Deny)


@pytest.mark.parametrize(
    ("rule", "roles", "expected"),
    [
        ({}, (), True),
        ({"role": "user"}, ("user", "x"), True),
        ({"role": "user"}, ("users",), False),
        ({"roles": ["partner", "user"]}, ("user",), True),
        ({"role": "anonymous"}, ("user",), False),
        ({"role": "anonymous"}, ("anonymous",), False),
    ],
)
def test_roles_are_compared_exactly(
    decide: Decide,
    make_request: MakeRequest,
    make_identity: MakeIdentity,
    rule: dict[str, Any],
    roles: tuple[str, ...],
    expected: bool,
) -> None:
    """A rule without role takes any authenticated caller; no token can make its bearer anonymous."""
    spec = {"authentication": {"optional": True}, "rules": [rule]}
    verdict = decide(spec, make_request(), make_identity(*roles))
    assert isinstance(verdict, Allow) is expected
