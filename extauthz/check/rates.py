"""How often, as the last word on a request: an allow with a charge is final once a limiter has granted it.

Two limits are asked. The rate of the rule that allows, by whichever limiter the operator chose; what is refused there was
not counted. And, if it is set, a limit on denied requests by the client's address, so that guessing passwords is slow: it
is counted in this process alone, as a flood of refusals is nothing to bother a shared store with. It can lock nobody out
who can prove who they are without asking another server: the credentials of those are judged first, and only what
remains to be asked about, or was denied, is refused (R16).
"""

from dataclasses import replace
from typing import Protocol

from extauthz.canonical import address_key
from extauthz.model import Allow, Charge, Decision, Deny, Permit, Rate, Reason, Request, ShadowVerdict

__all__ = ["DeniedLimit", "DeniedLimiter", "limited"]

_UNCOUNTED = frozenset(reason for reason in Reason if reason.http >= 500) | {Reason.RATE_LIMITED}  # noqa: PLR2004
"""Denials that are our fault, or that a limit caused."""


class DeniedLimiter(Protocol):
    """A limiter that answers at once and can tell without counting. ``extauthz.limits.MemoryLimiter`` is one."""

    def take(self, charge: Charge) -> Permit | Deny:
        """Count, unless that would be too much."""
        ...

    def peek(self, charge: Charge) -> Permit | Deny:
        """What ``take`` would say, counting nothing."""
        ...


class DeniedLimit:
    """The limit on denied requests of one address. One per process."""

    def __init__(self, limiter: DeniedLimiter, per_minute: int) -> None:
        """Keep the limiter and how many denied requests an address may make in any 60 seconds."""
        self._limiter = limiter
        self._rate = Rate(per_minute)

    def refusal(self, request: Request) -> Deny | None:
        """The denial of a request that would have to wait for another server's word, if its address is exhausted."""
        charge = self._charge(request)
        return None if charge is None else _denial(self._limiter.peek(charge))

    def judge(self, request: Request, denial: Deny) -> Deny:
        """Count a denied request; what is said to an address that is exhausted is that, and nothing else."""
        charge = None if denial.reason in _UNCOUNTED else self._charge(request)
        return denial if charge is None else _denial(self._limiter.take(charge)) or denial

    def _charge(self, request: Request) -> Charge | None:
        address = request.client_ip
        return None if address is None else Charge(address_key(address), self._rate, "", "")


def _denial(said: Permit | Deny) -> Deny | None:
    if isinstance(said, Deny):
        return said
    if said.granted:
        return None
    return Deny(Reason.RATE_LIMITED, "its address has made too many denied requests", retry_after=said.retry_after)


def limited(decision: Decision, said: Permit | Deny) -> Decision:
    """A decision to allow, after a limiter was asked about its charge."""
    allow = decision.verdict
    charge = allow.charge if isinstance(allow, Allow) else None
    if charge is None:
        message = "only an allow with a charge can be limited"
        raise ValueError(message)
    if isinstance(said, Permit) and said.granted:
        return replace(decision, permit=said)
    if isinstance(said, Deny):
        refusal, permit = said, None
    else:
        detail = f"the rate of {charge.rate.per_minute} a minute is used up"
        if charge.rate.burst is not None:
            detail += f", or {charge.rate.burst} a second"
        refusal = Deny(Reason.RATE_LIMITED, detail, charge.policy, charge.rule, retry_after=said.retry_after)
        permit = said
    if charge.shadow:
        shadows = (*decision.shadows, ShadowVerdict(charge.policy, charge.rule, refusal))
        ordered = tuple(sorted(shadows, key=lambda shadow: (shadow.policy, shadow.rule)))
        return replace(decision, shadows=ordered, permit=permit)
    return replace(decision, verdict=refusal, charge=charge, permit=permit)
