"""What Istio makes of AuthorizationPolicy for Envoy, evaluated on the plain objects.

Written after Istio's own generator (pilot/pkg/security/authz: ``model.New``, ``generator.go``, ``matcher/``; the names of
its functions stand beside what follows them), and not after the converter. Deny policies first; then, with at least one
policy that allows, one rule must match. Fields of a source or an operation are AND, values OR; not* words hold where the
attribute is absent.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

TRUST_DOMAINS = ("td", "old")
"""Of the mesh: its own, and an alias."""


@dataclass(frozen=True)
class Asked:
    """A request as Istio's attributes have it. An empty text is an absent attribute."""

    host: str = "a.example.com"
    path: str = "/"
    method: str = "GET"
    port: int = 443
    principal: str = ""
    """As the certificate has it, with ``spiffe://``."""
    source_ip: str = "192.0.2.1"
    remote_ip: str = "192.0.2.1"
    headers: Mapping[str, str] = field(default_factory=dict)
    issuer: str = ""
    subject: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)


def allowed(policies: Sequence[Mapping[str, Any]], asked: Asked) -> bool:
    """The decision of the policies that apply to a workload."""
    by_action: dict[str, list[Mapping[str, Any]]] = {"ALLOW": [], "DENY": []}
    for policy in policies:
        by_action[policy["spec"].get("action", "ALLOW")].append(policy)
    if any(_matches(policy, asked) for policy in by_action["DENY"]):
        return False
    return not by_action["ALLOW"] or any(_matches(policy, asked) for policy in by_action["ALLOW"])


def _matches(policy: Mapping[str, Any], asked: Asked) -> bool:
    return any(_rule(rule or {}, asked) for rule in policy["spec"].get("rules") or ())


def _rule(rule: Mapping[str, Any], asked: Asked) -> bool:
    return (
        _some(rule.get("from"), "source", asked)
        and _some(rule.get("to"), "operation", asked)
        and all(_condition(entry, asked) for entry in rule.get("when") or ())
    )


def _some(entries: Any, key: str, asked: Asked) -> bool:
    return not entries or any(
        all(_word(name, [str(value) for value in values], asked) for name, values in entry[key].items() if values)
        for entry in entries
    )


def _word(name: str, values: list[str], asked: Asked) -> bool:
    if name.startswith("not"):
        return not _word(name[3].lower() + name[4:], values, asked)
    if name in ("ipBlocks", "remoteIpBlocks"):
        address = ip_address(asked.source_ip if name == "ipBlocks" else asked.remote_ip)
        return any(address in ip_network(value, strict=False) for value in values)
    if name == "ports":
        return str(asked.port) in values
    if name in _OF_THE_PEER:
        return any(_OF_THE_PEER[name](value, asked.principal) for value in values)
    if name == "requestPrincipals":
        return any(_request_principal(value, asked) for value in values)
    found = {
        "hosts": asked.host,
        "methods": asked.method,
        "paths": asked.path,
    }[name]
    if name == "paths":
        return any(_path(value, found) for value in values)
    if name == "hosts":
        return any(_text(value.lower(), found.lower()) for value in values)
    return any(_text(value, found) for value in values)


def _condition(entry: Mapping[str, Any], asked: Asked) -> bool:
    key = entry["key"]
    for values, wanted in ((entry.get("values"), True), (entry.get("notValues"), False)):
        if values and _key(key, [str(value) for value in values], asked) is not wanted:
            return False
    return True


def _key(key: str, values: list[str], asked: Asked) -> bool:
    if found := re.fullmatch(r"request\.headers\[(.+)\]", key):
        header = asked.headers.get(found[1].lower())
        # HeaderMatcher: "*" is presence, of an empty value as well.
        return header is not None and any(value == "*" or _text(value, header) for value in values)
    if found := re.fullmatch(r"request\.auth\.claims\[(.+)\]", key):
        claim: Any = asked.claims
        for step in found[1].split("]["):
            claim = claim.get(step) if isinstance(claim, Mapping) else None
        held = claim if isinstance(claim, list) else [claim]
        if found[1] in ("scope", "permission") and isinstance(claim, str):
            held = claim.split(" ")  # buildSpaceDelimitedClaims: Envoy makes a list of these
        return any(_text(value, one) for value in values for one in held if isinstance(one, str))
    return _word(_FIELDS.get(key, "requestPrincipals"), values, asked)


_OF_THE_PEER: Mapping[str, Callable[[str, str], bool]] = {
    "namespaces": lambda value, principal: re.fullmatch(f".*/ns/{_regex(value)}/.*", principal) is not None,
    "serviceAccounts": lambda value, principal: re.fullmatch(_account(value), principal) is not None,
    "trustDomains": lambda value, principal: any(_domain(one, principal) for one in _expanded(value)),
    "principals": lambda value, principal: any(_principal(one, principal) for one in _aliases(value)),
}
_FIELDS = {
    "source.ip": "ipBlocks",
    "remote.ip": "remoteIpBlocks",
    "destination.port": "ports",
    "source.principal": "principals",
    "source.namespace": "namespaces",
    "source.serviceAccount": "serviceAccounts",
    "source.trustDomain": "trustDomains",
}


def _aliases(principal: str) -> list[str]:
    """Bundle.ReplaceTrustDomainAliases."""
    parts = principal.split("/")
    if len(parts) != 5 or parts[0] == "*":
        return [principal]
    domain, rest = parts[0], "/".join(parts[1:])
    ours = [name for name in TRUST_DOMAINS if _meets(domain, name) or _meets(name, domain)]
    if not ours and domain != "cluster.local":
        return [principal]
    return [
        principal if domain.startswith("*") and name.endswith(domain[1:]) else f"{name}/{rest}"
        for name in TRUST_DOMAINS
    ]


def _meets(pattern: str, text: str) -> bool:
    """StringMatch of the trust domains."""
    return (
        pattern == text
        or (pattern.endswith("*") and text.startswith(pattern[:-1]))
        or (pattern.startswith("*") and text.endswith(pattern[1:]))
    )


def _expanded(value: str) -> Sequence[str]:
    """Bundle.ExpandTrustDomainAliases."""
    return TRUST_DOMAINS if value in TRUST_DOMAINS else (value,)


def _domain(value: str, principal: str) -> bool:
    """SrcTrustDomainGenerator."""
    if value == "*":
        return principal.startswith("spiffe://")
    if "*" not in value:
        return principal.startswith(f"spiffe://{value}/")
    before, _, after = value.partition("*")
    return re.fullmatch(f"spiffe://{re.escape(before)}[^/]*{re.escape(after)}/.*", principal) is not None


def _path(pattern: str, path: str) -> bool:
    if "{*}" in pattern or "{**}" in pattern:
        regex = "".join(
            "[^/]+" if piece == "{*}" else ".*" if piece == "{**}" else re.escape(piece)
            for piece in re.split(r"(\{\*{1,2}\})", pattern)
        )
        return re.fullmatch(regex, path) is not None
    return _text(pattern, path)


def _text(pattern: str, text: str) -> bool:
    """StringMatcher: the star at the beginning is looked for first."""
    if pattern == "*":
        return text != ""
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern


def _principal(pattern: str, text: str) -> bool:
    """StringMatcherWithPrefix with spiffe://."""
    if pattern == "*":
        return text != ""
    if pattern.startswith("*"):
        return re.fullmatch(f"spiffe://.*{re.escape(pattern[1:])}", text) is not None
    return _text(f"spiffe://{pattern}", text)


def _request_principal(pattern: str, asked: Asked) -> bool:
    """RequestPrincipalGenerator: issuer and subject apart, cut at the last slash of the pattern."""
    if not asked.issuer or not asked.subject:
        return False
    issuer, slash, subject = pattern.rpartition("/")
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        if slash:
            return _text(issuer, asked.issuer) and asked.subject == subject
        return asked.subject.endswith(pattern[1:])
    if pattern.endswith("*"):
        if slash:
            return asked.issuer == issuer and asked.subject.startswith(subject[:-1])
        return asked.issuer.startswith(pattern[:-1])
    return slash != "" and (asked.issuer, asked.subject) == (issuer, subject)


def _account(value: str) -> str:
    """ServiceAccountRegex, in a policy of the namespace foo."""
    namespace, slash, account = value.partition("/")
    if not slash:
        namespace, account = "foo", value
    return f"spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?"


def _regex(value: str) -> str:
    """SrcNamespaceGenerator."""
    return ".*".join(map(re.escape, value.split("*")))
