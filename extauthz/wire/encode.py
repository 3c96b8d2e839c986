"""``Decision`` -> CheckResponse bytes.

Envoy allows a request whose response has status 0, *or no status, or no bytes at all*. So there are exactly two ways to
make a response here: ``allowed``, which takes an ``Allow``, and ``_deny``, which takes a ``Deny``; both set the status
and the matching half of the oneof, and nothing else in the server builds a CheckResponse (invariant I1).

Headers leave with an explicit ``OVERWRITE_IF_EXISTS_OR_ADD``: Envoy 1.40 overwrites whatever the action says, later ones
obey it, and the unset action means append there. Names and values were checked when the policy was loaded and its
expressions evaluated; they are checked once more, because Envoy would pass on a header that breaks the request.
"""

import json
import secrets
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from extauthz._pb.envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.model import Allow, Decision, Deny, Identity, Reason
from extauthz.wire.allowed import MAX_SUBJECT, allowed
from extauthz.wire.rate_limits import rate_limit_headers

__all__ = ["INTERNAL_ERROR_ANSWER", "Encoder"]

_OVERWRITE = HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
_BASIC = 'Basic realm="extauthz", charset="UTF-8", '
_RETRY_AFTER = 1
"""Seconds, where a denial with 503 does not say."""
_REMEMBERED = 4096
_ANY_ID = secrets.token_hex(12)
"""Stands for the decision's id in a denial that is kept, as long as a real one, and in nobody's words."""


class _Denial(NamedTuple):
    """What the answer to a denial depends on, besides the decision's id."""

    reason: Reason
    policy: str
    rule: str
    retry_after: int | None
    subject: str | None
    grpc: bool


class Encoder:
    """Writes answers."""

    def __init__(self, *, reasons: bool = False, basic: bool = False, rate_limits: bool = False) -> None:
        """Keep the choices.

        ``reasons`` puts the reason and its sentence into the bodies that clients see; with ``basic`` a 401 says that a
        user name and a password would do as well (RFC 7617); with ``rate_limits`` callers who are allowed are told what
        is left of their rate, as those who are denied for it always are.
        """
        self._reasons = reasons
        self._rate_limits = rate_limits
        self._challenge = _BASIC if basic else ""
        self._remembered = lru_cache(_REMEMBERED)(self._denial)

    def encode(self, decision: Decision) -> bytes:
        """The serialised ``envoy.service.auth.v3.CheckResponse`` of a decision.

        Raises:
            ValueError: An allow carries headers that must not leave this server.

        """
        verdict = decision.verdict
        if isinstance(verdict, Allow):
            if self._rate_limits and verdict.charge is not None and not verdict.charge.shadow:
                return allowed(decision, verdict, rate_limit_headers(verdict.charge, decision.permit))
            return allowed(decision, verdict)
        if decision.charge is not None or len(decision.id) != len(_ANY_ID):
            return self._deny(decision, verdict).SerializeToString()
        subject = decision.identity.subject if decision.identity is not None else None
        kind = _Denial(verdict.reason, verdict.policy, verdict.rule, verdict.retry_after, subject, decision.grpc)
        return self._remembered(kind).replace(_ANY_ID.encode(), decision.id.encode())

    def _denial(self, kind: "_Denial") -> bytes:
        """The answer to all decisions of a kind, with ``_ANY_ID`` in place of theirs."""
        deny = Deny(kind.reason, "", kind.policy, kind.rule, retry_after=kind.retry_after)
        who = None if kind.subject is None else Identity(kind.subject, "", "", frozenset())
        return self._deny(Decision(_ANY_ID, deny, 0, identity=who, grpc=kind.grpc), deny).SerializeToString()

    def _deny(self, decision: Decision, deny: Deny) -> CheckResponse:
        reason = deny.reason
        response = CheckResponse()
        response.status.code = reason.grpc
        denied = response.denied_response
        denied.status.code = reason.http  # type: ignore[assignment]  # StatusCode's numbers are the HTTP ones
        headers = [("cache-control", "no-store")]
        if reason.challenge is not None:
            error = f' error="{reason.challenge}"' if reason.challenge else ""
            headers.append(("www-authenticate", f"{self._challenge}Bearer{error}"))
        if deny.retry_after is not None or reason.http == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append(("retry-after", str(_RETRY_AFTER if deny.retry_after is None else deny.retry_after)))
        if decision.charge is not None and reason is Reason.RATE_LIMITED:
            headers += rate_limit_headers(decision.charge, decision.permit)
        if decision.grpc:
            headers.append(("grpc-status", str(reason.grpc)))
            denied.body = self._text(decision, reason)
        else:
            headers.append(("content-type", "application/problem+json"))
            denied.body = self._problem(decision, reason)
        denied.headers.extend(_overwrite(name, value) for name, value in headers)
        _tell(response, decision, deny)
        return response

    def _problem(self, decision: Decision, reason: Reason) -> str:
        """The body: problem details of RFC 9457, with the decision's id and, if asked for, its reason."""
        problem: dict[str, str | int] = {
            "type": "about:blank",
            "title": HTTPStatus(reason.http).phrase,
            "status": reason.http,
            "decision_id": decision.id,
        }
        if self._reasons:
            problem |= {"reason": reason.word, "detail": reason.sentence}
        return json.dumps(problem)

    def _text(self, decision: Decision, reason: Reason) -> str:
        """The body for a gRPC caller, which Envoy turns into ``grpc-message``."""
        text = f"{reason.word}: {reason.sentence}" if self._reasons else HTTPStatus(reason.http).phrase
        return f"{text} (decision {decision.id})"


def _overwrite(name: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=_OVERWRITE)


def _tell(response: CheckResponse, decision: Decision, verdict: Deny) -> None:
    """Say in dynamic metadata why, for Envoy's access log. Nothing secret: access logs print it."""
    facts = {
        "reason": verdict.reason.word,
        "policy": verdict.policy,
        "rule": verdict.rule,
        "subject": decision.identity.subject[:MAX_SUBJECT] if decision.identity else "",
        "decision_id": decision.id,
    }
    fields = response.dynamic_metadata.fields
    for name, value in facts.items():
        fields[name].string_value = value


INTERNAL_ERROR_ANSWER = Encoder().encode(Decision("unknown", Deny(Reason.INTERNAL_ERROR), 0))
"""A denial that exists before anything can go wrong."""
