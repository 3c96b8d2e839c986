"""The values that keys of an AuthPolicy take: patterns, names, roles, lists, and what a rate is counted by.

Each type here reads or checks one value and tells a person what is wrong with it; the models of ``extauthz.policy.form``
put them together. Everything has a bound, for a policy may come from somebody who may write policies for one host alone.
A type says two things, what is taken and what an editor is told (JSON Schema), and the second may be the looser one.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from extauthz.canonical import emittable
from extauthz.documents import FieldError
from extauthz.policy.paths import PathPattern, read_path
from extauthz.policy.patterns import (
    HostPattern,
    Network,
    read_host,
    read_method,
    read_network,
    read_port,
    read_principal,
)
from extauthz.policy.settings import PolicySettings

__all__ = [
    "MAX_RATE",
    "Block",
    "Bounds",
    "Burst",
    "ContextText",
    "Expression",
    "HeaderName",
    "Host",
    "KubernetesKey",
    "Method",
    "Namespace",
    "ObjectName",
    "Path",
    "Per",
    "PerMinute",
    "Port",
    "Principal",
    "Provider",
    "RateShadow",
    "Role",
    "RuleName",
]

MAX_RATE = 1_000_000
"""Requests a minute; what should have more has no rate."""

_MAX_CONTEXT = 4096
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_OBJECT_NAME = re.compile(rf"(?=.{{1,253}}\Z){_SUBDOMAIN}\Z")
_NAMESPACE = re.compile(rf"{_LABEL}\Z")
_RULE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._/:-]{0,126}[A-Za-z0-9])?\Z")
_ROLE = re.compile(r"[^\x00-\x1f\x7f]{1,256}\Z")
_CLAIM_STEP = r"[^.\s\x00-\x1f\x7f]{1,128}"
_PER_CLAIM = re.compile(rf"claim:{_CLAIM_STEP}(?:\.{_CLAIM_STEP}){{0,15}}\Z")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many entries a list or mapping may have. An empty list could mean none as well as any, so it is refused."""

    limit: int
    empty: bool = False
    """For not* words and mappings, where empty can mean just one thing."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        written = handler(schema)
        if written.get("type") == "object":
            return written | {"maxProperties": self.limit}
        return written | ({} if self.empty else {"minItems": 1}) | {"maxItems": self.limit}

    def _check(self, value: Any) -> Any:
        if not value and not self.empty:
            raise ValueError("is empty, which could mean nothing as well as anything; fill it, or leave the key out")
        if len(value) > self.limit:
            raise ValueError(f"has {len(value)} entries, and may have {self.limit}")
        return value


def _object_name(value: str) -> str:
    if not _OBJECT_NAME.match(value):
        raise ValueError(f"{value!r} is no object name: use lower-case letters, digits, '-' and '.', at most 253")
    return value


def _namespace(value: str) -> str:
    if not _NAMESPACE.match(value):
        raise ValueError(f"{value!r} is no namespace: use lower-case letters, digits and '-', at most 63")
    return value


def _rule_name(value: str) -> str:
    if not _RULE_NAME.match(value):
        raise ValueError(
            f"{value!r} is no rule name: use letters, digits, blanks and . _ - / : inside, at most 128 characters"
        )
    return value


def _role(value: str) -> str:
    if not _ROLE.match(value) or value != value.strip():
        raise ValueError("a role must have 1 to 256 characters, without control characters or outer blanks")
    return value


def _context_text(value: str) -> str:
    if len(value) > _MAX_CONTEXT:
        raise ValueError(f"has {len(value)} characters, and may have {_MAX_CONTEXT}")
    return value


def _provider(value: str, info: ValidationInfo) -> str:
    settings = cast("PolicySettings", info.context)
    known = settings.known_providers
    if value not in known:
        names = ", ".join(sorted(known)) if known else "none"
        raise ValueError(f"{value!r} is not a configured provider (configured: {names})")
    return value


def _header(value: str, info: ValidationInfo) -> str:
    settings = cast("PolicySettings", info.context)
    if value != value.lower():
        raise ValueError(f"{value!r} must be in lower case: write {value.lower()!r}")
    if not emittable(value):
        raise ValueError(f"{value!r} is no header that a policy may set or remove")
    if not settings.allows_header(value):
        raise ValueError(
            f"{value!r} is not among the headers that policies may set or remove "
            f"(headers.allowed: {', '.join(settings.allowed_headers) or 'none'})"
        )
    return value


def _count(value: Any) -> int:
    """A whole number; above all not null: a rate whose number was forgotten must not mean that there is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic takes only ValueError as the writer's fault
    if not 1 <= value <= MAX_RATE:
        message = f"{value} is not from 1 to {MAX_RATE}"
        raise FieldError(message, "to allow nothing, write a rule of 'deny'" if value < 1 else "")
    return value


def _with_rate(value: Any, info: ValidationInfo) -> Any:
    """A word about a rate needs one; a rate that is wrong is not in ``data``, and its own error is enough."""
    if "max_requests_per_minute" in info.data and info.data["max_requests_per_minute"] is None:
        message = "says something about a rate, and the rule has none"
        raise FieldError(message, "add 'maxRequestsPerMinute'")
    return value


def _burst(value: int, info: ValidationInfo) -> int:
    rate = info.data.get("max_requests_per_minute")
    if rate is not None and value > rate:
        message = f"{value} within a second is more than {rate} a minute, so it would never be reached"
        raise FieldError(message, "lower it, or leave it out")
    return value


def _per(value: str, info: ValidationInfo) -> str:
    if value not in ("caller", "role", "address") and not _PER_CLAIM.match(value):
        raise ValueError(f"{value!r} is nothing to count by: write caller, role, address or claim:<dotted path>")
    roles = (info.data.get("role", "?"), info.data.get("roles", "?"))  # absent: wrong, and told already
    if value == "role" and not any(roles):
        message = "counts by role, and the rule asks for none"
        raise FieldError(message, "name the roles, or count by caller")
    return value


Host = Annotated[HostPattern, PlainValidator(read_host, json_schema_input_type=str)]
Path = Annotated[PathPattern, PlainValidator(read_path, json_schema_input_type=str)]
Method = Annotated[str, PlainValidator(read_method, json_schema_input_type=str)]
Port = Annotated[
    int,
    PlainValidator(read_port),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string"}]}),
]
Principal = Annotated[str, PlainValidator(read_principal, json_schema_input_type=str)]
Block = Annotated[Network, PlainValidator(read_network, json_schema_input_type=str)]
Role = Annotated[str, AfterValidator(_role), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 256})]
RuleName = Annotated[
    str, AfterValidator(_rule_name), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 128})
]
ObjectName = Annotated[
    str,
    AfterValidator(_object_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_SUBDOMAIN}$", "maxLength": 253}),
]
Namespace = Annotated[
    str, AfterValidator(_namespace), WithJsonSchema({"type": "string", "pattern": f"^{_LABEL}$", "maxLength": 63})
]
ContextText = Annotated[str, AfterValidator(_context_text)]
HeaderName = Annotated[str, AfterValidator(_header)]
Provider = Annotated[str, AfterValidator(_provider)]
KubernetesKey = Annotated[Any, Field(description="Kubernetes' own; not read.")]
Expression = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 4096})]
"""CEL; compiled by the loader, which tells its mistakes with their places."""

_COUNT_SCHEMA = WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_RATE})
PerMinute = Annotated[int | None, PlainValidator(_count), _COUNT_SCHEMA]
Burst = Annotated[
    int | None, PlainValidator(_count), AfterValidator(_burst), BeforeValidator(_with_rate), _COUNT_SCHEMA
]
RateShadow = Annotated[bool, BeforeValidator(_with_rate)]
Per = Annotated[
    str,
    AfterValidator(_per),
    BeforeValidator(_with_rate),
    WithJsonSchema({"type": "string", "pattern": r"^(caller|role|address|claim:[^.\s]+(\.[^.\s]+)*)$"}),
]
