"""Who comes in: one form, one client that has proved who it is, within its rate (R16).

Nobody can lock a client out. Whoever can't prove a client is counted by address, and beyond the rate is told 429 instead
of 401 and leaves no more lines in the audit log; a proof that is good is good whatever came before it from there. A
client's own rate counts only what the client has proved to be its own.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from extauthz.canonical import counted_address
from extauthz.tokens.client_authentication import ClientAuthenticator
from extauthz.tokens.clients import Client
from extauthz.tokens.errors import OAuthError
from extauthz.tokens.form import Form, read_form
from extauthz.tokens.http import HttpQuestion
from extauthz.tokens.ports import Meter

__all__ = ["CLIENT", "Door", "Entered", "Rates"]

CLIENT: Final = "client"
"""What a client's requests are counted as."""
_OUR_FAULT: Final = 500


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests in any minute, counted by each process."""

    per_client: int
    """Of one client, to all endpoints together."""
    failures_per_address: int
    """Without a good proof, of one address."""
    refresh_per_session: int
    """``POST /refresh`` for tokens that follow from one grant."""


@dataclass(frozen=True, slots=True)
class Entered:
    """A request of a client."""

    client: Client
    form: Form
    address: str


class Door:
    """Lets requests in."""

    def __init__(self, authenticator: ClientAuthenticator, meter: Meter, rates: Rates) -> None:
        """Ask ``authenticator``, count with ``meter``."""
        self._authenticator = authenticator
        self._meter = meter
        self._rates = rates

    async def enter(self, question: HttpQuestion) -> Entered | OAuthError:
        """The client and its form. Raises ``StoreError``."""
        form = read_form(question)
        if isinstance(form, OAuthError):
            return self.failure(question.address, form)
        client = await self._authenticator.authenticate(question, form)
        if isinstance(client, OAuthError):
            return self.failure(question.address, client)
        wait = self._meter.take(CLIENT, client.id, self._rates.per_client)
        if wait:
            return OAuthError.too_many(wait, f"client {client.id} is beyond its rate")
        return Entered(client, form, question.address)

    def failure(self, address: str, error: OAuthError) -> OAuthError:
        """What to answer to a request that proved nothing. What is our fault is held against nobody."""
        if error.status >= _OUR_FAULT:
            return error
        wait = self._meter.take("failures", _counted(address), self._rates.failures_per_address)
        return OAuthError.too_many(wait, "too many failures from this address") if wait else error

    def refresh(self, session: str) -> OAuthError | None:
        """Why a token of a session is not renewed now; None if nothing is against it."""
        wait = self._meter.take("refresh", session, self._rates.refresh_per_session)
        return OAuthError.too_many(wait, "the session is renewed too often") if wait else None


def _counted(address: str) -> str:
    """Whose address it is; the address itself if it is none of IP, as that of a unix socket."""
    try:
        return counted_address(ip_address(address))
    except ValueError:
        return address
