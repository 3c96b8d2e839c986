"""Clients prove who they are, in their one way (O4, O5, O7)."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.identity import ClientAssertions
from extauthz.tokens.door import Rates
from extauthz.tokens.http import HttpAnswer
from tests.tokens.parts import ASSERTION_TYPE, ISSUER, SECRET, Desk, basic, error, settings

GRANT = {"grant_type": "client_credentials"}
FORM_TYPE = ("application/x-www-form-urlencoded",)


async def by_assertion(desk: Desk, assertion: str, **form: str) -> HttpAnswer:
    proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    return await desk.token({**GRANT, **proof, **form}, client="")


def certificate(*names: x509.GeneralName) -> bytes:
    key = generate_private_key(SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "spiffe://x/ns/a/sa/b")])
    begins = datetime.now(UTC)
    builder = x509.CertificateBuilder(called, called, key.public_key(), 1, begins, begins + timedelta(days=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


class TestSecrets:
    async def test_basic(self, desk: Desk) -> None:
        """Both halves are form-encoded (RFC 6749 section 2.3.1): the secret here has every sign that matters."""
        assert (await desk.credentials()).status == 200

    async def test_post(self, desk: Desk) -> None:
        """In the form."""
        answer = await desk.token({**GRANT, "client_id": "form", "client_secret": SECRET}, client="")
        assert answer.status == 200

    async def test_two_secrets_are_in_force_while_one_replaces_the_other(self, desk: Desk) -> None:
        """Both are taken."""
        for secret in (SECRET, "another"):
            headers = {"content-type": FORM_TYPE, "authorization": (basic("shop", secret),)}
            assert (await desk.token(GRANT, client="", headers=headers)).status == 200

    @pytest.mark.parametrize(
        ("client", "secret"),
        [
            ("shop", "wrong"),
            ("nobody", SECRET),
            ("gone", SECRET),
            ("form", SECRET),
            ("signer", SECRET),
            ("cert", ""),
            ("a:b", "x"),
        ],
    )
    async def test_all_failures_look_the_same(self, desk: Desk, client: str, secret: str) -> None:
        """A wrong secret, no such client, a disabled one, and another method than the registered one: one answer (O4, O7)."""
        headers = {"content-type": FORM_TYPE, "authorization": (basic(client, secret),)}
        answer = await desk.token(GRANT, client="", headers=headers)
        headers["authorization"] = (basic("shop", "x"),)
        assert answer == await desk.token(GRANT, client="", headers=headers)
        assert error(answer) == (401, "invalid_client")
        assert ("www-authenticate", 'Basic realm="extauthz", charset="UTF-8"') in answer.headers
        assert ("cache-control", "no-store") in answer.headers

    async def test_as_much_is_computed_for_an_unknown_client(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Counted, not timed: the secret is digested and compared as for a client that exists (O7)."""
        compared: list[int] = []

        def compare(one: bytes, other: bytes) -> bool:
            compared.append(len(other))
            return one == other

        monkeypatch.setattr("hmac.compare_digest", compare)
        await desk.token(GRANT, client="nobody")
        assert compared == [32]

    @pytest.mark.parametrize(
        "header",
        [
            "Bearer x",
            "Basic",
            "Basic !!!",
            "Basic " + base64.b64encode(b"shop").decode(),
            "Basic " + base64.b64encode(b"\xff:x").decode(),
            "Basic " + base64.b64encode(b"%zz:x").decode(),
            "Basic " + base64.b64encode(b":x").decode(),
        ],
    )
    async def test_unsound_headers(self, desk: Desk, header: str) -> None:
        """They prove nobody, and are not skipped over to another way."""
        headers = {"content-type": FORM_TYPE, "authorization": (header,)}
        answer = await desk.token({**GRANT, "client_id": "shop"}, client="", headers=headers)
        assert error(answer) == (401, "invalid_client")

    async def test_the_query_proves_nothing(self, desk: Desk) -> None:
        """What is in a URL is in everybody's logs (O1)."""
        query = f"client_id=form&client_secret=x&{GRANT}"
        assert error(await desk.token({}, client="", query=query)) == (401, "invalid_client")
        assert error(await desk.token({}, query="grant_type=client_credentials")) == (400, "invalid_request")


class TestTwoWays:
    async def test_two_at_once_are_refused(self, desk: Desk) -> None:
        """Even if both are right (RFC 6749 section 2.3, O4)."""
        assertion = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": desk.assertion()}
        secret = {"client_id": "form", "client_secret": SECRET}
        for client, form in (("shop", secret), ("shop", assertion), ("", secret | assertion)):
            assert error(await desk.token(GRANT | form, client=client)) == (400, "invalid_request")
        headers = {"content-type": FORM_TYPE, "authorization": (basic("shop", SECRET),) * 2}
        assert error(await desk.token(GRANT, client="", headers=headers)) == (400, "invalid_request")

    async def test_another_client_id_is_refused(self, desk: Desk) -> None:
        """The one in the form must be the one that is proven."""
        assert error(await desk.token({**GRANT, "client_id": "form"})) == (401, "invalid_client")
        assert (await desk.token({**GRANT, "client_id": "shop"})).status == 200

    async def test_no_way_at_all(self, desk: Desk) -> None:
        """A name alone proves nothing: there are no public clients."""
        assert error(await desk.token({**GRANT, "client_id": "shop"}, client="")) == (401, "invalid_client")


class TestAssertions:
    async def test_a_good_one(self, desk: Desk) -> None:
        """With and without client_id beside it."""
        assert (await by_assertion(desk, desk.assertion())).status == 200
        assert (await by_assertion(desk, desk.assertion(), client_id="signer")).status == 200

    async def test_each_is_good_once(self, desk: Desk) -> None:
        """Its jti is used up (O5), also between replicas that share the store."""
        assertion = desk.assertion()
        assert (await by_assertion(desk, assertion)).status == 200
        assert error(await by_assertion(desk, assertion)) == (401, "invalid_client")
        # A replica whose clock is ahead has thrown away what has ended for it.
        await desk.store.purge(desk.clock.time + 200)
        assert error(await by_assertion(desk, assertion)) == (401, "invalid_client")

    @pytest.mark.parametrize(
        "changed",
        [
            {"aud": "https://auth.example.com/oauth2/token"},
            {"aud": [ISSUER]},
            {"aud": [ISSUER, "https://evil.example.com"]},
            {"aud": None},
            {"aud": ISSUER + "/"},
            {"iss": "shop"},
            {"iss": None},
            {"sub": "shop"},
            {"sub": None},
            {"exp": None},
            {"exp": 1_800_000_000 - 11},
            {"exp": 1_800_000_000 + 3600},
            {"exp": True},
            {"exp": "1800000060"},
            {"nbf": 1_800_000_000 + 60},
            {"iat": 1_800_000_000 + 60},
            {"jti": None},
            {"jti": ""},
            {"jti": 7},
            {"jti": "x" * 257},
        ],
    )
    async def test_what_it_must_say(self, desk: Desk, changed: dict[str, Any]) -> None:
        """For us alone by name, short-lived, and of the client in both places (RFC 7523 section 3, O5)."""
        assert error(await by_assertion(desk, desk.assertion(**changed))) == (401, "invalid_client")

    @pytest.mark.parametrize(
        "changed", [{"nbf": 1_800_000_010}, {"iat": 1_800_000_010}, {"exp": 1_800_000_000 - 9}, {"iat": None}]
    )
    async def test_clocks_may_differ_by_ten_seconds(self, desk: Desk, changed: dict[str, Any]) -> None:
        """Both ways (O5)."""
        assert (await by_assertion(desk, desk.assertion(**changed))).status == 200

    async def test_who_signed(self, desk: Desk) -> None:
        """Another key, no key at all, and a secret that is the public key are refused."""
        assert error(await by_assertion(desk, desk.assertion(key=generate_private_key(SECP256R1())))) == (
            401,
            "invalid_client",
        )
        claims = jwt.decode(desk.assertion(), options={"verify_signature": False})
        unsigned = jwt.encode(claims, "", "none")
        symmetric = jwt.encode(claims, "k" * 32, "HS256")
        for forged in (unsigned, symmetric, unsigned + "x", "a.b", ""):
            assert error(await by_assertion(desk, forged)) == (401, "invalid_client")
        typed = jwt.encode(claims, desk.client_key, "ES256", {"typ": "at+jwt"})
        assert error(await by_assertion(desk, typed)) == (401, "invalid_client")

    async def test_as_much_is_verified_for_an_unknown_client(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Counted, not timed; and nobody's key, whose other half everybody has, opens nothing (O7)."""
        verified: list[str] = []
        real = ClientAssertions.verified

        def verify(reader: ClientAssertions, assertion: str, keys: Any) -> Any:
            verified.append(assertion)
            return real(reader, assertion, keys)

        monkeypatch.setattr(ClientAssertions, "verified", verify)
        nobodys = derive_private_key(1, SECP256R1())
        for client in ("nobody", "shop", "cert"):
            forged = desk.assertion(client, nobodys)
            assert error(await by_assertion(desk, forged)) == (401, "invalid_client")
            assert verified.pop() == forged

    async def test_a_refused_one_is_not_used_up(self, desk: Desk) -> None:
        """Whoever can't sign can't spend a client's jti."""
        good = desk.assertion(jti="one")
        await by_assertion(desk, desk.assertion(jti="one", key=generate_private_key(SECP256R1())))
        assert (await by_assertion(desk, good)).status == 200

    async def test_another_type(self, desk: Desk) -> None:
        """SAML is not spoken."""
        form = {
            **GRANT,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
            "client_assertion": "x",
        }
        assert error(await desk.token(form, client="")) == (400, "invalid_request")


async def test_no_more_assertions_are_remembered_than_requests_are_allowed() -> None:
    """I7: each that is used up is kept for minutes. A client that goes on gets 429; one that is shown again counts nothing."""
    desk = Desk(settings=settings(rates=Rates(5, 1000, 1000)))
    used = desk.assertion()
    assert (await by_assertion(desk, used)).status == 200
    for _ in range(20):
        assert (await by_assertion(desk, used)).status == 401
    answers = [(await by_assertion(desk, desk.assertion())).status for _ in range(20)]
    assert answers == [200] * 4 + [429] * 16
    assert len(desk.store._claimed) == 5


class TestCertificates:
    @pytest.mark.parametrize(
        "name", [x509.UniformResourceIdentifier("spiffe://x/ns/a/sa/b"), x509.DNSName("billing.example.com")]
    )
    async def test_by_its_name(self, desk: Desk, name: x509.GeneralName) -> None:
        """The URI or DNS name that the client is registered with (RFC 8705 section 2.1)."""
        form = {**GRANT, "client_id": "cert"}
        shown = certificate(x509.DNSName("other"), name)
        cert = replace(desk.clients["cert"], certificate_subject=name.value)
        desk.registry.configure({**desk.clients, "cert": cert})
        assert (await desk.token(form, client="", certificate=shown)).status == 200

    @pytest.mark.parametrize(
        "shown",
        [
            certificate(),
            certificate(x509.DNSName("x")),
            certificate(x509.UniformResourceIdentifier("spiffe://x/ns/a/sa/b2")),
            certificate(x509.DNSName("spiffe://x/ns/a/sa/b")),
            b"",
            b"\x30\x00",
        ],
    )
    async def test_by_no_other(self, desk: Desk, shown: bytes) -> None:
        """The subject's common name is nobody's name; a DNS name is no URI; what can't be read proves nobody."""
        assert error(await desk.token({**GRANT, "client_id": "cert"}, client="", certificate=shown)) == (
            401,
            "invalid_client",
        )

    async def test_a_mesh_shows_one_for_every_request(self, desk: Desk) -> None:
        """Beside another proof it is none; for a client of another method it proves nothing."""
        shown = certificate(x509.UniformResourceIdentifier("spiffe://x/ns/a/sa/b"))
        assert (await desk.token(GRANT, certificate=shown)).status == 200
        assert error(await desk.token({**GRANT, "client_id": "shop"}, client="", certificate=shown)) == (
            401,
            "invalid_client",
        )


class TestRates:
    async def test_guessing_gets_429(self) -> None:
        """By address, with Retry-After, and without flooding the audit log (R16)."""
        desk = Desk(settings=settings(rates=Rates(1000, 5, 1000)))
        answers = [await desk.token(GRANT, client="nobody") for _ in range(8)]
        assert [answer.status for answer in answers] == [401] * 5 + [429] * 3
        assert int(dict(answers[-1].headers)["retry-after"]) >= 1
        assert len(desk.log.events) == 5
        assert (await desk.token(GRANT, client="nobody", address="192.0.2.2")).status == 401

    async def test_nobody_is_locked_out(self) -> None:
        """A client behind the same address, and one that is guessed at, goes on (R16)."""
        desk = Desk(settings=settings(rates=Rates(1000, 1, 1000)))
        wrong = {"content-type": FORM_TYPE, "authorization": (basic("shop", "wrong"),)}
        for _ in range(5):
            await desk.token(GRANT, client="", headers=wrong)
        assert (await desk.token(GRANT)).status == 200

    async def test_addresses_of_one_network_are_one(self) -> None:
        """An IPv6 network has more addresses than there are counters (R2)."""
        desk = Desk(settings=settings(rates=Rates(1000, 1, 1000)))
        assert (await desk.token(GRANT, client="nobody", address="2001:db8::1")).status == 401
        assert (await desk.token(GRANT, client="nobody", address="2001:db8::2")).status == 429

    async def test_a_client_has_a_rate(self) -> None:
        """Its own, which nobody else uses up."""
        desk = Desk(settings=settings(rates=Rates(2, 1000, 1000)))
        assert [(await desk.credentials()).status for _ in range(3)] == [200, 200, 429]
        assert (await desk.credentials("worker")).status == 200
        desk.clock.time += 61
        assert (await desk.credentials()).status == 200
