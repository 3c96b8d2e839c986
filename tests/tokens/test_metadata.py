"""What the service says of itself, and its keys."""

import json
from importlib.resources import files

from extauthz.tokens.clients import GRANTS
from tests.tokens.parts import ISSUER, Desk, body, settings


async def test_both_documents(desk: Desk) -> None:
    """RFC 8414 and OpenID Connect Discovery, true to fact (O8)."""
    openid = await desk.get("/.well-known/openid-configuration")
    told = body(openid)
    assert told == body(await desk.get("/.well-known/oauth-authorization-server"))
    assert told["issuer"] == ISSUER
    assert told["jwks_uri"] == ISSUER + "/.well-known/jwks.json"
    assert set(told["grant_types_supported"]) == GRANTS
    for name in ("token", "revocation", "introspection"):
        assert told[f"{name}_endpoint"].startswith(ISSUER + "/oauth2/")
        assert told[f"{name}_endpoint_auth_methods_supported"] == [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ]
        assert "none" not in told[f"{name}_endpoint_auth_signing_alg_values_supported"]
        assert (await desk.post(told[f"{name}_endpoint"].removeprefix(ISSUER), {})).status == 401
    assert "authorization_endpoint" not in told
    assert told["response_types_supported"] == []
    assert ("cache-control", "public, max-age=300") in openid.headers


async def test_certificates_are_told_where_they_are_asked_for() -> None:
    """And nowhere else."""
    desk = Desk(settings=settings(client_certificates=True))
    told = body(await desk.get("/.well-known/openid-configuration"))
    assert "tls_client_auth" in told["token_endpoint_auth_methods_supported"]


async def test_keys(desk: Desk) -> None:
    """With caching headers; who has them already is told so (RFC 9110 section 13.1.2)."""
    answer = await desk.get("/.well-known/jwks.json")
    assert {("etag", '"one"'), ("cache-control", "public, max-age=60")} <= set(answer.headers)
    assert "d" not in body(answer)["keys"][0]
    for tag in ('"one"', 'W/"one"', '"x", "one"', "*"):
        known = await desk.get("/.well-known/jwks.json", if_none_match=tag)
        assert (known.status, known.body) == (304, b"")
        assert ("etag", '"one"') in known.headers
    for tag in ('"two"', "one", ""):
        assert (await desk.get("/.well-known/jwks.json", if_none_match=tag)).status == 200


async def test_keys_that_were_never_read(desk: Desk) -> None:
    """A service whose vault was sealed when it started says so: whoever would get an empty set would keep it."""
    desk.signer.unread = True
    answer = await desk.get("/.well-known/jwks.json", if_none_match='"one"')
    assert answer.status == 503
    assert {("retry-after", "2"), ("cache-control", "no-store")} <= set(answer.headers)
    assert "vault" not in answer.body.decode()
    assert ("cache-control", "no-store") in (await desk.get("/.well-known/openid-configuration")).headers


async def test_methods(desk: Desk) -> None:
    """Nothing but GET is answered; HEAD comes as that (``extauthz.serving.http_listener``)."""
    posted = await desk.get("/.well-known/jwks.json", "POST")
    assert posted.status == 405
    assert ("allow", "GET, HEAD") in posted.headers


async def test_openapi(desk: Desk) -> None:
    """The description is served, and knows every path."""
    written = json.loads(files("extauthz.tokens").joinpath("openapi.json").read_bytes())
    assert body(await desk.get("/openapi.json")) == written
    for path, methods in written["paths"].items():
        for method in methods:
            answer = await (desk.post(path, {}) if method == "post" else desk.get(path))
            assert answer.status != 404
            assert str(answer.status) in methods[method]["responses"]
