"""What is to be explained: a request, and who makes it.

Credentials that stand in the request are judged by the authenticator of the configuration. A caller who is named instead
(``Told``) is believed; connections are judged by the real one all the same, as a principal is no secret that somebody
would have to have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from extauthz.check import Authenticator
from extauthz.errors import ExtAuthzError
from extauthz.identity import IdentitySeen, Step
from extauthz.model import EMPTY, AttributeContext, Deny, Identity, Request
from extauthz.workbench.explain.address import read_address
from extauthz.workbench.explain.curl import read_curl
from extauthz.workbench.given import Given
from extauthz.workbench.sketch import RequestSketch

__all__ = ["Connection", "Question", "Recorded", "Told", "request_of_curl", "request_of_words"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a decision log says of a decision that was made before."""

    id: str
    decision: str
    reason: str
    policy: str
    rule: str
    exact: bool
    """The record holds the whole request; else only its main parts."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request whose answer is to be explained."""

    sent: AttributeContext
    given: Given | None = None
    """Who asks; None: whom the request's own credentials prove."""
    recorded: Recorded | None = None
    notes: tuple[str, ...] = ()
    """What a reader has to know about the answer's worth."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How a request arrives, as the proxy would tell it."""

    source_address: str = "127.0.0.1"
    principal: str = ""
    context: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    sni: str = ""

    def with_request(self, sketch: RequestSketch) -> RequestSketch:
        """A request that arrives so."""
        return replace(
            sketch,
            context=tuple(self.context.items()),
            source_address=self.source_address,
            source_principal=self.principal,
            sni=self.sni,
        )


class Told:
    """Implements ``extauthz.check.Authenticator`` and ``Explaining``: a caller who was named."""

    def __init__(self, given: Given, connections: Authenticator) -> None:
        """``connections`` says whom the peer's certificate proves."""
        self._given = given
        self._connections = connections

    def authenticate(
        self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False
    ) -> Identity | Deny | None:
        """The named caller, as far as the policies take callers of its provider."""
        return self._given.authenticate(request, providers=providers, waited=waited)

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        """The peer."""
        return self._connections.peer(request, names)

    def explain(self, request: Request, *, providers: frozenset[str] | None = None) -> IdentitySeen:
        """One step: who was named."""
        found, caller = self.authenticate(request, providers=providers), self._given.caller
        asked = "the caller was named, and is believed"
        peer = self._given.connection
        if caller is None and isinstance(peer, Identity):
            named = f"the peer {peer.subject} of {peer.provider}, for the policies that name this provider"
            return IdentitySeen((Step("caller", asked, value=named),), None)
        if caller is None:
            return IdentitySeen((Step("caller", "there are no credentials", value="as was said"),), None)
        if found is None:
            fault = Given(caller).overlooked(providers, frozenset())
            return IdentitySeen((Step("caller", asked, fault=fault),), None)
        if isinstance(found, Deny):
            fault = found.detail or found.reason.sentence
            return IdentitySeen((Step("caller", "the credentials were refused", holds=False, fault=fault),), found)
        roles = ", ".join(sorted(found.roles)) or "none"
        value = f"{found.subject} of {found.provider}, roles: {roles}"
        return IdentitySeen((Step("caller", asked, holds=True, value=value),), found)


def request_of_words(
    words: Sequence[str], headers: Sequence[str], connection: Connection, *, now: float
) -> AttributeContext:
    """``METHOD URL``, or ``URL`` alone for a GET, with headers as ``name: value``; the path is taken as it is written.

    Raises:
        ExtAuthzError: A word or a header is missing or can't be read.
    """
    if len(words) not in (1, 2) or (len(words) == 1 and words[0].isalpha() and words[0].isupper()):
        raise ExtAuthzError("say which request: extauthz explain GET https://orders.example.com/orders")
    method = words[0] if len(words) > 1 else "GET"
    address = read_address(words[-1])
    pairs: list[tuple[str, str]] = []
    host = address.host
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise ExtAuthzError("a header has no colon: write -H 'x-tenant: a'")
        if name.strip().lower() == "host":
            host = value.strip()
        else:
            pairs.append((name.strip(), value.strip()))
    sketch = RequestSketch(method, address.path, host, address.scheme, headers=tuple(pairs), time=now)
    return connection.with_request(replace(sketch, destination_port=address.port)).attributes()


def request_of_curl(line: str, connection: Connection, *, now: float) -> AttributeContext:
    """The request that a curl command line makes.

    Raises:
        ExtAuthzError: The line can't be read.
    """
    asked = read_curl(line)
    address = asked.address
    sketch = RequestSketch(
        asked.method, address.path, address.host, address.scheme, asked.protocol, asked.headers, time=now
    )
    return connection.with_request(replace(sketch, destination_port=address.port)).attributes()
