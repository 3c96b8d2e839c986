"""What Istio's documents say of AuthorizationPolicy, evaluated on the plain objects.

Deny policies first; then, with at least one policy that allows, one rule must match. Fields of a source or an operation are
AND, values OR; a value is exact, a prefix ``x*``, a suffix ``*x`` or presence ``*``; not* words hold where the attribute is
absent.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as Istio's attributes have it. An empty text is an absent attribute."""

    host: str = "a.example.com"
    path: str = "/"
    method: str = "GET"
    port: int = 443
    principal: str = ""
    """Without ``spiffe://``."""
    source_ip: str = "192.0.2.1"
    remote_ip: str = "192.0.2.1"
    headers: Mapping[str, str] = field(default_factory=dict)
    issuer: str = ""
    subject: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def request_principal(self) -> str:
        return f"{self.issuer}/{self.subject}" if self.subject else ""


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
    if name == "namespaces":
        return any(re.search(f"/ns/{_regex(value)}/", asked.principal) for value in values)
    found = {
        "hosts": asked.host,
        "methods": asked.method,
        "paths": asked.path,
        "principals": asked.principal,
        "requestPrincipals": asked.request_principal,
    }[name]
    if name == "paths":
        return any(_path(value, found) for value in values)
    if name == "hosts":
        return any(_text(value.lower(), found) for value in values)
    return any(_text(value, found) for value in values)


def _condition(entry: Mapping[str, Any], asked: Asked) -> bool:
    key = entry["key"]
    for values, wanted in ((entry.get("values"), True), (entry.get("notValues"), False)):
        if values and _key(key, [str(value) for value in values], asked) is not wanted:
            return False
    return True


def _key(key: str, values: list[str], asked: Asked) -> bool:
    if found := re.fullmatch(r"request\.headers\[(.+)\]", key):
        return any(_text(value, asked.headers.get(found[1].lower(), "")) for value in values)
    if found := re.fullmatch(r"request\.auth\.claims\[(.+)\]", key):
        claim: Any = asked.claims
        for step in found[1].split("]["):
            claim = claim.get(step) if isinstance(claim, Mapping) else None
        held = claim if isinstance(claim, list) else [claim]
        return any(_text(value, one) for value in values for one in held if isinstance(one, str))
    return _word(
        {"source.ip": "ipBlocks", "remote.ip": "remoteIpBlocks", "destination.port": "ports"}.get(
            key, {"source.principal": "principals", "source.namespace": "namespaces"}.get(key, "requestPrincipals")
        ),
        values,
        asked,
    )


def _path(pattern: str, path: str) -> bool:
    if "{*}" in pattern or "{**}" in pattern:
        regex = "".join(
            "[^/]+" if piece == "{*}" else ".*" if piece == "{**}" else re.escape(piece)
            for piece in re.split(r"(\{\*{1,2}\})", pattern)
        )
        return re.fullmatch(regex, path) is not None
    return _text(pattern, path)


def _text(pattern: str, text: str) -> bool:
    if pattern == "*":
        return text != ""
    if pattern.endswith("*"):
        return text != "" and text.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return text != "" and text.endswith(pattern[1:])
    return text == pattern


def _regex(value: str) -> str:
    return "[^/]*".join(map(re.escape, value.split("*")))
