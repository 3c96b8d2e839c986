"""A JWT rule of a RequestAuthentication as a provider of ours."""

from collections.abc import Mapping
from typing import Any

from extauthz.workbench.istio.losses import Losses

__all__ = ["provider_of"]

_LEFT = {
    "outputPayloadToHeader": "give the service single claims with response.headers of a policy",
    "outputClaimToHeaders": "write response.headers in a policy: x-auth-...: claims....",
    "forwardOriginalToken": "a policy removes the token with response.removeHeaders: [authorization]",
    "timeout": "keys are fetched in the background",
}


def provider_of(name: str, rule: Mapping[str, Any], losses: Losses) -> dict[str, Any]:
    """The entry for ``providers``; what has no equivalent is a loss."""
    jwt: dict[str, Any] = {"issuer": rule["issuer"]}
    audiences = rule.get("audiences")
    if audiences:
        jwt["audiences"] = [str(audience) for audience in audiences]
    else:
        losses.add(
            "audiences-needed",
            f"provider {name!r}: Istio takes tokens for any audience here; ours names its audiences",
            "replace CHANGE-ME by what your tokens have in aud",
        )
        jwt["audiences"] = ["CHANGE-ME"]
    for theirs, ours in (("jwksUri", "jwksUri"), ("jwks_uri", "jwksUri"), ("jwks", "jwks")):
        if rule.get(theirs):
            jwt[ours] = rule[theirs]
    provider: dict[str, Any] = {"name": name, "jwt": jwt}
    places: dict[str, Any] = {}
    headers = rule.get("fromHeaders")
    if headers:
        places["headers"] = [
            {"name": str(header["name"]).lower(), "prefix": str(header.get("prefix", ""))} for header in headers
        ]
    if rule.get("fromParams"):
        places["query"] = [str(name) for name in rule["fromParams"]]
    if rule.get("fromCookies"):
        places["cookies"] = [str(name) for name in rule["fromCookies"]]
    if places:
        provider["from"] = places
    else:
        losses.add(
            "places",
            f"provider {name!r}: Istio also takes tokens from the query parameter access_token",
            "add from: {query: [access_token]} if a client can do nothing else",
        )
    for word, mend in _LEFT.items():
        if rule.get(word):
            losses.add("left-out", f"provider {name!r}: {word} is left out", mend)
    return provider
