"""A JWT rule of a RequestAuthentication as a provider of ours."""

from typing import Any

from extauthz.workbench.istio.form import JwtRuleForm
from extauthz.workbench.istio.losses import Losses

__all__ = ["provider_of"]

_LEFT = {
    "output_payload_to_header": "give the service single claims with response.headers of a policy",
    "output_claim_to_headers": "write response.headers in a policy: x-auth-...: claims....",
    "forward_original_token": "a policy removes the token with response.removeHeaders: [authorization]",
    "timeout": "keys are fetched in the background",
}


def provider_of(name: str, rule: JwtRuleForm, losses: Losses) -> dict[str, Any]:
    """The entry for ``providers``; what has no equivalent is a loss."""
    jwt: dict[str, Any] = {"issuer": rule.issuer}
    if rule.audiences:
        jwt["audiences"] = list(rule.audiences)
    else:
        losses.add(
            "audiences-needed",
            f"provider {name!r}: Istio takes tokens for any audience here; ours names its audiences",
            "replace CHANGE-ME by what your tokens have in aud",
        )
        jwt["audiences"] = ["CHANGE-ME"]
    keys = rule.jwks_uri or rule.jwks_uri_alias
    jwt |= {"jwksUri": keys} if keys else {}
    jwt |= {"jwks": rule.jwks} if rule.jwks else {}
    provider: dict[str, Any] = {"name": name, "jwt": jwt}
    places: dict[str, Any] = {}
    if rule.from_headers:
        places["headers"] = [{"name": place.name.lower(), "prefix": place.prefix} for place in rule.from_headers]
    if rule.from_params:
        places["query"] = list(rule.from_params)
    if rule.from_cookies:
        places["cookies"] = list(rule.from_cookies)
    if places:
        provider["from"] = places
    else:
        losses.add(
            "places",
            f"provider {name!r}: Istio also takes tokens from the query parameter access_token",
            "add from: {query: [access_token]} if a client can do nothing else",
        )
    for field, mend in _LEFT.items():
        if getattr(rule, field):
            word = JwtRuleForm.model_fields[field].alias
            losses.add("left-out", f"provider {name!r}: {word} is left out", mend)
    return provider
