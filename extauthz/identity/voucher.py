"""What every kind of provider is once it is at work: it vouches for callers, or refuses them.

The authenticator picks one voucher for a credential and asks it once. A voucher answers at once if it can. If something is
missing that waiting can bring, it answers with a ``Wait``; asked again with ``waited`` it has to decide.
"""

from collections.abc import Iterable
from typing import Protocol

from extauthz.identity.explanation import Step
from extauthz.identity.providers import ProviderState, Wait
from extauthz.model import Deny, Identity

__all__ = ["Verdict", "Voucher"]

Verdict = Identity | Deny | Wait


class Voucher(Protocol):
    """A provider of opaque credentials at work. JWT issuers are asked with the parsed token instead of its text."""

    @property
    def name(self) -> str:
        """The configured name."""
        ...

    @property
    def started(self) -> bool:
        """Whether the first attempt to get ready has ended, well or badly."""
        ...

    def identify(self, token: str, now: float, *, waited: bool) -> Verdict:
        """Whom a credential proves; ``now`` is in seconds since the epoch. With ``waited`` never a ``Wait``."""
        ...

    def role_steps(self, identity: Identity) -> Iterable[Step]:
        """How an identity that it vouched for came by its roles, for people."""
        ...

    def state(self) -> ProviderState:
        """How it is doing."""
        ...

    async def run(self) -> None:
        """Keep it ready until cancelled; may end by itself if nothing ever changes."""
        ...
