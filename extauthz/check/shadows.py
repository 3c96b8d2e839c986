"""What would have been: the verdicts of policies and rules in shadow mode, beside a decision that they don't touch.

A Shadow policy is judged as if it were the only one in force. So it also has its own say about whose credentials count;
where that differs from the policies in force, the authenticator is asked once more, and never waited for: a provider that
is not ready then gives a shadow verdict of ``keys-unavailable`` and no request becomes slower.
"""

from typing import TYPE_CHECKING

from extauthz.model import Deny, Identity, Request, ShadowVerdict
from extauthz.policy import Selection, Snapshot

if TYPE_CHECKING:
    from extauthz.check.journey import Authenticator

__all__ = ["shadow_verdicts"]


def shadow_verdicts(
    authenticator: "Authenticator",
    snapshot: Snapshot,
    request: Request,
    selection: Selection,
    found: Identity | Deny | None,
) -> tuple[ShadowVerdict, ...]:
    """The verdicts of all that is in shadow mode and about the request; ``found`` is what authentication gave.

    A selection without policies has asked for no credentials.
    """
    told: list[ShadowVerdict] = []
    for alone in snapshot.shadows_of(request):
        own = alone.select(request)
        seen = found if selection and own.providers == selection.providers else _ask(authenticator, request, own)
        if isinstance(seen, Deny):
            told.append(ShadowVerdict(alone.policies[0].name, "", seen))
            continue
        names = own.mesh_providers
        verdict = alone.decide(request, own, seen, authenticator.peer(request, names) if names else None)
        told.append(ShadowVerdict(alone.policies[0].name, "", verdict))
    if selection and not isinstance(found, Deny):
        names = selection.mesh_providers
        peer = authenticator.peer(request, names) if names else None
        told += snapshot.shadow_rules(request, selection, found, peer)
    return tuple(sorted(told, key=lambda shadow: (shadow.policy, shadow.rule)))


def _ask(authenticator: "Authenticator", request: Request, selection: Selection) -> Identity | Deny | None:
    found = authenticator.authenticate(request, providers=selection.providers, waited=True)
    if found is None or isinstance(found, Identity | Deny):
        return found
    message = "the authenticator asked to wait twice"
    raise RuntimeError(message)
