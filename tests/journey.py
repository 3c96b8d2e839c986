"""A whole Check without sockets, for tests: bytes in, an answer and what the observer saw out."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from extauthz.check import Authenticator, Check, DeniedLimit, RequestRules
from extauthz.limits import Limiter
from extauthz.model import AttributeContext, Decision, Deny, Identity, Request
from extauthz.policy import PolicySettings, PolicyText, Snapshot, empty, load
from extauthz.serving import Call, CheckHandler
from extauthz.wire import Encoder
from extauthz.workbench.given import Unused

SETTINGS = PolicySettings(providers=frozenset({"corporate", "partner"}), mesh_providers=frozenset({"mesh"}))

DENY_ALL = "{apiVersion: security.example.com/v1, kind: AuthPolicy, metadata: {name: nothing}, spec: {}}"
ALLOW_ALL = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: everything}
spec:
  authentication: {optional: true}
  rules:
  - role: anonymous
"""


def policies(*texts: str, generation: int = 1) -> Snapshot:
    """A snapshot of these documents."""
    return load([PolicyText(f"{n}.yaml", text) for n, text in enumerate(texts)], SETTINGS, generation)


def caller(*roles: str, subject: str = "alice", provider: str = "corporate") -> Identity:
    """A proven caller."""
    return Identity(subject, "https://login.example.com/", provider, frozenset(roles))


@dataclass
class Always:
    """An authenticator that always finds the same, and notes what it was asked."""

    found: Any = None
    asked: list[Request] = field(default_factory=list)
    connection: Identity | Deny | None = None
    """Whom the peer's certificate proves."""
    peers_asked: list[frozenset[str]] = field(default_factory=list)

    def authenticate(
        self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False
    ) -> Identity | Deny | None:
        """Find what was given; an exception is raised."""
        self.asked.append(request)
        if isinstance(self.found, BaseException):
            raise self.found
        found: Identity | Deny | None = self.found
        return found

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        """Find the peer that was given, and note who was asked."""
        self.peers_asked.append(names)
        return self.connection


class Watcher:
    """An observer that keeps what it saw."""

    def __init__(self) -> None:
        self.finished: list[Decision] = []
        self.waited: list[float] = []
        self.open = 0
        self.traced = ""

    def begin(self, metadata: Any) -> object:
        """Count."""
        self.open += 1
        return metadata

    def finish(
        self, span: Any, decision: Decision, sent: AttributeContext | None, seconds: float, waited: float = 0.0
    ) -> None:
        """Keep the decision."""
        self.open -= 1
        self.finished.append(decision)
        self.waited.append(waited)

    def abandon(self, span: Any) -> None:
        """Count."""
        self.open -= 1

    def trace(self, span: Any) -> str:
        """Whatever was given."""
        return self.traced


@dataclass
class Journey:
    """A handler and all that it was made of."""

    snapshot: Snapshot = field(default_factory=empty)
    authenticator: Authenticator = field(default_factory=Always)
    rules: RequestRules = field(default_factory=RequestRules)
    clock: Callable[[], float] = field(default_factory=lambda: lambda: 0.0)
    deadline: float = 0.15
    max_in_flight: int = 512
    watcher: Watcher = field(default_factory=Watcher)
    limiter: Limiter = field(default_factory=Unused)
    denied: DeniedLimit | None = None
    encoder: Encoder = field(default_factory=Encoder)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.check = Check(
            self.authenticator,
            self.snapshot,
            self.rules,
            limiter=self.limiter,
            denied=self.denied,
            new_id=lambda: f"d-{next(numbers)}",
        )
        self.handler = CheckHandler(
            self.check,
            self.encoder,
            self.watcher,
            deadline=self.deadline,
            max_in_flight=self.max_in_flight,
            clock=self.clock,
        )

    def answer(self, message: bytes, time_remaining: float | None = None) -> CheckResponse:
        """The answer of a Check that needs no waiting."""
        answer = self.handler(message, Call((), time_remaining))
        assert isinstance(answer, bytes)
        assert answer
        return CheckResponse.FromString(answer)

    async def answer_later(self, message: bytes, time_remaining: float | None = None) -> CheckResponse:
        """The answer of a Check that has to wait for something."""
        answer = self.handler(message, Call((), time_remaining))
        assert not isinstance(answer, bytes)
        return CheckResponse.FromString(await answer)


def check_request(
    method: str = "GET",
    path: str = "/orders",
    host: str = "orders.example.com",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A serialised CheckRequest."""
    check = CheckRequest()
    check.attributes.source.address.socket_address.address = "10.0.0.9"
    check.attributes.destination.address.socket_address.port_value = 8443
    http = check.attributes.request.http
    http.method, http.path, http.host, http.scheme, http.protocol = method, path, host, "http", "HTTP/1.1"
    for name, value in (headers or {}).items():
        http.headers[name] = value
    return check.SerializeToString()


def assert_denies(response: CheckResponse) -> None:
    """Fail unless Envoy would take this for a denial."""
    assert response.status.code != 0
    assert response.WhichOneof("http_response") == "denied_response"
    assert 400 <= response.denied_response.status.code < 600


def reason_of(response: CheckResponse) -> str:
    """The reason that the access log would print."""
    return response.dynamic_metadata.fields["reason"].string_value
