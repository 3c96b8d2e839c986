"""``AttributeContext`` -> CheckRequest bytes: what a proxy would send, for tools that ask a server themselves."""

from extauthz._pb.envoy.service.auth.v3.attribute_context_pb2 import AttributeContext as AttributeContextMessage
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from extauthz.model import AttributeContext, HttpAttributes, Peer

__all__ = ["encode_check"]

_NANOS = 1_000_000_000


def encode_check(sent: AttributeContext) -> bytes:
    """A serialised ``envoy.service.auth.v3.CheckRequest``; ``decode`` reads the same from it.

    Headers go as the map that Envoy sends by default, in which repeated values are joined with a comma. A context with a
    ``fault`` was never a whole message, and is not written as one.
    """
    check = CheckRequest()
    attributes = check.attributes
    _peer(attributes.source, sent.source)
    _peer(attributes.destination, sent.destination)
    if sent.time:
        attributes.request.time.seconds, attributes.request.time.nanos = divmod(round(sent.time * _NANOS), _NANOS)
    if sent.http is not None:
        _http(attributes.request.http, sent.http)
    if sent.sni:
        attributes.tls_session.sni = sent.sni
    attributes.context_extensions.update(sent.context)
    return check.SerializeToString()


def _peer(message: AttributeContextMessage.Peer, peer: Peer) -> None:
    message.address.socket_address.address = peer.address
    message.address.socket_address.port_value = peer.port
    message.principal = peer.principal
    message.certificate = peer.certificate


def _http(message: AttributeContextMessage.HttpRequest, http: HttpAttributes) -> None:
    message.id, message.method, message.path = http.id, http.method, http.path
    message.host, message.scheme, message.protocol = http.host, http.scheme, http.protocol
    for name, values in http.headers.items():
        message.headers[name] = ",".join(values)
