"""The form of a test suite: which keys there are and what may stand in them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from extauthz.documents import FieldError, Form
from extauthz.model import Reason

__all__ = ["CallerForm", "CaseForm", "ExpectForm", "RequestForm", "SuiteForm", "TableForm"]

REASONS = tuple(reason.word for reason in Reason)
COLUMNS = (
    "name", "request", "method", "path", "host", "caller", "peer",
    "expect", "decision", "reason", "policy", "rule", "status",
)  # fmt: skip
"""What a table may have for columns."""

Decision = Literal["allow", "deny"]


class _Form(Form):
    model_config = ConfigDict(hide_input_in_errors=True)


class SourceForm(_Form):
    """The other end of the connection."""

    address: str | None = None
    """Its IP address."""
    principal: str | None = None
    """The name in its certificate, such as a SPIFFE ID."""


def _scalar_headers(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: [item] if isinstance(item, str) else item for name, item in value.items()}


class RequestForm(_Form):
    """A request. What is not said is taken from the suite's defaults, then from a plain GET over TLS."""

    method: str | None = None
    path: str | None = None
    """Path and query, as they are on the wire."""
    host: str | None = None
    scheme: str | None = None
    headers: Annotated[
        dict[str, list[str]],
        BeforeValidator(_scalar_headers, json_schema_input_type=dict[str, str | list[str]]),
    ] = Field(default_factory=dict)
    """Names and values; a list for a header that is repeated."""
    context: dict[str, str] = Field(default_factory=dict)
    """context_extensions of the route."""
    source: SourceForm = SourceForm()
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port that was connected to."""
    sni: str | None = None
    """The TLS server name."""
    time: str | None = None
    """When Envoy saw it, RFC 3339: 2026-11-23T09:30:00Z."""
    tcp: bool | None = None
    """true: a connection without HTTP, as the TCP filter asks about."""

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                zone = datetime.fromisoformat(value).tzinfo
            except ValueError:
                zone = None
            if zone is None:
                raise FieldError(f"{value!r} is no time with a zone", "write 2026-11-23T09:30:00Z")
        return value


class CallerForm(_Form):
    """Who asks."""

    provider: str = ""
    """The provider that vouches for the caller; absent where only one is configured."""
    subject: str = ""
    roles: list[str] | None = None
    """The roles that the caller has, after mapping and inclusion."""
    scopes: list[str] = Field(default_factory=list)
    claims: dict[str, Any] = Field(default_factory=dict)
    """The verified claims, for conditions."""
    token: dict[str, Any] | None = None
    """The claims of a verified token: subject, roles and scopes are read from them as the provider's settings say."""
    refused: str = ""
    """The credentials were refused for this reason, such as token-expired."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.refused:
            if self.refused not in REASONS or self.refused == Reason.ALLOWED.word:
                raise FieldError(f"{self.refused!r} is no reason", "known are: " + ", ".join(REASONS[1:]))
            if self.roles is not None or self.token is not None or self.subject:
                raise FieldError("a caller whose credentials are refused is nobody", "keep only refused and provider")
        elif self.token is not None:
            if self.roles is not None or self.subject or self.scopes or self.claims:
                raise FieldError(
                    "roles, subject, scopes and claims are read from the token", "remove them, or the token"
                )
        elif self.roles is None:
            raise FieldError("says neither roles nor token nor refused", "write roles: [] for a caller without roles")
        return self


class ExpectForm(_Form):
    """What must come of a request."""

    decision: Decision | None = None
    reason: str | None = None
    policy: str | None = None
    rule: str | None = None
    status: int | None = None
    """The HTTP status of a denial."""
    headers: dict[str, str | None] = Field(default_factory=dict)
    """Of an allow: what the service is told; null for a header that must be gone."""
    rate: int | None = None
    """Of an allow: the rate that is charged, requests a minute; 0 for none."""
    shadow: dict[str, Decision] = Field(default_factory=dict)
    """What shadow policies, and shadow rules as policy/rule, would have said."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) not in (None, {}) for name in type(self).model_fields):
            raise FieldError("expects nothing", "write allow, deny or a reason")
        if self.reason is not None and self.reason not in REASONS:
            raise FieldError(f"{self.reason!r} is no reason", "known are: " + ", ".join(REASONS))
        return self


def _short_request(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    from extauthz.workbench.sketch import read_target

    method, scheme, host, path = read_target(value)
    named = {"method": method, "scheme": scheme, "host": host, "path": path}
    return {key: text for key, text in named.items() if text}


def _short_expect(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return {"decision": value} if value in ("allow", "deny") else {"reason": value}


Request = Annotated[RequestForm, BeforeValidator(_short_request, json_schema_input_type=str | RequestForm)]
"""``GET /orders?x=1``, ``https://orders.example.com/``, or a mapping."""
Expect = Annotated[ExpectForm, BeforeValidator(_short_expect, json_schema_input_type=str | ExpectForm)]
"""``allow``, ``deny``, a reason, or a mapping."""
Caller = str | CallerForm | None
"""The name of a caller of the suite, a caller, or null for nobody."""


class TableForm(_Form):
    """Many cases, one a row."""

    columns: list[str]
    rows: list[list[Any]]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for column in self.columns:
            if column not in COLUMNS:
                raise FieldError(f"{column!r} is no column", "known are: " + ", ".join(COLUMNS))
        if len(set(self.columns)) != len(self.columns):
            raise FieldError("names a column twice")
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise FieldError(f"row {number + 1} has {len(row)} cells, and there are {len(self.columns)} columns")
        return self


class CaseForm(_Form):
    """One case, or a table of cases that have its other words in common."""

    name: str = ""
    request: Request = RequestForm()
    caller: Caller = None
    peer: Caller = None
    """Whom the connection proves to a mesh provider."""
    expect: Expect | None = None
    table: TableForm | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.table is None and self.expect is None:
            raise FieldError("expects nothing", "write expect: allow, deny or a reason")
        return self


class SpecForm(_Form):
    """``spec``."""

    policies: list[str] = Field(default_factory=list)
    """Files and folders of policies, relative to this file; absent: those of the configuration."""
    defaults: Request = RequestForm()
    """What every request of the suite has unless it says otherwise."""
    callers: dict[str, CallerForm] = Field(default_factory=dict)
    cases: Annotated[list[CaseForm], Field(min_length=1)]


class MetadataForm(_Form):
    """``metadata``."""

    name: str
    labels: Any = None
    annotations: Any = None


class SuiteForm(_Form):
    """A document of kind PolicyTest."""

    api_version: str
    kind: Literal["PolicyTest"]
    metadata: MetadataForm
    spec: SpecForm
