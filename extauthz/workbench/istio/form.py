"""The form of Istio's objects, as its resource definitions and its webhook have it.

What Istio itself would refuse has no meaning that could be kept: an unknown word may be a misspelled restriction, and a
string where a list is meant is read letter by letter by whoever does not look. So all of that is an error here as well.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from extauthz.workbench.istio.words import require_template

__all__ = [
    "AuthenticationForm",
    "AuthorizationForm",
    "ConditionForm",
    "JwtRuleForm",
    "MetadataForm",
    "OperationForm",
    "RuleForm",
    "SourceForm",
]

_TRUE = ("1", "t", "T", "TRUE", "true", "True")

Text = Annotated[str, StringConstraints(min_length=1)]
PathText = Annotated[Text, AfterValidator(require_template)]


class _Form(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)

    def says_nothing(self) -> bool:
        """Whether no list of it has an entry."""
        return not any(getattr(self, name) for name in type(self).model_fields)


class MetadataForm(BaseModel):
    """What of an object's metadata counts."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: Text
    namespace: str = ""
    annotations: dict[str, str] = {}

    @property
    def dry_run(self) -> bool:
        """As Go reads a bool, which is how Istio reads the annotation."""
        return self.annotations.get("istio.io/dry-run", "") in _TRUE


class _Selector(_Form):
    match_labels: dict[str, str] = {}


class _Workloads(_Form):
    """Which workloads an object is for."""

    selector: _Selector = _Selector()
    target_ref: dict[str, Any] = {}
    target_refs: list[dict[str, Any]] = []

    @property
    def labels(self) -> Mapping[str, str]:
        """Of the workloads; empty for any."""
        return self.selector.match_labels

    @property
    def attached(self) -> bool:
        """Whether it is for gateways, waypoints or services that it names."""
        return bool(self.target_ref or self.target_refs)


class SourceForm(_Form):
    """One ``source``: fields are AND, their entries OR."""

    principals: list[Text] = []
    not_principals: list[Text] = []
    request_principals: list[Text] = []
    not_request_principals: list[Text] = []
    namespaces: list[Text] = []
    not_namespaces: list[Text] = []
    service_accounts: list[Text] = []
    not_service_accounts: list[Text] = []
    trust_domains: list[Text] = []
    not_trust_domains: list[Text] = []
    ip_blocks: list[Text] = []
    not_ip_blocks: list[Text] = []
    remote_ip_blocks: list[Text] = []
    not_remote_ip_blocks: list[Text] = []


class OperationForm(_Form):
    """One ``operation``: fields are AND, their entries OR."""

    hosts: list[Text] = []
    not_hosts: list[Text] = []
    ports: list[Text] = []
    not_ports: list[Text] = []
    methods: list[Text] = []
    not_methods: list[Text] = []
    paths: list[PathText] = []
    not_paths: list[PathText] = []


class _From(_Form):
    source: SourceForm

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.source.says_nothing():
            raise ValueError("`source` is empty, which Istio refuses")
        return self


class _To(_Form):
    operation: OperationForm

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.operation.says_nothing():
            raise ValueError("`operation` is empty, which Istio refuses")
        return self


class ConditionForm(_Form):
    """One entry of ``when``."""

    key: Text
    values: list[Text] = []
    not_values: list[Text] = []

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.values and not self.not_values:
            raise ValueError("a condition needs `values` or `notValues`")
        return self


class RuleForm(_Form):
    """One rule: a source, an operation and every condition must match. An absent list matches anything."""

    from_: list[_From] | None = Field(default=None, alias="from", min_length=1)
    to: list[_To] | None = Field(default=None, min_length=1)
    when: list[ConditionForm] = []


class _Provider(_Form):
    name: Text


class _AuthorizationSpec(_Workloads):
    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] = "ALLOW"
    provider: _Provider | None = None
    rules: list[RuleForm] = []


class _HeaderForm(_Form):
    name: Text
    prefix: str = ""


class JwtRuleForm(_Form):
    """One issuer whose tokens are taken."""

    issuer: Text
    audiences: list[Text] = []
    jwks_uri: Annotated[str, Field(alias="jwksUri")] = ""
    jwks_uri_alias: Annotated[str, Field(alias="jwks_uri")] = ""
    jwks: str = ""
    from_headers: list[_HeaderForm] = []
    from_params: list[Text] = []
    from_cookies: list[Text] = []
    space_delimited_claims: list[Text] = []
    output_payload_to_header: str = ""
    output_claim_to_headers: list[dict[str, str]] = []
    forward_original_token: bool = False
    timeout: str = ""


class _AuthenticationSpec(_Workloads):
    jwt_rules: list[JwtRuleForm] = []


class _Object(_Form):
    api_version: Literal["security.istio.io/v1", "security.istio.io/v1beta1"]
    kind: str
    metadata: MetadataForm
    status: Any = None


class AuthorizationForm(_Object):
    """An AuthorizationPolicy (https://istio.io/latest/docs/reference/config/security/authorization-policy/)."""

    spec: _AuthorizationSpec = _AuthorizationSpec()


class AuthenticationForm(_Object):
    """A RequestAuthentication (https://istio.io/latest/docs/reference/config/security/request_authentication/)."""

    spec: _AuthenticationSpec = _AuthenticationSpec()
