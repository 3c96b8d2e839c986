"""Whether an answer can be relied on: what the policies ask of a request that its record does not have.

A capture hides credentials, and a record without capture lacks headers, query, claims and more. That only matters where a
condition asks for it, and only if the condition is asked at all, since everything else about its rule fits. Where the
text of a condition does not tell which header it reads, it is taken to read all of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from extauthz.model import Deny, Identity, Request
from extauthz.policy import Policy, Rule, Selection, Snapshot

__all__ = ["Doubts"]

_NOT_IN_PLAIN: Mapping[str, str] = {
    "request.path": "query",
    "request.query": "query",
    "request.headers": "headers",
    "request.scheme": "scheme",
    "destination.address": "destination",
    "destination.principal": "destination",
    "identity.issuer": "issuer",
    "identity.scopes": "scopes",
    "claims": "claims",
    "context": "context",
}
"""What expressions may ask for and no plain record has, in the words of reports."""
_MAPS: Mapping[str, str] = {
    "request.headers": "headers",
    "request.query": "query",
    "claims": "claims",
    "context": "context",
}
_WHOLE: Mapping[str, str] = {
    "identity.subject": "subject",
    "identity.issuer": "issuer",
    "identity.roles": "roles",
    "identity.scopes": "scopes",
    "source.principal": "principal",
    "request.id": "id",
}
_ALWAYS = ("path", "host", "roles", "principal", "method")
"""What rules ask for without a condition."""
_TEXT = r"(?:\"([^\"\\]*)\"|'([^'\\]*)')"
_KEPT = 4096


class Doubts:
    """Knows what one set of policies asks for. Made once for each set."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Look through the policies in force."""
        self._snapshot = snapshot
        self._conditional = any(rule.when is not None for policy in snapshot.policies for rule in _rules(policy))
        self._with_ports = frozenset(
            policy.name for policy in snapshot.policies if any(map(_asks_port, _rules(policy)))
        )
        self._with_context = [
            policy for policy in snapshot.policies if any(target.context for target in policy.targets)
        ]
        self._preflights = any(policy.preflight for policy in snapshot.policies)

    def plain(
        self, request: Request, selection: Selection, caller: Identity | None, peer: Identity | Deny | None
    ) -> set[str]:
        """What is missing of a request that is known by the plain fields of its record; empty if nothing that matters."""
        missing: set[str] = set()
        if self._with_ports and any(policy.name in self._with_ports for policy in selection.policies):
            missing.add("port")
        if any(_context_could_differ(policy, request) for policy in self._with_context):
            missing.add("context")
        if self._preflights and request.method == "OPTIONS" and selection.preflight is not None:
            missing.add("headers")
        for rule in self._asked(request, selection, caller, peer):
            if rule.when is not None:
                missing.update(_NOT_IN_PLAIN[name] for name in rule.when.needs if name in _NOT_IN_PLAIN)
        return missing

    def hidden(
        self,
        request: Request,
        selection: Selection,
        caller: Identity | None,
        peer: Identity | Deny | None,
        redacted: frozenset[str],
    ) -> set[str]:
        """What is redacted and asked for, of these names in a capture; empty if nothing that matters."""
        found = {name for name in _ALWAYS if name in redacted}
        for rule in self._asked(request, selection, caller, peer):
            if rule.when is not None:
                found.update(_read(rule.when.source, rule.when.needs, redacted))
        return found

    def _asked(
        self, request: Request, selection: Selection, caller: Identity | None, peer: Identity | Deny | None
    ) -> Iterable[Rule]:
        if not self._conditional or not selection:
            return ()
        return self._snapshot.conditional(request, selection, caller, peer)


def _read(source: str, needs: frozenset[str], redacted: frozenset[str]) -> Iterator[str]:
    """Which of the redacted names a condition reads."""
    for name, word in _WHOLE.items():
        if name in needs and word in redacted:
            yield word
    for name, word in _MAPS.items():
        if name in needs:
            keys, others = _keys(source, name)
            prefix = f"{word}."
            for hidden in redacted:
                if hidden.startswith(prefix) and (others or hidden[len(prefix) :] in keys):
                    yield hidden
    if "request.path" in needs:
        yield from (hidden for hidden in redacted if hidden.startswith("query."))


@lru_cache(maxsize=_KEPT)
def _keys(source: str, name: str) -> tuple[frozenset[str], bool]:
    """The keys by which a condition reads a map, and whether it reads it in any other way as well."""
    written = re.escape(name)
    read = re.compile(rf"{written}(?:\s*\[\s*{_TEXT}\s*\]|\s*\.\s*([A-Za-z_]\w*)\b(?!\s*\())")
    keys = frozenset(key for found in read.findall(source) for key in found if key)
    # That a header is there is told by a capture, so a question for that alone reads nothing.
    rest = re.sub(rf"{_TEXT}\s+in\s+{written}\b(?!\s*[.\[])", "", read.sub("", source))
    return keys, re.search(rf"\b{name.rpartition('.')[2]}\b", rest) is not None


def _rules(policy: Policy) -> tuple[Rule, ...]:
    return (*policy.deny, *policy.rules)


def _asks_port(rule: Rule) -> bool:
    return any(entry.word("ports") or entry.word("notPorts") for entry in rule.to or ())


def _context_could_differ(policy: Policy, request: Request) -> bool:
    """Whether it depends on the route's context if the policy covers the request."""
    covering = [target for target in policy.targets if target.covers_host(request)]
    return any(target.context for target in covering) and all(target.context for target in covering)
