"""From the form of a document to a compiled policy.

Nothing can fail here: the form holds patterns that were read and words that were checked, the expressions were compiled
by the loader, and what is left is to put them where a decision finds them without thinking.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from extauthz.model import ANONYMOUS, Deny, Reason
from extauthz.policy.expression import Condition, HeaderValue
from extauthz.policy.form import DenyForm, FromForm, MatchForm, PolicyForm, RuleForm, TargetForm, ToForm
from extauthz.policy.paths import PathPattern, Paths
from extauthz.policy.patterns import HostPattern, Hosts, Network, Networks, Principals
from extauthz.policy.policy import Policy, Target
from extauthz.policy.response import ResponseHeader
from extauthz.policy.rule import Operation, Rule, Source, Stage
from extauthz.policy.settings import PolicySettings

__all__ = ["compile_policy", "policy_name"]


def policy_name(namespace: str, name: str) -> str:
    """What decisions call a policy."""
    return f"{namespace}/{name}" if namespace else name


def compile_policy(
    form: PolicyForm,
    conditions: Mapping[str, Condition],
    header_values: Mapping[str, HeaderValue],
    settings: PolicySettings,
) -> Policy:
    """Compile a document whose expressions are given by their text."""
    spec = form.spec
    name = policy_name(form.metadata.namespace, form.metadata.name)
    compiler = _RuleCompiler(name, conditions, fold=settings.case_insensitive_paths)
    return Policy(
        name=name,
        targets=tuple(_target(target) for target in spec.targets),
        providers=frozenset(spec.authentication.providers),
        mesh_providers=settings.mesh_providers,
        mesh=settings.mesh_providers.intersection(spec.authentication.providers),
        optional=spec.authentication.optional,
        preflight=spec.authentication.preflight == "allow",
        deny=tuple(compiler.rule(rule, f"deny[{index}]", deny=True) for index, rule in enumerate(spec.deny)),
        rules=tuple(compiler.rule(rule, f"rules[{index}]", deny=False) for index, rule in enumerate(spec.rules)),
        headers=tuple(
            ResponseHeader(header, header_values[source]) for header, source in sorted(spec.response.headers.items())
        ),
        remove_headers=tuple(sorted(set(spec.response.remove_headers))),
    )


def _target(form: TargetForm) -> Target:
    return Target(
        patterns=tuple(form.hosts),
        hosts=Hosts(form.hosts) if form.hosts else None,
        context=MappingProxyType(dict(form.context)),
    )


class _RuleCompiler:
    """Compiles the rules of one policy."""

    def __init__(self, policy: str, conditions: Mapping[str, Condition], *, fold: bool) -> None:
        self._policy = policy
        self._conditions = conditions
        self._fold = fold

    def rule(self, form: DenyForm | RuleForm, place: str, *, deny: bool) -> Rule:
        """One rule; ``place`` names it if its author did not."""
        name = form.name or place
        roles = frozenset(form.roles or ([form.role] if form.role else []))
        to = tuple(self._operation(entry, deny=deny) for entry in form.to) or None
        without_http, connect = to, to
        if not deny:
            # An allow means these two only where it says so; a deny means them unless it says otherwise.
            without_http = tuple(operation for operation in to or () if operation.just_ports)
            connect = tuple(operation for operation in to or () if operation.names_connect)
        return Rule(
            policy=self._policy,
            name=name,
            deny=deny,
            roles=roles or None,
            to=to,
            to_without_http=without_http,
            to_connect=connect,
            sources=tuple(_source(entry, deny=deny) for entry in form.from_) or None,
            when=self._conditions[form.when] if form.when else None,
            wants_credentials=roles != {ANONYMOUS},
            denials=_denials(self._policy, name, form, roles),
        )

    def _operation(self, form: ToForm, *, deny: bool) -> Operation:
        return Operation(
            deny=deny,
            hosts=_hosts(form.hosts),
            not_hosts=_hosts(form.not_hosts),
            ports=frozenset(form.ports) or None,
            not_ports=frozenset(form.not_ports) or None,
            methods=frozenset(form.methods) or None,
            not_methods=frozenset(form.not_methods) or None,
            paths=self._paths(form.paths, tolerant=deny),
            not_paths=self._paths(form.not_paths, tolerant=True),
        )

    def _paths(self, patterns: Iterable[PathPattern], *, tolerant: bool) -> Paths | None:
        """In ``deny`` and in not* ``/x`` also matches ``/x/``."""
        known = tuple(patterns)
        return Paths(known, tolerant=tolerant, fold=self._fold) if known else None


def _hosts(patterns: Iterable[HostPattern]) -> Hosts | None:
    known = tuple(patterns)
    return Hosts(known) if known else None


def _source(form: FromForm, *, deny: bool) -> Source:
    return Source(
        deny=deny,
        principals=_principals(form.principals),
        not_principals=_principals(form.not_principals),
        ip_blocks=_networks(form.ip_blocks),
        not_ip_blocks=_networks(form.not_ip_blocks),
        remote_ip_blocks=_networks(form.remote_ip_blocks),
        not_remote_ip_blocks=_networks(form.not_remote_ip_blocks),
    )


def _principals(patterns: Iterable[str]) -> Principals | None:
    known = tuple(patterns)
    return Principals(known) if known else None


def _networks(blocks: Iterable[Network]) -> Networks | None:
    known = tuple(blocks)
    return Networks(known) if known else None


def _denials(policy: str, rule: str, form: MatchForm, roles: frozenset[str]) -> tuple[Deny, ...]:
    """What a rule says of a request for each stage that it stops at."""
    wanted = f"one of the roles {', '.join(sorted(roles))}" if roles else "an authenticated caller"
    told = {
        Stage.TO: (
            Reason.NO_RULE,
            "no entry of its `to` matches" if form.to else "it does not say `to` for this kind of request",
        ),
        Stage.FROM: (Reason.NO_RULE, "no entry of its `from` matches"),
        Stage.ROLE: (Reason.ROLE_MISSING, f"it asks for {wanted}"),
        Stage.WHEN: (Reason.NO_RULE, "its `when` is false"),
        Stage.MATCHED: (Reason.DENIED_BY_RULE, ""),
    }
    return tuple(Deny(reason, detail, policy=policy, rule=rule) for _, (reason, detail) in sorted(told.items()))
