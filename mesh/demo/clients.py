"""The three kinds of caller: HTTP/1.1, gRPC and websocket.

Model: each call makes a connection of its own and returns an `Answer`: the status as a person would say it, what the
upstream reported, and the marks by which Envoy's access log can be searched (the request id that Envoy returns, and
the client's own port for requests that Envoy refuses before they have an id).

Trade-off: `http.client` and not a friendlier library, because the demo sends what friendly libraries repair: raw
paths, two Authorization headers, names with underscores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any as Json

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

Headers = Sequence[tuple[str, str]]
WAIT = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: str
    request_id: str = ""
    client: str = ""
    body: dict[str, Json] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def upstream_header(self, name: str) -> list[str]:
        """Every value of a header as the HTTP upstream received it."""
        return [value for key, value in self.body.get("headers", []) if key == name]


def _peer(address: object) -> str:
    host, port = address[:2] if isinstance(address, tuple) else ("", 0)
    return f"{host}:{port}"


def http(authority: str, method: str, path: str, headers: Headers = ()) -> Answer:
    """One request exactly as written; redirects are not followed."""
    connection = HTTPConnection(authority, timeout=WAIT)
    try:
        host = next((value for name, value in headers if name == "host"), authority)
        connection.connect()
        client = _peer(connection.sock.getsockname())
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("host", host)
        for name, value in headers:
            if name != "host":
                connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        text = response.read()
    finally:
        connection.close()
    is_json = "json" in received.get("content-type", "")
    return Answer(
        status=str(response.status),
        request_id=received.get("x-request-id", ""),
        client=client,
        body=json.loads(text) if is_json and text else {},
        headers=received,
    )


def rpc(authority: str, method: str, headers: Headers = ()) -> Answer:
    """One unary call of the gRPC upstream with a StringValue."""
    with grpc.insecure_channel(authority) as channel:
        say = channel.unary_unary(
            method,
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )
        call = say.future(StringValue(value="hello"), timeout=WAIT, metadata=tuple(headers))
        code = call.code()  # waits for the end, whatever it is
        metadata = _metadata(call)
        body = {"subject": metadata.get("x-subject", "")} if code is grpc.StatusCode.OK else {}
    return Answer(f"grpc {code.value[0]}", metadata.get("x-request-id", ""), body=body)


def _metadata(call: grpc.Call) -> dict[str, str]:
    """Headers and trailers together: a denial has only trailers."""
    pairs = [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]
    return {str(key): str(value) for key, value in pairs}


def websocket(authority: str, path: str, headers: Headers = ()) -> Answer:
    """One websocket that says something and hears it back."""
    try:
        with connect(
            f"ws://{authority}{path}",
            additional_headers=list(headers),
            open_timeout=WAIT,
            # Envoy keeps the connection for a second after both have said goodbye.
            close_timeout=0.1,
            compression=None,
            proxy=None,
        ) as socket:
            client = _peer(socket.socket.getsockname())
            greeting = socket.recv(timeout=WAIT)
            socket.send("ping")
            echoed = socket.recv(timeout=WAIT)
            request_id = socket.response.headers.get("x-request-id", "") if socket.response else ""
    except InvalidStatus as refusal:
        return Answer(str(refusal.response.status_code), refusal.response.headers.get("x-request-id", ""))
    return Answer("101", request_id, client, body={"greeting": greeting, "echoed": echoed})
