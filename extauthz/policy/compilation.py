"""From the form of a document to a compiled policy.

Nothing can fail here: the form holds patterns that were read and words that were checked, the expressions were compiled
by the loader, and what is left is to put them where a decision finds them without thinking.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from extauthz.canonical import charge_text
from extauthz.errors import Position
from extauthz.model import ANONYMOUS, Deny, Rate, Reason, Request
from extauthz.policy.expression import Condition, HeaderValue
from extauthz.policy.form import DenyForm, FromForm, MatchForm, PolicyForm, RuleForm, TargetForm, ToForm
from extauthz.policy.meter import Meter
from extauthz.policy.paths import PathPattern, Paths
from extauthz.policy.patterns import Hosts, Networks, Principals
from extauthz.policy.policy import Policy, Target
from extauthz.policy.response import ResponseHeader
from extauthz.policy.rule import Rule, Stage
from extauthz.policy.settings import PolicySettings
from extauthz.policy.words import Entry, Word, client_address, peer_address

__all__ = ["compile_policy", "policy_name"]


def policy_name(namespace: str, name: str) -> str:
    """What decisions call a policy."""
    return f"{namespace}/{name}" if namespace else name


def compile_policy(
    form: PolicyForm,
    conditions: Mapping[str, Condition],
    header_values: Mapping[str, HeaderValue],
    settings: PolicySettings,
    where: Callable[[tuple[str | int, ...]], Position],
) -> Policy:
    """Compile a document whose expressions are given by their text; ``where`` tells the place of a path in it."""
    spec = form.spec
    name = policy_name(form.metadata.namespace, form.metadata.name)
    compiler = _RuleCompiler(
        name,
        conditions,
        fold=settings.case_insensitive_paths,
        local_without_store=spec.rate_limits.when_store_fails == "local",
    )
    return Policy(
        name=name,
        where=where(("metadata", "name")),
        shadow=spec.mode == "Shadow",
        targets=tuple(_target(target) for target in spec.targets),
        providers=frozenset(spec.authentication.providers),
        mesh_providers=settings.mesh_providers,
        mesh=settings.mesh_providers.intersection(spec.authentication.providers),
        optional=spec.authentication.optional,
        preflight=spec.authentication.preflight == "allow",
        deny=tuple(
            compiler.rule(rule, f"deny[{index}]", where(("spec", "deny", index)))
            for index, rule in enumerate(spec.deny)
        ),
        rules=tuple(
            compiler.rule(rule, f"rules[{index}]", where(("spec", "rules", index)))
            for index, rule in enumerate(spec.rules)
        ),
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
        written=tuple(map(str, form.hosts)),
    )


class _RuleCompiler:
    """Compiles the rules of one policy."""

    def __init__(
        self, policy: str, conditions: Mapping[str, Condition], *, fold: bool, local_without_store: bool
    ) -> None:
        self._policy = policy
        self._conditions = conditions
        self._fold = fold
        self._local_without_store = local_without_store

    def rule(self, form: DenyForm | RuleForm, place: str, where: Position) -> Rule:
        """One rule; ``place`` names it if its author did not."""
        deny = isinstance(form, DenyForm)
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
            where=where,
            deny=deny,
            shadow=form.shadow,
            roles=roles or None,
            to=to,
            to_without_http=without_http,
            to_connect=connect,
            sources=tuple(_source(entry, deny=deny) for entry in form.from_) or None,
            when=self._conditions[form.when] if form.when else None,
            meter=self._meter(form, name) if isinstance(form, RuleForm) else None,
            wants_credentials=roles != {ANONYMOUS},
            denials=_denials(self._policy, name, form, roles),
        )

    def _meter(self, form: RuleForm, name: str) -> Meter | None:
        if form.max_requests_per_minute is None:
            return None
        per, _, claim = form.per.partition(":")
        return Meter(
            policy=self._policy,
            rule=name,
            rate=Rate(form.max_requests_per_minute, form.burst),
            per=per,
            claim=tuple(claim.split(".")) if claim else (),
            roles=tuple(form.roles or ([form.role] if form.role else [])),
            shadow=form.rate_shadow,
            local_without_store=self._local_without_store,
            prefix=charge_text(self._policy, name),
        )

    def _operation(self, form: ToForm, *, deny: bool) -> Entry:
        return Entry(
            _words(
                deny,
                ("hosts", form.hosts, Hosts, _host),
                ("ports", form.ports, frozenset, _port),
                ("methods", form.methods, frozenset, _method),
                ("paths", form.paths, self._paths(tolerant=deny), _path),
                ("notHosts", form.not_hosts, Hosts, _host),
                ("notPorts", form.not_ports, frozenset, _port),
                ("notMethods", form.not_methods, frozenset, _method),
                ("notPaths", form.not_paths, self._paths(tolerant=True), _path),
            )
        )

    def _paths(self, *, tolerant: bool) -> Callable[[Iterable[PathPattern]], Paths]:
        """In ``deny`` and in not* ``/x`` also matches ``/x/``."""
        return lambda patterns: Paths(patterns, tolerant=tolerant, fold=self._fold)


_AskedWord = tuple[str, list[Any], Callable[[Any], Any], Callable[[Request], Any]]


def _words(deny: bool, *words: _AskedWord) -> tuple[Word, ...]:  # noqa: FBT001 - on which side the words stand
    return tuple(
        Word(
            name=name,
            written=tuple(map(str, asked)),
            asked=tuple(asked),
            read=read,
            patterns=compiled(asked),
            excludes=name.startswith("not"),
            deny=deny,
            unreadable=_UNREADABLE.get(name),
        )
        for name, asked, compiled, read in words
        if asked
    )


_UNREADABLE: Mapping[str, Callable[[Request], bool]] = {"ipBlocks": peer_address, "remoteIpBlocks": client_address}


def _source(form: FromForm, *, deny: bool) -> Entry:
    return Entry(
        _words(
            deny,
            ("principals", form.principals, Principals, _principal),
            ("ipBlocks", form.ip_blocks, Networks, _peer),
            ("remoteIpBlocks", form.remote_ip_blocks, Networks, _client),
            ("notPrincipals", form.not_principals, Principals, _principal),
            ("notIpBlocks", form.not_ip_blocks, Networks, _peer),
            ("notRemoteIpBlocks", form.not_remote_ip_blocks, Networks, _client),
        )
    )


def _host(request: Request) -> str:
    return request.host


def _port(request: Request) -> int:
    return request.destination.port


def _method(request: Request) -> str:
    return request.method


def _path(request: Request) -> str:
    return request.path


def _principal(request: Request) -> str:
    return request.source.principal


def _peer(request: Request) -> Any:
    return request.source_ip


def _client(request: Request) -> Any:
    return request.client_ip


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
