"""The sections without a file of their own: checks, roles, addresses, requests, headers, policies, answers, telemetry.

Each value that weakens a check has the safe word as its default and must be written to be changed. The ``OTEL_*``
variables keep their usual meaning; ``telemetry.traces.exporter`` beats ``OTEL_TRACES_EXPORTER``.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from extauthz.canonical import emittable, header_name
from extauthz.config.durations import Duration
from extauthz.config.fields import AnyList, FilePath, Role, Section, Share, SomeList, Text, located, within
from extauthz.documents import FieldError

__all__ = [
    "Check",
    "ClientAddress",
    "Decisions",
    "Headers",
    "Logs",
    "Policies",
    "Request",
    "Responses",
    "Roles",
    "Sample",
    "Telemetry",
    "TokenCache",
    "Traces",
]

_GROUP = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z")

_SINKS = ("none", "stdout", "otlp")

RefuseOrAccept = Literal["refuse", "accept"]


_OMITTABLE = (
    "client",
    "detail",
    "host",
    "issuer",
    "method",
    "path",
    "phases_ms",
    "principal",
    "provider",
    "request_id",
    "roles",
    "source",
    "subject",
)


def _omittable(name: str) -> str:
    if name not in _OMITTABLE:
        message = f"{name!r} is no field that can be left out"
        raise FieldError(message, f"these are: {', '.join(_OMITTABLE)}")
    return name


def _group(group: str) -> str:
    if not _GROUP.match(group):
        message = f"{group!r} is not an API group"
        raise FieldError(message, "a lower-case DNS name, such as security.example.com; the version is not part of it")
    return group


def _header_pattern(pattern: str) -> str:
    name = pattern.removesuffix("*")
    if pattern == "*":
        message = "'*' would let policies set any header"
        raise FieldError(message, "name a prefix, such as x-auth-*")
    if "*" in name or not header_name(name):
        message = f"{pattern!r} is neither a header name in lower case nor a prefix of one"
        raise FieldError(message, "such as x-tenant or x-auth-*")
    if not emittable(name):
        message = f"{pattern!r} can't be set by policies: it frames or routes the request, or is vouched for by Envoy"
        raise FieldError(message, "choose another name")
    return pattern


def _sink(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or value in _SINKS:
        return value
    if "/" not in value:
        message = f"{value!r} is neither none nor stdout nor otlp nor a path"
        raise FieldError(message, f"for a file of that name write ./{value}")
    return located(value, info)


class Check(Section):
    """How one Check is answered, and how the server stops."""

    deadline: Annotated[float, Duration(0.001, 10)] = 0.15
    """The most time for one decision; what takes longer is denied. Keep it below the timeout of Envoy's ext_authz
    filter (200ms unless set there), or Envoy stops waiting before the answer is there."""
    max_in_flight: Annotated[int, within(1, 1_000_000)] = 512
    """How many Checks may wait for something (keys, for instance) at a time; beyond it a Check that would have to wait is
    denied with 503 at once."""
    max_message_bytes: Annotated[int, within(65536, 64 * 1024 * 1024)] = 262144
    """The largest Check that is read, in bytes. Keep Envoy's max_request_bytes at least 131072 below it."""
    drain_delay: Annotated[float, Duration(0, 600)] = 5.0
    """How long the server goes on as before after it has said that it stops: the time that Envoy's health checks and
    Kubernetes' endpoints need to notice."""
    grace: Annotated[float, Duration(0, 600)] = 10.0
    """How long Checks under way may take after that."""


class Roles(Section):
    """Roles that contain others."""

    includes: Annotated[dict[Role, AnyList[Role]], Field(default_factory=dict)]
    """`{admin: [user]}`: who is admin is also user. Applied last, through any number of steps."""


class ClientAddress(Section):
    """Where the client's address comes from, which `remoteIpBlocks` is compared with."""

    trusted_hops: Annotated[int, within(0, 64)] = 0
    """0: the address of the connection's other end. N: the Nth address from the right of x-forwarded-for, for N proxies
    in front of this one that append to it."""


class Request(Section):
    """What is refused because two servers could read it differently, and what may be accepted."""

    normalize: bool = False
    """true: dot segments, `//` and the like are judged in their normal form. Only for an Envoy that normalises paths
    before it routes; false: they are refused."""
    encoded_slash: RefuseOrAccept = "refuse"
    """`%2F` in a path; accepted, it is part of its segment."""
    double_encoding: RefuseOrAccept = "refuse"
    """`%25` in a path; accepted, it is a per cent sign and is not decoded again."""
    path_parameters: RefuseOrAccept = "refuse"
    """`;name=value` in a path; accepted, `/a;b/c` is judged as `/a/c`."""
    method_override: RefuseOrAccept = "refuse"
    """Headers such as x-http-method-override, by which some upstreams take another method than the one judged."""
    case_insensitive_paths: bool = False
    """true: paths are compared without regard to case, for upstreams that do so."""
    sni_must_equal_host: bool = False
    """true: a request whose host is not the server name (SNI) of its TLS connection is refused."""


class Headers(Section):
    """Which request headers are in the hands of policies."""

    allowed: AnyList[Annotated[str, AfterValidator(_header_pattern)]] = ("x-auth-*", "authorization", "cookie")
    """Names that policies may set or remove; a final `*` stands for any rest."""


class Policies(Section):
    """Where policies come from."""

    files: Annotated[SomeList[FilePath], Field(validate_default=True)] = ("policies/",)
    """Files, and folders whose `*.yaml` and `*.yml` are read (not those below them, no dot-names). Relative to this
    file; read again when they change."""
    group: Annotated[str, AfterValidator(_group)] = "security.example.com"
    """The API group of AuthPolicy documents: `apiVersion` must be `<group>/v1`."""


class Responses(Section):
    """What callers are told."""

    reasons: bool = False
    """true: the body of a denial names the reason. The reason always goes to Envoy's access log."""
    rate_limits: bool = False
    """true: callers who are allowed by a rule with a rate are told what is left of it (RateLimit, RateLimit-Policy). Who is
    denied for a rate always is."""


class Traces(Section):
    """Where spans go."""

    exporter: Literal["none", "otlp", "console"] | None = None
    """none | otlp (gRPC or HTTP, see OTEL_EXPORTER_OTLP_ENDPOINT and _PROTOCOL) | console. Absent: OTEL_TRACES_EXPORTER decides."""
    denials: Share = 0.0
    """Which share of the denials has a span even if Envoy does not sample their trace, from 0 to 1."""


class Sample(Section):
    """Which share of the decisions is recorded, from 0 to 1. Those of sampled traces are recorded in any case, and what a
    policy in shadow mode would deny counts as denied.
    """

    allow: Share = 1.0
    """Of the decisions to allow."""
    deny: Share = 1.0
    """Of the decisions to deny."""


class Rotate(Section):
    """When the file of the decision log is put aside. Without this section somebody else may do that at any time: the file
    is followed by its name.
    """

    max_bytes: Annotated[int, within(65536, 1024**4)] = 128 * 1024**2
    """The size from which on the file is renamed to `<name>.1`, that one to `<name>.2` and so on. Several workers that write
    to one file may make it up to a megabyte each longer."""
    keep: Annotated[int, within(1, 1000)] = 8
    """How many renamed files are kept."""


class Decisions(Section):
    """Where decision records go."""

    sink: Annotated[Text, BeforeValidator(_sink)] = "none"
    """none | stdout | otlp (OpenTelemetry log records to a collector, see OTEL_EXPORTER_OTLP_ENDPOINT and _PROTOCOL) | the
    path of a file, which is appended to and may be rotated: one JSON object a decision."""
    rotate: Rotate | None = None
    """Rotates the file by itself."""
    when_full: Literal["drop", "wait"] = "drop"
    """What happens while the sink takes records more slowly than they come, or not at all, and 8 MiB wait for it. drop:
    records are lost, and counted. wait: Checks wait for room as long as their deadline lasts, and are then denied with 503:
    nothing is allowed without a record."""
    capture: bool = False
    """true: each record holds the request and the verified claims of its caller as well, without credentials, so that it
    can be replayed exactly. Headers, queries and claims say more about people than the rest of a record: keep it short."""
    omit: AnyList[Annotated[str, AfterValidator(_omittable)]] = ()
    """Fields that no record has, such as subject, path, client: what a log may hold of people differs by law and place."""
    sample: Sample = Sample()
    """Which decisions are recorded."""


class Logs(Section):
    """What the server says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important messages that are shown."""


class TokenCache(Section):
    """JWTs that were verified a moment ago and are not verified again. Policies judge each request anew."""

    max_entries: Annotated[int, within(0, 10_000_000)] = 100_000
    """How many tokens are remembered. 0: each one is verified every time."""
    max_bytes: Annotated[int, within(0, 64 * 1024**3)] = 160 * 1024**2
    """How much memory they take at most, as an estimate: a token of 1 kB takes about 1.5 kB."""
    max_age: Annotated[float, Duration(1, 3600)] = 300.0
    """After how long a token is verified anew. It is never remembered beyond its `exp`, and not when a key of its issuer
    has gone: this is the bound for all else."""


class Telemetry(Section):
    """Traces, decision records, logs."""

    traces: Traces = Traces()
    """OpenTelemetry spans, one a Check, children of Envoy's."""
    decisions: Decisions = Decisions()
    """A record of each decision."""
    logs: Logs = Logs()
    """The server's own log."""
