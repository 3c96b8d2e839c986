"""What a server learns from others, told instead: who asks, and that nobody has asked before.

For tests, replays and explanations, which name a caller where no credential is shown, and use up nobody's rate.
"""

from dataclasses import dataclass

from extauthz.model import Charge, Deny, Identity, Permit, Request

__all__ = ["Given", "Unused"]


@dataclass(frozen=True, slots=True)
class Given:
    """Implements ``extauthz.check.Authenticator``: it believes what it was given, and overlooks what the real one would.

    The real one does not see the credentials of providers that no policy of the request asks for; so a caller of such a
    provider is nobody here as well.
    """

    caller: Identity | Deny | None = None
    """Whom the request's credential proves, why it proves nobody, or None: it carries none."""
    connection: Identity | Deny | None = None
    """Whom the peer's certificate proves to a mesh provider."""

    def authenticate(
        self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False
    ) -> Identity | Deny | None:
        """The caller, if one of these providers vouches for it."""
        del request, waited
        caller = self.caller
        provider = caller.provider if caller is not None else ""
        return caller if providers is None or not provider or provider in providers else None

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        """The peer, if one of these mesh providers vouches for it."""
        del request
        peer = self.connection
        return peer if peer is None or not peer.provider or peer.provider in names else None

    def overlooked(self, providers: frozenset[str] | None, names: frozenset[str]) -> str:
        """Why one who was given is nobody to policies that ask for these providers; empty if nobody is overlooked."""
        for who, asked, takes in ((self.caller, providers, "callers"), (self.connection, names, "peers")):
            if who is not None and who.provider and asked is not None and who.provider not in asked:
                of = f"{takes} of {', '.join(sorted(asked))}" if asked else f"no {takes}"
                return f"the policies take {of}; one of {who.provider} is nobody to them"
        return ""


class Unused:
    """Implements ``extauthz.limits.Limiter``: nothing of any rate was used, and nothing ever is."""

    def take(self, charge: Charge) -> Permit:
        """Grant it as the first one."""
        return Permit(granted=True, remaining=charge.rate.per_minute - 1, reset=60)
