"""The form of an AuthPolicy document: which keys there are and what may stand in them.

These pydantic models are the edge: they read what a person wrote, with the patterns already compiled to values, and tell
all that is wrong at once. What the settings must know (providers, header names) comes as validation context. Nothing of
them is left once a policy is compiled (``extauthz.policy.compilation``). The docstrings below each key are what editors
show (``extauthz.policy.schema``).

An empty list is an error, as one reader takes it for "none" and the next for "any"; only in a not* word it can mean just
one thing. Therefore an empty list or string in a model always means "not written". A key without value (null) is an
error as well: ``role:`` with its role forgotten must not mean every role.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from extauthz.documents import Form
from extauthz.policy.fields import (
    Block,
    Bounds,
    Burst,
    ContextText,
    Expression,
    HeaderName,
    Host,
    KubernetesKey,
    Method,
    Namespace,
    ObjectName,
    Path,
    Per,
    PerMinute,
    Port,
    Principal,
    Provider,
    RateShadow,
    Role,
    RuleName,
)

__all__ = ["DenyForm", "FromForm", "MatchForm", "PolicyForm", "RuleForm", "TargetForm", "ToForm"]

_RULES = Bounds(100_000)
_ENTRIES = Bounds(1_000)
_PATTERNS = Bounds(10_000)
_NOT_PATTERNS = Bounds(10_000, empty=True)
_FEW = Bounds(100)
_FEW_KEYS = Bounds(100, empty=True)

# What the validators below say, as far as a schema can.
_ROLE_OR_ROLES: dict[str, Any] = {"not": {"required": ["role", "roles"]}}
_RATE_WORDS: dict[str, Any] = {
    "dependentRequired": {word: ["maxRequestsPerMinute"] for word in ("burst", "per", "rateShadow")}
}


class _Form(Form):
    model_config = ConfigDict(arbitrary_types_allowed=True)


class _Entry(_Form):
    """A mapping whose keys are AND; without any it would match everything by accident."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("is an empty entry, which would match anything; leave the list out if that is meant")
        return self


class TargetForm(_Entry):
    """Requests that a policy covers; all its keys must match."""

    hosts: Annotated[list[Host], _PATTERNS] = Field(default_factory=list, examples=[["orders.example.com"]])
    """Host names without port, `*.example.com` for every name below example.com (never that name itself), or `*`."""
    context: Annotated[dict[ContextText, ContextText], _FEW_KEYS] = Field(
        default_factory=dict, examples=[{"app": "orders"}]
    )
    """What the route's `context_extensions` must say."""


class ToForm(_Entry):
    """What is asked for (Istio's operation): all keys must match, and of each list one value."""

    hosts: Annotated[list[Host], _PATTERNS] = Field(default_factory=list, examples=[["*.shop.example.com"]])
    """Host names without port, `*.example.com` for every name below example.com (never that name itself), or `*`."""
    not_hosts: Annotated[list[Host], _NOT_PATTERNS] = Field(default_factory=list)
    """Any host but these."""
    ports: Annotated[list[Port], _PATTERNS] = Field(default_factory=list, examples=[[8443]])
    """Ports that the connection came in on."""
    not_ports: Annotated[list[Port], _NOT_PATTERNS] = Field(default_factory=list)
    """Any port but these."""
    methods: Annotated[list[Method], _PATTERNS] = Field(default_factory=list, examples=[["GET", "HEAD"]])
    """HTTP methods in upper case. CONNECT is allowed only where it is named here."""
    not_methods: Annotated[list[Method], _NOT_PATTERNS] = Field(default_factory=list)
    """Any method but these."""
    paths: Annotated[list[Path], _PATTERNS] = Field(
        default_factory=list, examples=[["/orders", "/orders/{id}", "/orders/{id}/items/**"]]
    )
    """Paths without query: literal, `{name}` for one segment, a final `/**` for everything below. In `deny` `/x` also
    means `/x/`."""
    not_paths: Annotated[list[Path], _NOT_PATTERNS] = Field(default_factory=list)
    """Any path but these; `/x` also means `/x/`."""


class FromForm(_Entry):
    """Where a request comes from (Istio's source): all keys must match, and of each list one value."""

    principals: Annotated[list[Principal], _PATTERNS] = Field(
        default_factory=list, examples=[["spiffe://cluster.local/ns/shop/sa/*"]]
    )
    """Names in the peer's certificate: whole, with a final `*` for any rest, `*/suffix` of SPIFFE IDs, or `*` for any."""
    not_principals: Annotated[list[Principal], _NOT_PATTERNS] = Field(default_factory=list)
    """Any principal but these; a peer without certificate has none."""
    ip_blocks: Annotated[list[Block], _PATTERNS] = Field(default_factory=list, examples=[["10.0.0.0/8"]])
    """Addresses or CIDR blocks of the connection's peer, which may be a proxy."""
    not_ip_blocks: Annotated[list[Block], _NOT_PATTERNS] = Field(default_factory=list)
    """Any peer but these."""
    remote_ip_blocks: Annotated[list[Block], _PATTERNS] = Field(default_factory=list, examples=[["203.0.113.0/24"]])
    """Addresses or CIDR blocks of the client, told by the setting `clientAddress.trustedHops`."""
    not_remote_ip_blocks: Annotated[list[Block], _NOT_PATTERNS] = Field(default_factory=list)
    """Any client but these."""


class MatchForm(_Form):
    """What a rule of either kind matches."""

    model_config = ConfigDict(json_schema_extra=_ROLE_OR_ROLES)

    name: RuleName = Field(default="", examples=["read-orders"])
    """What decisions, logs and metrics call the rule; without it, its place, such as `rules[0]`."""
    role: Role = Field(default="", examples=["user"])
    """The role that the caller must have; `anonymous` for callers without credentials. Not beside `roles`."""
    roles: Annotated[list[Role], _ENTRIES] = Field(default_factory=list, examples=[["user", "partner"]])
    """Roles of which the caller must have one. Not beside `role`."""
    to: Annotated[list[ToForm], _ENTRIES] = Field(default_factory=list)
    """What is asked for: one of the entries must match. Absent: anything."""
    from_: Annotated[list[FromForm], _ENTRIES] = Field(default_factory=list, alias="from")
    """Where the request comes from: one of the entries must match. Absent: anywhere."""
    when: Expression = Field(
        default="", examples=['has(claims.tenant) && claims.tenant == request.headers["x-tenant"]']
    )
    """A condition in CEL; anything but `true` does not match, and an error in `deny` denies."""
    shadow: bool = False
    """True: evaluated, logged and counted, without effect on any answer."""

    @model_validator(mode="after")
    def _one_word_for_roles(self) -> Self:
        if self.role and self.roles:
            raise ValueError("has both 'role' and 'roles'; put them into one list 'roles'")
        return self


class DenyForm(MatchForm):
    """A rule that denies what it matches, whoever asks and whatever any other rule allows."""


class RuleForm(MatchForm):
    """A rule that allows what it matches. Without `role` and `roles` it takes any authenticated caller."""

    model_config = ConfigDict(json_schema_extra=_ROLE_OR_ROLES | _RATE_WORDS)

    max_requests_per_minute: PerMinute = Field(default=None, examples=[100])
    """Never more requests than this in any 60 seconds."""
    burst: Burst = Field(default=None, examples=[20])
    """Never more requests than this within one second; absent: no such limit. Needs a rate."""
    per: Per = Field(default="caller", examples=["address", "claim:tenant"])
    """Whose requests are counted together: those of a `caller`, a `role`, a client `address`, or of all whose claim has
    one value (`claim:<dotted path>`). Needs a rate."""
    rate_shadow: RateShadow = False
    """True: the rate is counted and told, and never denies. Needs a rate."""


class AuthenticationForm(_Form):
    """Whose callers the policy's rules count for."""

    providers: Annotated[list[Provider], _FEW] = Field(default_factory=list, examples=[["corporate"]])
    """Names of configured providers; absent: any, mesh entries excepted."""
    optional: bool = False
    """True: a caller without credentials goes on as role `anonymous`; bad credentials are refused all the same."""
    preflight: Literal["deny", "allow"] = "deny"
    """`deny` judges a CORS preflight like any request; `allow` lets a true one pass, unless a `deny` matches."""


class ResponseForm(_Form):
    """What the service behind is told of an allowed request."""

    headers: Annotated[dict[HeaderName, Expression], _FEW_KEYS] = Field(
        default_factory=dict, examples=[{"x-auth-subject": "identity.subject"}]
    )
    """Headers to set: name in lower case, and a CEL expression that gives a string or a list of strings."""
    remove_headers: Annotated[list[HeaderName], _FEW] = Field(default_factory=list, examples=[["authorization"]])
    """Headers that the service does not get to see."""


class RateLimitsForm(_Form):
    """What holds for all rates of the policy."""

    when_store_fails: Literal["deny", "local"] = "deny"
    """While the shared store can't be reached: `deny` refuses what has a rate, `local` counts in each replica, with its
    part of the rate."""


class SpecForm(_Form):
    """What a policy says."""

    mode: Literal["Enforce", "Shadow"] = "Enforce"
    """`Shadow`: the whole policy is evaluated, logged and counted, without effect on any answer."""
    targets: Annotated[list[TargetForm], _ENTRIES] = Field(default_factory=list)
    """Which requests the policy covers: those that match one of the entries. Absent: every request."""
    authentication: AuthenticationForm = Field(default_factory=AuthenticationForm)
    """Whose callers the policy's rules count for."""
    deny: Annotated[list[DenyForm], _RULES] = Field(default_factory=list)
    """What is denied, before the rules are looked at."""
    rules: Annotated[list[RuleForm], _RULES] = Field(default_factory=list)
    """What is allowed: a request that one of them matches. Absent: nothing."""
    rate_limits: RateLimitsForm = Field(default_factory=RateLimitsForm)
    """What holds for all rates of the policy."""
    response: ResponseForm = Field(default_factory=ResponseForm)
    """What the service behind is told of an allowed request."""


class MetadataForm(_Form):
    """`metadata` as Kubernetes objects have it: only name and namespace mean anything here."""

    name: ObjectName = Field(examples=["orders"])
    """The policy's name, once in its namespace."""
    namespace: Namespace = ""
    """With it, decisions call the policy `namespace/name`."""
    labels: KubernetesKey = None
    annotations: KubernetesKey = None
    uid: KubernetesKey = None
    resource_version: KubernetesKey = None
    generation: KubernetesKey = None
    creation_timestamp: KubernetesKey = None
    deletion_timestamp: KubernetesKey = None
    deletion_grace_period_seconds: KubernetesKey = None
    finalizers: KubernetesKey = None
    owner_references: KubernetesKey = None
    managed_fields: KubernetesKey = None
    self_link: KubernetesKey = None


class PolicyForm(_Form):
    """An AuthPolicy: what callers may do. Nothing is allowed that no rule of a policy allows."""

    api_version: str = Field(examples=["security.example.com/v1"])
    """The group of the setting `policies.group`, and `/v1`."""
    kind: Literal["AuthPolicy"]
    """Always `AuthPolicy`."""
    metadata: MetadataForm
    """Its name."""
    spec: SpecForm
    """What it says."""
    status: KubernetesKey = None
