"""One request's journey: what the proxy sent -> canonical request -> identity -> policy -> decision."""

from extauthz.check.journey import Authenticator, Check, Unsettled, Wait
from extauthz.check.request import RequestRules, canonical_request

__all__ = ["Authenticator", "Check", "RequestRules", "Unsettled", "Wait", "canonical_request"]
