"""Callers known by the certificate of their connection."""

import contextlib
import datetime as dt
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from extauthz.identity import Authenticator, MeshProvider, RoleRules
from extauthz.identity.certificate import CertificateError, read_certificate
from extauthz.model import Deny, Identity, Peer, Reason, Request
from extauthz.wire import decode
from tests.identity.issuer import NOW, FakeFetcher, authenticator, provider, request

WEB = "spiffe://cluster.local/ns/shop/sa/web"
GATEWAY = "spiffe://cluster.local/ns/edge/sa/ingress"
WAYPOINT = "spiffe://cluster.local/ns/shop/sa/waypoint"
MESH = frozenset({"mesh"})

KEY = ec.generate_private_key(ec.SECP256R1())


def mesh(**parts: Any) -> MeshProvider:
    return MeshProvider(**{"name": "mesh", "trust_domains": frozenset({"cluster.local"}), **parts})


def behind_gateway(**parts: Any) -> MeshProvider:
    return mesh(trusted_peers=frozenset({GATEWAY}), **parts)


def roles(mapping: Mapping[str, str], *may_grant: str) -> RoleRules:
    return RoleRules(mapping=mapping, may_grant=frozenset(may_grant) or None)


def asked(principal: str, xfcc: str | Sequence[str] | None = None, certificate: str = "") -> Request:
    headers = {} if xfcc is None else {"x-forwarded-client-cert": xfcc}
    return request(headers, source=Peer("10.0.0.9", 4000, principal, certificate))


def who(*providers: MeshProvider, names: frozenset[str] = MESH, **parts: Any) -> Authenticator:
    return Authenticator(providers, parts.pop("includes", {}), fetcher=FakeFetcher(), now=lambda: NOW, **parts)


def outcome(
    principal: str, xfcc: str | Sequence[str] | None = None, by: MeshProvider | None = None, certificate: str = ""
) -> str:
    """The subject that is found, ``nobody``, or the reason of a denial."""
    found = who(by or mesh()).peer(asked(principal, xfcc, certificate), MESH)
    if isinstance(found, Deny):
        assert found.provider == "mesh"
        return found.reason.word
    return "nobody" if found is None else found.subject


def certificate(
    *uris: str, dns: Sequence[str] = (), subject: str = "Lab", days: float = 1, names: Sequence[x509.GeneralName] = ()
) -> str:
    """URL-encoded PEM as Envoy sends it, for a certificate that is good until ``days`` after now."""
    end = dt.datetime.fromtimestamp(NOW, dt.UTC) + dt.timedelta(days=days)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 4711)
    builder = builder.not_valid_before(end - dt.timedelta(days=30)).not_valid_after(end)
    alternatives = [
        *map(x509.UniformResourceIdentifier, uris),
        *map(x509.DNSName, dns),
        *names,
    ]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return quote(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM))


# ------------------------------------------------------------------------------------------------------- the principal


def test_a_spiffe_id_of_the_trust_domain_is_a_caller() -> None:
    """P27: subject, issuer and claims come from the ID alone."""
    found = who(mesh()).peer(asked(WEB), MESH)
    assert isinstance(found, Identity)
    assert (found.subject, found.issuer, found.provider) == (WEB, "spiffe://cluster.local", "mesh")
    assert found.claims == {"trustDomain": "cluster.local", "namespace": "shop", "serviceAccount": "web"}
    assert (found.roles, found.scopes, found.expires) == (frozenset(), (), None)


def test_an_id_of_another_form_has_no_service_account() -> None:
    """Only ``/ns/<namespace>/sa/<account>`` says one."""
    found = who(mesh()).peer(asked("spiffe://cluster.local/vm/17"), MESH)
    assert isinstance(found, Identity)
    assert found.claims == {"trustDomain": "cluster.local"}


@pytest.mark.parametrize(
    ("principal", "word"),
    [
        ("", "nobody"),
        ("spiffe://other.local/ns/shop/sa/web", "issuer-unknown"),
        ("spiffe://cluster.local.evil/ns/shop/sa/web", "issuer-unknown"),
        ("web.example.com", "issuer-unknown"),
        ("CN=spiffe://cluster.local/ns/shop/sa/web", "issuer-unknown"),
        ("https://cluster.local/ns/shop/sa/web", "issuer-unknown"),
        ("spiffe://cluster.local", "credentials-invalid"),
        ("SPIFFE://cluster.local/ns/shop/sa/web", "credentials-invalid"),
        ("spiffe://cluster.local/ns/shop/../edge/sa/ingress", "credentials-invalid"),
        ("spiffe://cluster.local/ns/shop/sa/web?x", "credentials-invalid"),
        ("spiffe://cluster.local:443/ns/shop/sa/web", "credentials-invalid"),
        (" spiffe://cluster.local/ns/shop/sa/web", "credentials-invalid"),
        ("spiffe://cluster.local/" + "a" * 2048, "credentials-invalid"),
    ],
)
def test_other_principals_prove_nothing(principal: str, word: str) -> None:
    """E39: another trust domain and another namespace are somebody else's; what begins like an ID and is none is bad."""
    assert outcome(principal) == word


def test_other_principals_are_taken_only_by_name() -> None:
    """E39: whole names, each written out; never something that a pattern covers."""
    by = mesh(
        other_principals=frozenset({"web.example.com", "O=Lab,CN=alice\\, admin"}),
        roles=roles({"web.example.com": "user", "*": "any"}),
    )
    found = who(by).peer(asked("web.example.com"), MESH)
    assert isinstance(found, Identity)
    assert (found.issuer, set(found.roles), dict(found.claims)) == ("mesh", {"user"}, {})
    assert outcome("O=Lab,CN=alice\\, admin", by=by) == "O=Lab,CN=alice\\, admin"
    for near in (
        "WEB.example.com",
        "web.example.com.",
        "xweb.example.com",
        "O=Lab,CN=alice, admin",
        "CN=web.example.com",
    ):
        assert outcome(near, by=by) == "issuer-unknown"


def test_it_counts_for_nobody_who_did_not_ask() -> None:
    """A provider whose name no policy gives is not looked at, and the certificate is never a token."""
    both = Authenticator([provider(), mesh()], {}, fetcher=FakeFetcher(), now=lambda: NOW)
    assert both.peer(asked(WEB), frozenset({"corporate"})) is None
    assert both.peer(asked(WEB), frozenset()) is None
    assert both.authenticate(asked(WEB)) is None
    assert isinstance(both.peer(asked(WEB), frozenset({"corporate", "mesh"})), Identity)


# ---------------------------------------------------------------------------------------------------------------- roles


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({}, set()),
        ({WEB: "admin"}, {"admin", "user"}),
        ({"spiffe://cluster.local/ns/shop/*": "user", WEB: "writer"}, {"user", "writer"}),
        ({"*/sa/web": "user"}, {"user"}),
        ({"*": "user"}, {"user"}),
        ({"spiffe://cluster.local/ns/sho/*": "user", "*/sa/we": "user"}, set()),
        ({"*": "unwanted"}, set()),
        ({"*": "anonymous"}, set()),
    ],
)
def test_roles_come_from_patterns_alone(mapping: Mapping[str, str], expected: set[str]) -> None:
    """Every key that matches gives its role; mayGrant, inclusion and ``anonymous`` are as for any provider."""
    by = mesh(roles=roles(mapping, "admin", "user", "writer", "anonymous"))
    found = who(by, includes={"admin": ["user"]}).peer(asked(WEB), MESH)
    assert isinstance(found, Identity)
    assert found.roles == expected


def test_no_key_no_role() -> None:
    """A principal never is a role by its own name, as a claim would be."""
    found = who(mesh(roles=RoleRules())).peer(asked("spiffe://cluster.local/admin"), MESH)
    assert isinstance(found, Identity)
    assert found.roles == frozenset()


@pytest.mark.parametrize(
    "parts",
    [
        {"name": ""},
        {"trust_domains": frozenset()},
        {"trust_domains": frozenset({"Cluster.local"})},
        {"other_principals": frozenset({WEB})},
        {"other_principals": frozenset({""})},
        {"trusted_peers": frozenset({""})},
        {"roles": roles({"web": "user"})},
        {"roles": roles({"spiffe://cluster.local/ns/shop*": "user"})},
    ],
)
def test_providers_that_could_take_somebody_for_somebody_else_are_refused(parts: Mapping[str, Any]) -> None:
    """The second line behind the configuration."""
    with pytest.raises(ValueError, match=r"^provider '"):
        mesh(**parts)


@pytest.mark.parametrize(
    "other",
    [
        mesh(name="other"),
        mesh(name="other", trust_domains=frozenset(), other_principals=frozenset({"web.example.com"})),
        mesh(trust_domains=frozenset({"b.local"})),
    ],
)
def test_two_providers_never_vouch_for_one_caller(other: MeshProvider) -> None:
    """Which one's roles count would be a guess."""
    first = mesh(other_principals=frozenset({"web.example.com"}))
    if other.name == "mesh":
        with pytest.raises(ValueError, match="its name is that of another"):
            who(first, other)
    else:
        with pytest.raises(ValueError, match="takes the same callers"):
            who(first, other)


def test_several_trust_domains_have_roles_of_their_own() -> None:
    """The provider whose domain it is answers, whatever the others make of the caller."""
    partner = mesh(name="partner", trust_domains=frozenset({"partner.local"}), roles=roles({"*": "guest"}, "guest"))
    both = who(mesh(roles=roles({"*": "user"}, "user")), partner)
    names = frozenset({"mesh", "partner"})
    found = [both.peer(asked(f"spiffe://{domain}/x"), names) for domain in ("cluster.local", "partner.local")]
    assert [(one.provider, set(one.roles)) for one in found if isinstance(one, Identity)] == [
        ("mesh", {"user"}),
        ("partner", {"guest"}),
    ]
    stranger = both.peer(asked("spiffe://c.local/x"), names)
    assert isinstance(stranger, Deny)
    assert stranger.reason is Reason.ISSUER_UNKNOWN


def test_they_are_ready_at_once() -> None:
    """Nothing is fetched, so nothing can fail."""
    both = Authenticator([provider(), mesh()], {}, fetcher=FakeFetcher(), now=lambda: NOW)
    assert [(state.name, state.usable) for state in both.states()] == [("corporate", True), ("mesh", True)]
    assert both.started()


# ----------------------------------------------------------------------------------------------------------- the header


def test_a_client_can_not_say_who_it_is() -> None:
    """E32, P27: from anybody but a trusted peer the header means nothing, well-formed or not."""
    for forged in (f"URI={GATEWAY}", f"By={GATEWAY};URI=spiffe://cluster.local/ns/kube-system/sa/root", '"', ""):
        assert outcome(WEB, forged) == WEB
        assert outcome(WEB, forged, by=behind_gateway()) == WEB
        assert outcome("", forged, by=behind_gateway()) == "nobody"
        assert outcome("spiffe://other.local/x", forged, by=behind_gateway()) == "issuer-unknown"


@pytest.mark.parametrize(
    "xfcc",
    [
        f"By={GATEWAY};Hash=00;URI={WEB}",
        f'By={GATEWAY};Hash=00;Subject="CN=a,b;URI=x";URI={WEB};DNS=web.example.com',
        f"By=x;URI={WEB},By=spiffe://cluster.local/ns/shop/sa/orders;Hash=00;URI={GATEWAY}",
        f"URI=spiffe://cluster.local/root,URI={WEB}",
        f"URI=spiffe://cluster.local/root,By={GATEWAY};URI={WEB},By=x;URI={GATEWAY},URI={GATEWAY}",
        [f"URI=spiffe://cluster.local/root,URI={WEB}", f"URI={GATEWAY}"],
    ],
)
def test_behind_a_gateway_the_caller_is_who_the_gateway_says(xfcc: str | Sequence[str]) -> None:
    """E32: from the right, elements about trusted peers are passed, and what stands left of the caller is never read."""
    assert outcome(GATEWAY, xfcc, by=behind_gateway()) == WEB


@pytest.mark.parametrize(
    ("xfcc", "word"),
    [
        (None, "nobody"),
        (f"By=x;URI={GATEWAY}", "nobody"),
        ("", "credentials-invalid"),
        ("Hash=00", "credentials-invalid"),
        (f"URI={WEB},Hash=00;URI=", "credentials-invalid"),
        (f"URI={WEB};URI={GATEWAY}", "credentials-invalid"),
        (f'URI={WEB},URI="', "credentials-invalid"),
        (f'"{WEB}', "credentials-invalid"),
        (f"DNS={WEB}", "credentials-invalid"),
        (f'Subject="{WEB}"', "credentials-invalid"),
        (f"URI={WEB}?", "credentials-invalid"),
        ("URI=spiffe://other.local/ns/shop/sa/web", "issuer-unknown"),
        ("DNS=web.example.com", "issuer-unknown"),
    ],
)
def test_a_gateway_that_does_not_say_well_who_calls_gives_nobody(xfcc: str | None, word: str) -> None:
    """It never speaks for itself: its own identity would be everybody's. Nothing malformed is repaired."""
    assert outcome(GATEWAY, xfcc, by=behind_gateway()) == word


def test_a_gateway_that_one_provider_trusts_is_a_caller_for_none() -> None:
    """Whoever speaks for others does so everywhere."""
    both = who(mesh(), behind_gateway(name="edge", trust_domains=frozenset({"edge.local"})))
    assert both.peer(asked(GATEWAY), MESH) is None
    assert both.peer(asked(GATEWAY, "URI=spiffe://edge.local/x"), MESH) is None
    found = both.peer(asked(GATEWAY, "URI=spiffe://edge.local/x"), frozenset({"mesh", "edge"}))
    assert isinstance(found, Identity)
    assert found.provider == "edge"


def test_a_waypoint_is_believed_only_where_that_is_asked_for() -> None:
    """Its requests have no principal, and the one element that it replaced the header by."""
    assert outcome("", f"URI={WEB}") == "nobody"
    by = mesh(without_principal=True)
    assert outcome("", f"URI={WEB}", by=by) == WEB
    assert outcome("", None, by=by) == "nobody"
    assert outcome("", f"URI={GATEWAY},URI={WEB}", by=by) == "credentials-invalid"
    assert outcome("", "URI", by=by) == "credentials-invalid"
    # With a principal the header is what it always is.
    assert outcome(WAYPOINT, f"URI={WEB}", by=by) == WAYPOINT


def test_the_chain_of_a_real_envoy(captures: dict[str, bytes]) -> None:
    """Istio's sidecar appended an element about the peer; the one before it came from that peer."""
    sent = decode(captures["istio_shaped_custom_policy"])
    assert sent.http is not None
    asking = request(sent.http.headers, source=sent.source)
    client = "spiffe://cluster.local/ns/default/sa/client"
    plain = who(mesh()).peer(asking, MESH)
    trusted = who(mesh(trusted_peers=frozenset({client}))).peer(asking, MESH)
    assert isinstance(plain, Identity)
    assert isinstance(trusted, Identity)
    assert (plain.subject, trusted.subject) == (client, GATEWAY)


names = st.sampled_from([WEB, GATEWAY, WAYPOINT, "spiffe://other.local/x", "web.example.com", "spiffe://", "", "x\0"])
garbage = st.text(alphabet='URI=,;"\\ By', max_size=12)


@given(
    principal=names,
    chain=st.lists(names.map(lambda name: f"URI={name}") | garbage, max_size=5),
    waypoint=st.booleans(),
)
def test_only_what_a_trusted_peer_wrote_makes_a_caller(principal: str, chain: list[str], *, waypoint: bool) -> None:
    """P27: whoever is found is the connection's own principal, or the nearest name that a trusted peer wrote."""
    by = mesh(trusted_peers=frozenset({GATEWAY}), without_principal=waypoint)
    found = who(by).peer(asked(principal, ",".join(chain)), MESH)
    if not isinstance(found, Identity):
        return
    assert found.subject in {WEB, WAYPOINT}
    if found.subject != principal:
        assert principal == GATEWAY or (waypoint and not principal and len(chain) == 1)
        written = [link.removeprefix("URI=") for link in chain]
        while written[-1] == GATEWAY:
            written.pop()
        assert found.subject == written[-1]


# ------------------------------------------------------------------------------------------------------ the certificate


def test_what_the_certificate_says_becomes_claims(captures: dict[str, bytes]) -> None:
    """P27: from the certificate that the proxy sends beside the principal, never from a header."""
    sent = decode(captures["mtls_spiffe"])
    found = who(mesh()).peer(request(source=sent.source), MESH)
    assert isinstance(found, Identity)
    assert found.claims["namespace"] == "default"
    assert found.claims["certificate"] == {
        "uris": ("spiffe://cluster.local/ns/default/sa/client",),
        "dnsNames": ("client.example.com",),
        "serialNumber": "45708d2fa7358c91b23d5ef9e04619c0023da6eb",
        "subject": "O=Lab",
        "issuer": "CN=Lab CA",
        "notBefore": "2026-01-01T00:00:00Z",
        "notAfter": "2035-12-30T00:00:00Z",
    }
    assert found.expires == 2082585600.0


def test_a_certificate_without_names_goes_by_its_subject(captures: dict[str, bytes]) -> None:
    """Whose spelling is the proxy's own."""
    source = decode(captures["mtls_subject_only"]).source
    by = mesh(other_principals=frozenset({source.principal}))
    assert outcome(source.principal, by=by, certificate=source.certificate) == source.principal


@pytest.mark.parametrize(
    "shown",
    [
        certificate(dns=[WEB]),
        certificate(subject=WEB),
        certificate("spiffe://cluster.local/other"),
        certificate(WEB, "spiffe://cluster.local/other"),
        certificate("spiffe://cluster.local/other", WEB),
        certificate(WEB + "\0"),
        certificate(WEB, dns=["a\0b"]),
        certificate(WEB, dns=[f"n{number}.example.com" for number in range(64)]),
        certificate(WEB).replace("MII", "MIJ", 1),
        certificate(WEB)[:-60],
        quote("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        "%00",
        "%",
        "x" * 20_000,
    ],
    ids=range(14),
)
def test_a_certificate_that_can_not_be_the_principals_proves_nothing(shown: str) -> None:
    """E39: a DNS name or a subject that is written like a SPIFFE ID is told apart; an SVID has one URI."""
    assert outcome(WEB, certificate=shown) == "credentials-invalid"


@pytest.mark.parametrize(
    ("days", "word"), [(1, WEB), (-0.0006, WEB), (-0.0008, "token-expired"), (-10, "token-expired")]
)
def test_a_certificate_that_has_expired_since_the_handshake_is_refused(days: float, word: str) -> None:
    """T33: with a minute for clocks that differ. Proxies look only when a connection begins."""
    assert outcome(WEB, certificate=certificate(WEB, days=days)) == word


def test_the_certificate_of_a_gateway_is_not_the_callers() -> None:
    """Behind a gateway, what the proxy sends is about the gateway: the caller gets none of it."""
    shown = certificate(GATEWAY)
    found = who(behind_gateway()).peer(asked(GATEWAY, f"URI={WEB}", shown), MESH)
    assert isinstance(found, Identity)
    assert ("certificate" in found.claims, found.expires) == (False, None)


@pytest.mark.parametrize(
    ("shown", "word"),
    [
        (certificate(dns=[GATEWAY]), "credentials-invalid"),
        (certificate(WEB), "credentials-invalid"),
        (certificate(GATEWAY, days=-1), "token-expired"),
    ],
    ids=range(3),
)
def test_a_gateway_that_its_certificate_does_not_show_speaks_for_nobody(shown: str, word: str) -> None:
    """E39: a DNS name that is written like the gateway's SPIFFE ID would otherwise be anybody."""
    assert outcome(GATEWAY, f"URI={WEB}", by=behind_gateway(), certificate=shown) == word


def test_odd_certificates_never_raise_anything_else() -> None:
    """Names of other kinds are passed over."""
    odd = [x509.RFC822Name("a@example.com"), x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))]
    assert read_certificate(certificate(WEB, names=odd)).uris == (WEB,)
    with pytest.raises(CertificateError, match="can't be read"):
        read_certificate("")


def test_a_serial_number_that_is_not_positive_is_refused() -> None:
    """RFC 5280 section 4.1.2.2; the library only warns, in the log of whoever runs the server."""
    good = ssl.PEM_cert_to_DER_cert(unquote(certificate(WEB)))
    bad = good.replace(b"\x02\x02\x12\x67", b"\x02\x02\x92\x67", 1)
    assert bad != good
    with pytest.raises(CertificateError, match="can't be read"):
        read_certificate(quote(ssl.DER_cert_to_PEM_cert(bad)))


@given(st.binary(max_size=80), st.integers(0, 500))
def test_broken_certificates_are_errors_and_nothing_else(noise: bytes, place: int) -> None:
    """Whatever bytes a proxy sends."""
    good = certificate(WEB)
    for text in (quote(noise), good[:place] + noise.decode("latin-1") + good[place + len(noise) :]):
        with contextlib.suppress(CertificateError):
            read_certificate(text)


def test_callers_are_kept_within_bounds() -> None:
    """I7: a caller is worked out once, however many different ones there have been."""
    one = who(mesh())
    first = one.peer(asked(WEB), MESH)
    assert one.peer(asked(WEB), MESH) is first
    for number in range(1100):
        one.peer(asked(f"spiffe://cluster.local/{number}"), MESH)
    again = one.peer(asked(WEB), MESH)
    assert again == first
    assert again is not first


def test_the_connection_says_nothing_to_a_provider_of_tokens() -> None:
    """A certificate in the message changes nothing for those who did not ask."""
    asking = asked(WEB, certificate="%")
    assert authenticator().authenticate(asking) is None
    assert "BEGIN" not in repr(replace(asking, source=Peer("", 0, WEB, certificate(WEB))))
