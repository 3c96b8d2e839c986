"""The names on the spans of Checks and of requests to the http listener: one place, since OpenTelemetry's own are still moving.

``rpc.*`` and ``http.*`` are OpenTelemetry's semantic conventions, ``extauthz.*`` are ours. A span says what was decided
and by which configured rule. It doesn't say what was asked for: the parent, Envoy's own span, has host and path already,
and the subject, headers and query of a caller don't belong into a trace store at all. So every value below comes from our
tables, from the configuration or from a random generator, and none is text that the client chose.
"""

from collections.abc import Mapping
from types import MappingProxyType

from extauthz.model import Allow, AttributeContext, Decision, ShadowVerdict

__all__ = [
    "ABANDONED",
    "FIXED",
    "GRANT",
    "OUTCOME",
    "REQUEST",
    "SHADOW_EVENT",
    "SPAN_NAME",
    "WAITED",
    "decision_attributes",
    "request_attributes",
    "request_name",
    "shadow_attributes",
    "wait_attributes",
    "wait_name",
]

SPAN_NAME = "envoy.service.auth.v3.Authorization/Check"
"""``$package.$service/$method``, as the RPC conventions ask for."""

RPC_SYSTEM = "rpc.system"
RPC_SERVICE = "rpc.service"
RPC_METHOD = "rpc.method"
HTTP_REQUEST_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
ERROR_TYPE = "error.type"
PROTOCOL_NAME = "network.protocol.name"
PROTOCOL_VERSION = "network.protocol.version"

DECISION = "extauthz.decision"
REASON = "extauthz.reason"
POLICY = "extauthz.policy"
RULE = "extauthz.rule"
PROVIDER = "extauthz.provider"
DECISION_ID = "extauthz.decision_id"
POLICY_GENERATION = "extauthz.policy_generation"
GRANT = "extauthz.grant"
OUTCOME = "extauthz.outcome"
"""On the span of a token request: the grant, and ``issued``, ``done``, ``active``, ``inactive`` or the code of the error."""
ABANDONED = "extauthz.abandoned"
"""True on the span of a Check or a request whose caller went away before the answer; such a span has no decision."""

WAITED = "extauthz.waited"
"""Seconds of the span that were spent waiting for a provider or the store; absent where nothing was waited for."""

WAITED_FOR = "extauthz.waited_for"
"""On the span of a wait: ``keys``, ``introspection``, ``directory`` or ``store``; below a token request ``store``,
``signature`` or ``provider``."""

SHADOW_EVENT = "extauthz.shadow"
"""An event on the span for each policy or rule in shadow mode that had something to say."""

FIXED: Mapping[str, str] = MappingProxyType(
    {RPC_SYSTEM: "grpc", RPC_SERVICE: "envoy.service.auth.v3.Authorization", RPC_METHOD: "Check"}
)
"""What every span of a Check carries."""
REQUEST: Mapping[str, str] = MappingProxyType({PROTOCOL_NAME: "http", PROTOCOL_VERSION: "1.1"})
"""What every span of a request to the http listener carries."""

_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_FAULT = 500
_OTHER_METHOD = "_OTHER"
"""The conventions' word for a method that is none of the known ones: a method is text that the client chooses."""


def decision_attributes(decision: Decision, sent: AttributeContext | None) -> dict[str, str | int]:
    """What the span of a decided Check carries besides ``FIXED``; a name without value is left out."""
    verdict = decision.verdict
    attributes: dict[str, str | int] = {
        DECISION: "allow" if isinstance(verdict, Allow) else "deny",
        REASON: verdict.reason.word,
        DECISION_ID: decision.id,
        POLICY_GENERATION: decision.generation,
    }
    if verdict.policy:
        attributes[POLICY] = verdict.policy
    if verdict.rule:
        attributes[RULE] = verdict.rule
    provider = decision.identity.provider if decision.identity is not None else getattr(verdict, "provider", "")
    if provider:
        attributes[PROVIDER] = provider
    if sent is not None and sent.http is not None:
        method = sent.http.method
        attributes[HTTP_REQUEST_METHOD] = method if method in _METHODS else _OTHER_METHOD
    return attributes


def request_name(method: str, route: str) -> str:
    """The name of the span of a request to the http listener."""
    known = method if method in _METHODS else "HTTP"
    return f"{known} {route}" if route else known


def request_attributes(method: str, route: str, status: int) -> dict[str, str | int]:
    """What the span of an answered request carries besides ``REQUEST``. ``url.path`` is left out: clients write into it."""
    attributes: dict[str, str | int] = {
        HTTP_REQUEST_METHOD: method if method in _METHODS else _OTHER_METHOD,
        HTTP_STATUS: status,
    }
    if route:
        attributes[HTTP_ROUTE] = route
    if status >= _FAULT:
        attributes[ERROR_TYPE] = str(status)
    return attributes


def shadow_attributes(shadow: ShadowVerdict) -> dict[str, str]:
    """What the event of a shadow verdict carries: who spoke, and the decision that would have been."""
    verdict = shadow.verdict
    attributes = {
        POLICY: shadow.policy,
        DECISION: "allow" if isinstance(verdict, Allow) else "deny",
        REASON: verdict.reason.word,
    }
    if shadow.rule:
        attributes[RULE] = shadow.rule
    return attributes


def wait_name(what: str) -> str:
    """The name of the span of a wait."""
    return f"wait for {what}"


def wait_attributes(what: str, provider: str) -> dict[str, str]:
    """What the span of a wait carries."""
    return {WAITED_FOR: what, PROVIDER: provider} if provider else {WAITED_FOR: what}
