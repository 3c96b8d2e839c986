"""AuthPolicy read aloud: an evaluator of plain documents that is slow, short and obviously right.

It reads the dictionaries of a document as docs/policies.md and docs/decisions/0003 explain them, compiles nothing, sorts
nothing into indexes, and shares no code with ``extauthz.policy``; only the values that go in (``Request``, ``Identity``, the
``Deny`` of a peer that was refused) are the real ones. Whatever the real thing answers, it has to answer as well: verdict,
reason, policy, rule, headers, charge, and what shadow policies and rules would have said.

CEL is not evaluated but looked up: ``CONDITIONS`` and ``HEADER_VALUES`` have the expressions that tests may write, each as
the sentence of Python that it means. An attribute that is absent raises, as an expression that uses it errs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_network
from typing import Any

from extauthz.model import Deny, Identity, Reason, Request

__all__ = ["ABOUT_CALLERS", "CONDITIONS", "HEADER_VALUES", "Answer", "Oracle", "Peer"]

Peer = Identity | Deny | None
"""What the connection proves: a mesh identity, why it is none, nobody."""
Rule = Mapping[str, Any]
Spec = Mapping[str, Any]


class Absent(Exception):  # noqa: N818 - the absence is the fact
    """An expression asks for what the request or the caller has not."""


@dataclass(frozen=True)
class Answer:
    """One verdict, as far as anybody outside can see it."""

    reason: str
    policy: str = ""
    rule: str = ""
    set_headers: tuple[tuple[str, str], ...] = ()
    removed: frozenset[str] = frozenset()
    charged: int | None = None
    """The rate that an allowed request is charged to; None without one."""


# ------------------------------------------------------------------------------------------------------- expressions


@dataclass(frozen=True)
class Seen:
    """A request and the caller that an expression sees; None is one without credentials."""

    request: Request
    caller: Identity | None
    fold: bool

    def roles(self) -> list[str]:
        return ["anonymous"] if self.caller is None else sorted(self.caller.roles)

    def known(self) -> Identity:
        if self.caller is None:
            raise Absent
        return self.caller

    def claim(self, name: str) -> Any:
        claims: Mapping[str, Any] = {} if self.caller is None else self.caller.claims
        if name not in claims:
            raise Absent
        return claims[name]

    def there(self, value: str) -> str:
        if value == "":
            raise Absent
        return value

    def url_path(self) -> str:
        path = self.there(self.request.path)
        return path.lower() if self.fold else path

    def header(self, name: str) -> str:
        if name not in self.request.headers:
            raise Absent
        return ",".join(self.request.headers[name])

    def context(self, name: str) -> str:
        if name not in self.request.context:
            raise Absent
        return self.request.context[name]


def _either(first: Callable[[], bool], second: Callable[[], bool]) -> bool:
    """``||``: an error on one side does not matter where the other one holds."""
    try:
        return first() or second()
    except Absent:
        if second():
            return True
        raise


def _both(first: Callable[[], bool], second: Callable[[], bool]) -> bool:
    """``&&``: an error on one side does not matter where the other one does not hold."""
    try:
        return first() and second()
    except Absent:
        if not second():
            return False
        raise


CONDITIONS: Mapping[str, Callable[[Seen], bool]] = {
    "true": lambda seen: True,
    "false": lambda seen: False,
    'request.method == "GET"': lambda seen: seen.there(seen.request.method) == "GET",
    'request.url_path == "/x"': lambda seen: seen.url_path() == "/x",
    'request.headers["x-tenant"] == "a"': lambda seen: seen.header("x-tenant") == "a",
    'source.principal != "spiffe://a/b"': lambda seen: seen.there(seen.request.source.principal) != "spiffe://a/b",
    'context.app == "x"': lambda seen: seen.context("app") == "x",
    'claims.tenant == "a"': lambda seen: bool(seen.claim("tenant") == "a"),
    'has(claims.tenant) && claims.tenant == "a"': lambda seen: (
        seen.caller is not None and seen.caller.claims.get("tenant") == "a"
    ),
    'identity.subject != "alice"': lambda seen: seen.known().subject != "alice",
    'identity.provider == "corporate"': lambda seen: seen.known().provider == "corporate",
    '"admin" in identity.roles': lambda seen: "admin" in seen.roles(),
    'claims.tenant == "a" || request.method == "GET"': lambda seen: _either(
        lambda: bool(seen.claim("tenant") == "a"), lambda: seen.there(seen.request.method) == "GET"
    ),
    'claims.tenant == "a" && request.method == "GET"': lambda seen: _both(
        lambda: bool(seen.claim("tenant") == "a"), lambda: seen.there(seen.request.method) == "GET"
    ),
}
"""What a test may write as ``when``."""

ABOUT_CALLERS = frozenset(source for source in CONDITIONS if "identity." in source or "claims." in source)
"""Those that depend on who asks."""

HEADER_VALUES: Mapping[str, Callable[[Seen], Any]] = {
    "identity.subject": lambda seen: seen.known().subject,
    "identity.roles": lambda seen: seen.roles(),
    "identity.scopes": lambda seen: [] if seen.caller is None else list(seen.caller.scopes),
    "claims.tenant": lambda seen: seen.claim("tenant"),
    "request.url_path": lambda seen: seen.url_path(),
    '"by " + request.method': lambda seen: "by " + seen.there(seen.request.method),
}
"""What a test may write as a header's value."""


def encoded(value: Any) -> str | None:
    """A header's text: each element safe on its own, joined by commas. None for what is no string and no list of them."""
    elements = [value] if isinstance(value, str) else value
    if not isinstance(elements, list) or not all(isinstance(element, str) for element in elements):
        return None
    return ",".join(_element(element) for element in elements)


def _element(text: str) -> str:
    written = ""
    for place, char in enumerate(text):
        outer_blank = char == " " and place in (0, len(text) - 1)
        safe = " " <= char <= "~" and char not in "%,"
        written += char if safe and not outer_blank else "".join(f"%{byte:02X}" for byte in char.encode())
    return written


# ---------------------------------------------------------------------------------------------------------- patterns


def host_matches(pattern: str, host: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return len(host) > len(pattern) - 1 and host.endswith(pattern[1:])
    return host == pattern


def path_matches(pattern: str, path: str, *, tolerant: bool, fold: bool) -> bool:
    if fold:
        pattern, path = pattern.lower(), path.lower()
    if tolerant and not pattern.endswith(("/", "/**")) and path.endswith("/") and path != "/":
        return path_matches(pattern, path[:-1], tolerant=False, fold=False)
    wanted, parts = pattern.split("/")[1:], path.split("/")[1:]
    if wanted[-1] == "**":
        wanted.pop()
        parts = parts[: len(wanted)]
    return len(wanted) == len(parts) and all(
        part != "" if want.startswith("{") else part == want for want, part in zip(wanted, parts, strict=True)
    )


def principal_matches(pattern: str, principal: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        return principal.startswith("spiffe://") and principal.endswith(pattern[1:])
    return principal.startswith(pattern[:-1]) if pattern.endswith("*") else principal == pattern


# ------------------------------------------------------------------------------------------------------------- rules


class Reached(IntEnum):
    """How far a request got along a rule."""

    NOTHING = 0
    TO = 1
    FROM = 2
    ROLE = 3
    WHEN = 4


@dataclass(frozen=True)
class Placed:
    """A rule where it stands."""

    policy: str
    spec: Spec
    rule: Rule
    name: str


def placed(specs: Mapping[str, Spec], word: str, *, shadow: bool = False) -> Iterator[Placed]:
    """The rules of some policies by the policies' names, then by position: those in force, or those in shadow mode."""
    for policy in sorted(specs):
        for number, rule in enumerate(specs[policy].get(word, ())):
            if rule.get("shadow", False) == shadow:
                yield Placed(policy, specs[policy], rule, rule.get("name", f"{word}[{number}]"))


def roles_of(rule: Rule) -> set[str]:
    return {rule["role"]} if "role" in rule else set(rule.get("roles", ()))


def rate_of(rule: Rule) -> int | None:
    """The rate that a rule is ranked by; None is above all rates."""
    rate: int | None = None if rule.get("rateShadow", False) else rule.get("maxRequestsPerMinute")
    return rate


# -------------------------------------------------------------------------------------------------------- the oracle


@dataclass(frozen=True)
class Oracle:
    """Policies by name, and what of the configuration changes their meaning."""

    specs: Mapping[str, Spec]
    mesh: frozenset[str] = frozenset({"mesh", "other-mesh"})
    """The providers that vouch by the peer's certificate."""
    fold: bool = False
    """``caseInsensitivePaths``."""

    def decide(self, request: Request, token: Identity | None, peer: Peer) -> Answer:
        """The verdict of the policies in force."""
        enforced = {name: spec for name, spec in self.specs.items() if spec.get("mode", "Enforce") == "Enforce"}
        return _Case(self, enforced, request, token, peer).decide()

    def shadows(self, request: Request, token: Identity | None, peer: Peer) -> list[tuple[str, str, Answer]]:
        """What is in shadow mode and about the request, with what it would have said; sorted."""
        told = []
        enforced = {name: spec for name, spec in self.specs.items() if spec.get("mode", "Enforce") == "Enforce"}
        for name, spec in self.specs.items():
            if name not in enforced:
                alone = {name: spec}
                case = _Case(self, alone, request, token, peer)
                if case.covering:
                    told.append((name, "", case.decide()))
        case = _Case(self, enforced, request, token, peer)
        for word in ("deny", "rules"):
            for shadow in placed(case.covering, word, shadow=True):
                if case.matches(shadow, deny=word == "deny"):
                    changed = _in_force(enforced, shadow, word)
                    told.append((shadow.policy, shadow.name, _Case(self, changed, request, token, peer).decide()))
        return sorted(told, key=lambda entry: entry[:2])


def _in_force(specs: Mapping[str, Spec], shadow: Placed, word: str) -> Mapping[str, Spec]:
    """The policies with one rule of shadow mode put in force. Names that come from positions stay what they are."""
    spec = dict(specs[shadow.policy])
    spec[word] = [{**rule, "shadow": False} if rule is shadow.rule else rule for rule in spec[word]]
    return {**specs, shadow.policy: spec}


@dataclass(frozen=True)
class _Case:
    """One request, judged by some policies."""

    oracle: Oracle
    policies: Mapping[str, Spec]
    request: Request
    token: Identity | None
    peer: Peer

    @property
    def covering(self) -> dict[str, Spec]:
        return {name: spec for name, spec in self.policies.items() if self._covers(spec)}

    def decide(self) -> Answer:
        if not self.covering:
            return Answer("no-policy")
        denial = self._denial()
        if denial is not None:
            return denial
        for name, spec in sorted(self.covering.items()):
            if self.request.preflight and spec.get("authentication", {}).get("preflight") == "allow":
                return Answer("allowed", name, "preflight", (), self._removable())
        if self.token is None and isinstance(self.peer, Deny) and any(map(self._names_mesh, self.covering.values())):
            return Answer(self.peer.reason.word)
        return self._allowance() or self._refusal()

    # ------------------------------------------------------------------------------------------- which policies, for whom

    def _covers(self, spec: Spec) -> bool:
        if "targets" not in spec:
            return True
        return any(
            ("hosts" not in target or self._on_hosts(target["hosts"]))
            and all(self.request.context.get(key) == value for key, value in target.get("context", {}).items())
            for target in spec["targets"]
        )

    def _on_hosts(self, patterns: Sequence[str]) -> bool:
        return self.request.host != "" and any(host_matches(pattern, self.request.host) for pattern in patterns)

    def _names_mesh(self, spec: Spec) -> frozenset[str]:
        return self.oracle.mesh & set(spec.get("authentication", {}).get("providers", ()))

    def _takes_token(self, spec: Spec) -> bool:
        providers = spec.get("authentication", {}).get("providers")
        if self.token is None:
            return False
        return self.token.provider not in self.oracle.mesh if providers is None else self.token.provider in providers

    def _known_peer(self, spec: Spec) -> Identity | None:
        return self.peer if isinstance(self.peer, Identity) and self.peer.provider in self._names_mesh(spec) else None

    def _counts(self, spec: Spec) -> tuple[bool, Identity | None]:
        """Whether the rules of a policy count for anybody, and for whom; (True, None) is a caller without credentials."""
        if self._takes_token(spec):
            return True, self.token
        known = self._known_peer(spec)
        if known is not None:
            return True, known
        return self._without_credentials(spec) and spec.get("authentication", {}).get("optional", False), None

    def _without_credentials(self, spec: Spec) -> bool:
        """Whether nothing was shown to a policy that it takes for credentials."""
        return self.token is None and (self.peer is None or not self._names_mesh(spec))

    # -------------------------------------------------------------------------------------------------------------- deny

    def _denial(self) -> Answer | None:
        for rule in placed(self.covering, "deny"):
            denial = self._denied_by(rule)
            if denial is not None:
                return denial
        return None

    def _denied_by(self, deny: Placed) -> Answer | None:
        if not self._reaches(deny.rule, deny=True):
            return None
        known = self._known_peer(deny.spec)
        callers = [self.token, known] if self.token is not None and known is not None else [known or self.token]
        for caller in callers:
            if self._has_role(deny.rule, caller, deny=True):
                holds = self._when(deny.rule, caller)
                if holds is not False:
                    reason = "condition-error" if holds is None else "denied-by-rule"
                    return Answer(reason, deny.policy, deny.name)
        if (
            isinstance(self.peer, Deny)
            and self.peer.reason is not Reason.ISSUER_UNKNOWN
            and self._names_mesh(deny.spec)
        ):
            source = deny.rule.get("when", "true")
            if source in ABOUT_CALLERS or (roles_of(deny.rule) and self._when(deny.rule, self.token) is not False):
                return Answer(self.peer.reason.word, deny.policy, deny.name)
        return None

    # ------------------------------------------------------------------------------------------------------------- allow

    def _allowance(self) -> Answer | None:
        allowing = [rule for rule in placed(self.covering, "rules") if self._reached(rule) is Reached.WHEN]
        if not allowing:
            return None
        # Sorting is stable: of equal rates the first by policy and position stays the first.
        rates = [rate for rate in map(rate_of, (rule.rule for rule in allowing)) if rate is not None]
        highest = float("inf") if len(rates) < len(allowing) else max(rates)
        taken = next(
            rule for rule in allowing if (float("inf") if rate_of(rule.rule) is None else rate_of(rule.rule)) == highest
        )
        set_headers = self._headers(taken)
        removed = self._removable() - {name for name, _ in set_headers}
        charged = taken.rule.get("maxRequestsPerMinute")
        return Answer("allowed", taken.policy, taken.name, set_headers, frozenset(removed), charged)

    def matches(self, rule: Placed, *, deny: bool) -> bool:
        """Whether a rule of shadow mode matches."""
        return self._denied_by(rule) is not None if deny else self._reached(rule) is Reached.WHEN

    def _reached(self, rule: Placed) -> Reached:
        """How far the caller who counts for a rule's policy gets along it. Whoever does not count gets nowhere."""
        counts, caller = self._counts(rule.spec)
        if not counts or not self._operation(rule.rule, deny=False):
            return Reached.NOTHING
        if not self._source(rule.rule, deny=False):
            return Reached.TO
        if not self._has_role(rule.rule, caller, deny=False):
            return Reached.FROM
        return Reached.WHEN if self._when(rule.rule, caller) is True else Reached.ROLE

    def _headers(self, taken: Placed) -> tuple[tuple[str, str], ...]:
        """Those of all policies that cover the request and take a caller; the caller who is allowed goes first."""
        _, allowed = self._counts(taken.spec)
        chosen: dict[str, str | None] = {}
        for first in (True, False):
            for _, spec in sorted(self.covering.items()):
                counts, caller = self._counts(spec)
                if counts and (caller is allowed) == first:
                    for name, source in spec.get("response", {}).get("headers", {}).items():
                        chosen.setdefault(name, self._header(source, caller))
        return tuple(sorted((name, value) for name, value in chosen.items() if value is not None))

    def _header(self, source: str, caller: Identity | None) -> str | None:
        try:
            return encoded(HEADER_VALUES[source](Seen(self.request, caller, self.oracle.fold)))
        except Absent:
            return None

    def _removable(self) -> frozenset[str]:
        """Every name that any policy in force sets, and those that the policies of the request remove."""
        owned = {name for spec in self.policies.values() for name in spec.get("response", {}).get("headers", {})}
        gone = {name for spec in self.covering.values() for name in spec.get("response", {}).get("removeHeaders", ())}
        return frozenset(owned | gone)

    # ----------------------------------------------------------------------------------------------------------- refusal

    def _refusal(self) -> Answer:
        """Why nothing allowed."""
        rules = list(placed(self.covering, "rules"))
        strangers = [rule for rule in rules if self._without_credentials(rule.spec)]
        for rule in strangers:
            if roles_of(rule.rule) != {"anonymous"} and self._reaches(rule.rule, deny=False):
                return Answer("no-credentials", rule.policy, rule.name)
        told = self._furthest(rules)
        if told is not None:
            return told
        if any(self._without_credentials(spec) for spec in self.covering.values()):
            # Nobody counts for these rules: they are told of where no other is about the request.
            far = [(self._reaches(rule.rule, deny=False), rule) for rule in strangers if self._about(rule.rule)]
            best = next((rule for there, rule in far if there), far[0][1] if far else None)
            return Answer("no-rule", best.policy, best.name) if best else self._none_about(self.covering)
        taking = {name: spec for name, spec in self.covering.items() if self._counts(spec)[0]}
        return self._none_about(taking)

    def _furthest(self, rules: Sequence[Placed]) -> Answer | None:
        """What the rule says that the caller got furthest along, of several the first."""
        reached = [self._reached(rule) for rule in rules]
        furthest = max(reached, default=Reached.NOTHING)
        if furthest is Reached.NOTHING:
            return None
        rule = rules[reached.index(furthest)]
        reason = {Reached.TO: "no-rule", Reached.FROM: "role-missing"}.get(furthest)
        if reason is None:
            _, caller = self._counts(rule.spec)
            reason = "condition-error" if self._when(rule.rule, caller) is None else "no-rule"
        return Answer(reason, rule.policy, rule.name)

    def _none_about(self, policies: Mapping[str, Spec]) -> Answer:
        """No rule is about the request: the policy is named if it is the only one."""
        return Answer("no-rule", next(iter(policies)) if len(policies) == 1 else "")

    # ------------------------------------------------------------------------------------------------ the parts of a rule

    def _about(self, rule: Rule) -> bool:
        return self._operation(rule, deny=False)

    def _reaches(self, rule: Rule, *, deny: bool) -> bool:
        return self._operation(rule, deny=deny) and self._source(rule, deny=deny)

    def _operation(self, rule: Rule, *, deny: bool) -> bool:
        entries = rule.get("to")
        if not deny and not self.request.http:
            entries = [entry for entry in entries or () if _written(entry) <= {"ports", "notPorts"}]
        elif not deny and self.request.method == "CONNECT":
            entries = [entry for entry in entries or () if "CONNECT" in entry.get("methods", ())]
        return entries is None or any(self._entry(entry, deny=deny) for entry in entries)

    def _source(self, rule: Rule, *, deny: bool) -> bool:
        return "from" not in rule or any(self._entry(entry, deny=deny) for entry in rule["from"])

    def _entry(self, entry: Mapping[str, Any], *, deny: bool) -> bool:
        return all(self._word(word, entry[word], deny=deny) for word in _written(entry))

    def _word(self, word: str, patterns: Sequence[Any], *, deny: bool) -> bool:
        excludes = word.startswith("not")
        positive = word[3].lower() + word[4:] if excludes else word
        value = self._value(positive)
        if not value:
            unknown = (positive == "remoteIpBlocks") or (positive == "ipBlocks" and self.request.source.address != "")
            return deny and (excludes or unknown)
        return any(self._match(positive, pattern, value, deny=deny or excludes) for pattern in patterns) != excludes

    def _value(self, word: str) -> Any:
        request = self.request
        return {
            "hosts": request.host,
            "ports": request.destination.port,
            "methods": request.method,
            "paths": request.path,
            "principals": request.source.principal,
            "ipBlocks": request.source_ip,
            "remoteIpBlocks": request.client_ip,
        }[word]

    def _match(self, word: str, pattern: Any, value: Any, *, deny: bool) -> bool:
        if word == "hosts":
            return host_matches(pattern, value)
        if word == "paths":
            return path_matches(pattern, value, tolerant=deny, fold=self.oracle.fold)
        if word == "principals":
            return principal_matches(pattern, value)
        if word in ("ipBlocks", "remoteIpBlocks"):
            return value in ip_network(pattern)
        return bool(int(pattern) == value if word == "ports" else pattern == value)

    def _has_role(self, rule: Rule, caller: Identity | None, *, deny: bool) -> bool:
        roles = roles_of(rule)
        if not roles:
            return deny or caller is not None
        return bool(roles & (caller.roles if caller is not None else {"anonymous"}))

    def _when(self, rule: Rule, caller: Identity | None) -> bool | None:
        """The condition's value; None if it errs."""
        try:
            return CONDITIONS[rule.get("when", "true")](Seen(self.request, caller, self.oracle.fold))
        except Absent:
            return None


def _written(entry: Mapping[str, Any]) -> set[str]:
    """The keys of an entry that say something: an empty not* list says nothing."""
    return {word for word, patterns in entry.items() if patterns}
