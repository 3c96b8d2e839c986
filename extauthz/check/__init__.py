"""One request's journey: what the proxy sent -> canonical request -> identity -> policy -> decision."""

from extauthz.check.explanation import Explaining, JourneyExplanation, explain
from extauthz.check.journey import Authenticator, Check, Uncharged, Unsettled, Wait
from extauthz.check.rates import DeniedLimit
from extauthz.check.request import RequestRules, canonical_request

__all__ = [
    "Authenticator",
    "Check",
    "DeniedLimit",
    "Explaining",
    "JourneyExplanation",
    "RequestRules",
    "Uncharged",
    "Unsettled",
    "Wait",
    "canonical_request",
    "explain",
]
