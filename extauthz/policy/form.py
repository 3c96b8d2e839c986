"""The form of an AuthPolicy document: which keys there are and what may stand in them.

These pydantic models are the edge: they read what a person wrote, with the patterns already compiled to values, and tell
all that is wrong at once. What the settings must know (providers, header names) comes as validation context. Nothing of
them is left once a policy is compiled (``extauthz.policy.compilation``).

An empty list is an error, as one reader takes it for "none" and the next for "any"; only in a not* word it can mean just
one thing. Therefore an empty list or string in a model always means "not written". A key without value (null) is an
error as well: ``role:`` with its role forgotten must not mean every role. Words that this version knows but does not
enforce are refused: a limit that is accepted and ignored is worse than none.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel

from extauthz.canonical import emittable
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

__all__ = ["DenyForm", "FromForm", "MatchForm", "PolicyForm", "RuleForm", "TargetForm", "ToForm"]

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_NAMESPACE = re.compile(rf"{_LABEL}\Z")
_RULE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._/:-]{0,126}[A-Za-z0-9])?\Z")
_ROLE = re.compile(r"[^\x00-\x1f\x7f]{1,256}\Z")


def _object_name(value: str) -> str:
    if not _SUBDOMAIN.match(value):
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


def _some(value: list[Any]) -> list[Any]:
    if not value:
        raise ValueError("is empty, which could mean nothing as well as anything; fill it, or leave the key out")
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


def _unenforced(what: str, mend: str) -> Callable[[object], None]:
    def refuse(_value: object) -> None:
        raise ValueError(
            f"{what} is not enforced by this version of extauthz, so it is refused rather than ignored; {mend}"
        )

    return refuse


_refuse_shadow = _unenforced("shadow evaluation", "remove it, or the rule with it")


def _mode(value: object) -> object:
    if value == "Shadow":
        _unenforced("Shadow mode", "remove it to enforce the policy, or remove the policy")(value)
    return value


def _shadow(value: object) -> object:
    if value is True:
        _refuse_shadow(value)
    return value


_refuse_rate = _unenforced("a rate", "remove it, and limit the rate elsewhere until a version does")
_RateWord = Annotated[None, PlainValidator(_refuse_rate)]

_Host = Annotated[HostPattern, PlainValidator(read_host, json_schema_input_type=str)]
_Path = Annotated[PathPattern, PlainValidator(read_path, json_schema_input_type=str)]
_Method = Annotated[str, PlainValidator(read_method, json_schema_input_type=str)]
_Port = Annotated[int, PlainValidator(read_port, json_schema_input_type=int | str)]
_Principal = Annotated[str, PlainValidator(read_principal, json_schema_input_type=str)]
_Block = Annotated[Network, PlainValidator(read_network, json_schema_input_type=str)]
_Role = Annotated[str, AfterValidator(_role)]
_RuleName = Annotated[str, AfterValidator(_rule_name)]
_HeaderName = Annotated[str, AfterValidator(_header)]
_Provider = Annotated[str, AfterValidator(_provider)]
_SOME = AfterValidator(_some)


class _Form(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True
    )


class _Entry(_Form):
    """A mapping whose keys are AND; without any it would match everything by accident."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("is an empty entry, which would match anything; leave the list out if that is meant")
        return self


class TargetForm(_Entry):
    """One entry of ``targets``."""

    hosts: Annotated[list[_Host], _SOME] = Field(default_factory=list)
    context: dict[str, str] = Field(default_factory=dict)


class ToForm(_Entry):
    """One entry of ``to``: Istio's operation."""

    hosts: Annotated[list[_Host], _SOME] = Field(default_factory=list)
    not_hosts: list[_Host] = Field(default_factory=list)
    ports: Annotated[list[_Port], _SOME] = Field(default_factory=list)
    not_ports: list[_Port] = Field(default_factory=list)
    methods: Annotated[list[_Method], _SOME] = Field(default_factory=list)
    not_methods: list[_Method] = Field(default_factory=list)
    paths: Annotated[list[_Path], _SOME] = Field(default_factory=list)
    not_paths: list[_Path] = Field(default_factory=list)


class FromForm(_Entry):
    """One entry of ``from``: Istio's source."""

    principals: Annotated[list[_Principal], _SOME] = Field(default_factory=list)
    not_principals: list[_Principal] = Field(default_factory=list)
    ip_blocks: Annotated[list[_Block], _SOME] = Field(default_factory=list)
    not_ip_blocks: list[_Block] = Field(default_factory=list)
    remote_ip_blocks: Annotated[list[_Block], _SOME] = Field(default_factory=list)
    not_remote_ip_blocks: list[_Block] = Field(default_factory=list)


class MatchForm(_Form):
    """What a rule of either kind matches."""

    name: _RuleName = ""
    role: _Role = ""
    roles: Annotated[list[_Role], _SOME] = Field(default_factory=list)
    to: Annotated[list[ToForm], _SOME] = Field(default_factory=list)
    from_: Annotated[list[FromForm], _SOME] = Field(default_factory=list, alias="from")
    when: str = ""
    shadow: Annotated[bool, BeforeValidator(_shadow)] = False

    @model_validator(mode="after")
    def _one_word_for_roles(self) -> Self:
        if self.role and self.roles:
            raise ValueError("has both 'role' and 'roles'; put them into one list 'roles'")
        return self


class DenyForm(MatchForm):
    """One rule of ``deny``."""


class RuleForm(MatchForm):
    """One rule of ``rules``."""

    rate_shadow: _RateWord = None
    max_requests_per_minute: _RateWord = None
    burst: _RateWord = None


class AuthenticationForm(_Form):
    """``authentication``."""

    providers: Annotated[list[_Provider], _SOME] = Field(default_factory=list)
    optional: bool = False
    preflight: Literal["deny", "allow"] = "deny"


class ResponseForm(_Form):
    """``response``."""

    headers: dict[_HeaderName, str] = Field(default_factory=dict)
    remove_headers: Annotated[list[_HeaderName], _SOME] = Field(default_factory=list)


class SpecForm(_Form):
    """``spec``."""

    mode: Annotated[Literal["Enforce"], BeforeValidator(_mode)] = "Enforce"
    targets: Annotated[list[TargetForm], _SOME] = Field(default_factory=list)
    authentication: AuthenticationForm = Field(default_factory=AuthenticationForm)
    deny: Annotated[list[DenyForm], _SOME] = Field(default_factory=list)
    rules: Annotated[list[RuleForm], _SOME] = Field(default_factory=list)
    response: ResponseForm = Field(default_factory=ResponseForm)


class MetadataForm(_Form):
    """``metadata`` as Kubernetes objects have it: only name and namespace mean anything here."""

    name: Annotated[str, AfterValidator(_object_name)]
    namespace: Annotated[str, AfterValidator(_namespace)] = ""
    labels: Any = None
    annotations: Any = None
    uid: Any = None
    resource_version: Any = None
    generation: Any = None
    creation_timestamp: Any = None
    deletion_timestamp: Any = None
    deletion_grace_period_seconds: Any = None
    finalizers: Any = None
    owner_references: Any = None
    managed_fields: Any = None
    self_link: Any = None


class PolicyForm(_Form):
    """A document of kind AuthPolicy."""

    api_version: str
    kind: Literal["AuthPolicy"]
    metadata: MetadataForm
    spec: SpecForm
    status: Any = None
