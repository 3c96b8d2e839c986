"""A request as a person sketches it, and the attributes that Envoy would send for it.

Only what matters is written down; the rest is what a plain GET through Envoy has. Nothing is made canonical here: that is
the journey's work, and a sketch of a bad request is refused there as the real one would be.
"""

from dataclasses import dataclass, field

from extauthz.model import EMPTY, AttributeContext, HttpAttributes, Peer

__all__ = ["RequestSketch", "read_target"]

_DEFAULT_HOST = "example.com"


@dataclass(frozen=True, slots=True)
class RequestSketch:
    """A request in the words of the wire."""

    method: str = "GET"
    path: str = "/"
    """Path and query, as on the wire."""
    host: str = _DEFAULT_HOST
    scheme: str = "https"
    protocol: str = "HTTP/2"
    headers: tuple[tuple[str, str], ...] = ()
    """In order of arrival; a name may be repeated. Names are put into lower case, as Envoy does."""
    context: tuple[tuple[str, str], ...] = ()
    """``context_extensions`` of the route."""
    source_address: str = "192.0.2.1"
    source_principal: str = ""
    destination_port: int = 443
    sni: str = ""
    http: bool = True
    """False: a TCP connection, of which only the two ends mean anything."""
    time: float = field(default=0.0)
    """Seconds since the epoch."""

    def attributes(self) -> AttributeContext:
        """What Envoy would send."""
        return AttributeContext(
            source=Peer(self.source_address, 40000, self.source_principal),
            destination=Peer("192.0.2.2", self.destination_port),
            time=self.time,
            http=self._http() if self.http else None,
            sni=self.sni,
            context=dict(self.context) if self.context else EMPTY,
        )

    def _http(self) -> HttpAttributes:
        headers: dict[str, tuple[str, ...]] = {
            ":authority": (self.host,),
            ":method": (self.method,),
            ":path": (self.path,),
            ":scheme": (self.scheme,),
        }
        for name, value in self.headers:
            headers[name.lower()] = (*headers.get(name.lower(), ()), value)
        return HttpAttributes("", self.method, self.path, self.host, self.scheme, self.protocol, headers)


def read_target(text: str) -> tuple[str, str, str, str]:
    """Method, scheme, host and path of ``GET /orders?x=1`` or ``https://orders.example.com/orders``; empty if not said.

    The path is left as it was written, with its query and whatever is odd about it; a fragment too, as it is for the
    journey to refuse.
    """
    method, _, target = text.strip().rpartition(" ")
    scheme, found, rest = target.partition("://")
    if not found or "/" in scheme or "?" in scheme:
        return method.strip(), "", "", target
    cut = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
    host, path = rest[:cut], rest[cut:]
    return method.strip(), scheme, host, path if path.startswith("/") else f"/{path}"
