"""CheckResponse bytes -> what the proxy is told, for people who want to see it.

The server never reads its own answers. An explanation does, so that it shows what would really be sent and not what
somebody thinks that the encoder writes.
"""

from dataclasses import dataclass

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse

__all__ = ["Answer", "read_answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer makes the proxy do."""

    allowed: bool
    status: int
    """The HTTP status that the client gets; 0 if that is the upstream's."""
    headers: tuple[tuple[str, str], ...]
    """Of an allow: set on the request to the upstream. Of a denial: on the response to the client."""
    removed_headers: tuple[str, ...] = ()
    removed_parameters: tuple[str, ...] = ()
    body: str = ""


def read_answer(message: bytes) -> Answer:
    """An answer that ``Encoder`` wrote."""
    response = CheckResponse.FromString(message)
    if response.status.code == 0:
        ok = response.ok_response
        headers = tuple((option.header.key, option.header.value) for option in ok.headers)
        removed, parameters = tuple(ok.headers_to_remove), tuple(ok.query_parameters_to_remove)
        return Answer(allowed=True, status=0, headers=headers, removed_headers=removed, removed_parameters=parameters)
    denied = response.denied_response
    headers = tuple((option.header.key, option.header.value) for option in denied.headers)
    return Answer(allowed=False, status=int(denied.status.code), headers=headers, body=denied.body)
