"""The branch of one policy: each rule with its parts in the order in which they are asked, the first that fails marked."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from extauthz.workbench.explain.pencil import Mark, Pencil, few

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["PolicyTree"]

_Told = Mapping[str, Any]

_PARTS = ("to", "from", "role", "when")
"""The parts of a rule, in order."""


class PolicyTree:
    """Draws policies of one explanation."""

    def __init__(self, told: _Told, pencil: Pencil, *, everything: bool) -> None:
        """``everything`` draws in full what has nothing to do with the request, too."""
        self._told = told
        self._pencil = pencil
        self._everything = everything

    def add(self, tree: "Tree", policy: _Told) -> None:
        """Draw a policy."""
        line = self._pencil.line
        title = f"policy {policy['policy']}" + (" (in shadow mode)" if policy["mode"] == "Shadow" else "")
        if not policy["asked"]:
            tree.add(line(Mark.OPEN, title, "covers the request, and was not asked"))
            return
        if not policy["covers"]:
            branch = tree.add(line(Mark.OPEN, title, "does not cover the request"))
            for entry in policy["targets"]:
                self._entry(branch, "target", entry)
            return
        branch = tree.add(line(_mark_of_policy(policy), title, policy["where"]))
        if not policy["accepts"]:
            takes = ", ".join(policy["providers"]) or "any provider but those of the mesh"
            nobody = "" if policy["optional"] else ", and nobody without credentials"
            branch.add(line(Mark.FAILS, "its rules are not for this caller", f"it takes callers of {takes}{nobody}"))
        for kind in ("deny", "rules"):
            self._rules(branch, kind, policy[kind])

    def _rules(self, branch: "Tree", kind: str, rules: Sequence[_Told]) -> None:
        """Those that are about the request; the others in one line."""
        apart = [] if self._everything else [rule for rule in rules if self._is_apart(kind, rule)]
        for rule in rules:
            if rule not in apart:
                self._rule(branch, kind, rule)
        if apart:
            what = "deny rules that don't match" if kind == "deny" else "rules for other requests"
            branch.add(self._pencil.line(Mark.OPEN, what, few([rule["rule"] for rule in apart])))

    def _is_apart(self, kind: str, rule: _Told) -> bool:
        """A rule at whose ``to`` the request fails says something only where no rule is nearer."""
        told = self._told
        if rule["matched"] or rule["stopped_at"] != "to" or rule["rule"] == told["rule"]:
            return False
        return kind == "deny" or told["reason"] != "no-rule" or bool(told["rule"])

    def _rule(self, branch: "Tree", kind: str, rule: _Told) -> None:
        told, deny, stopped = self._told, kind == "deny", rule["stopped_at"]
        name = f"{'deny' if deny else 'rule'} {rule['rule']}"
        mark = Mark.OPEN
        if rule["matched"]:
            mark, said = (Mark.FAILS, "matches, and so denies") if deny else (Mark.HOLDS, "matches, and so allows")
        elif stopped is None:
            said = "would match, and is not for this caller"
        else:
            said = f"does not match: `{stopped}`"
            mark = Mark.OPEN if deny else Mark.FAILS
        if rule["shadow"]:
            mark, said = Mark.OPEN, f"{said} (in shadow mode: without effect)"
        twig = branch.add(self._pencil.line(mark, name, said, strong=rule["rule"] == told["rule"]))
        stop = _PARTS.index(stopped) if stopped in _PARTS else len(_PARTS)
        for place, part in enumerate(_PARTS):
            failed = Mark.OPEN if deny else Mark.FAILS
            reached = Mark.HOLDS if place < stop else failed if place == stop else Mark.OPEN
            self._part(twig, part, rule, reached, late=" (not asked)" if place > stop else "", failed=failed)
        rate = rule["rate"]
        if rate is not None:
            burst = "" if rate["burst"] is None else f", {rate['burst']} a second"
            twig.add(self._pencil.line(Mark.OPEN, "rate", f"{rate['per_minute']} a minute{burst}"))

    def _part(self, twig: "Tree", part: str, rule: _Told, reached: Mark, *, late: str, failed: Mark) -> None:
        line, roles, when = self._pencil.line, rule["roles"], rule["when"]
        if part in ("to", "from"):
            entries = rule[part]
            if entries == []:
                twig.add(line(reached, part, "no entry can mean a request of this kind"))
            for entry in _nearest(entries or []):
                self._entry(twig, part, entry, late, failed)
        elif part == "role" and roles is not None:
            caller = self._told["identity"]["peer" if rule["caller"] == "peer" else "caller"] or {}
            has = (
                f"has {', '.join(caller['roles']) or 'no role'}" if caller.get("roles") is not None else "is anonymous"
            )
            twig.add(line(reached, f"role {' or '.join(roles)}", f"the caller {has}{late}"))
        elif part == "role" and rule["stopped_at"] == "role":
            twig.add(line(reached, "any caller with credentials", "there are none"))
        elif part == "when" and when is not None:
            outcome = "true" if when["holds"] else "false" if when["holds"] is False else f"no value: {when['error']}"
            leaf = twig.add(line(reached, f"when {when['source']}", f"{outcome}{late}"))
            for name, value in when["values"].items():
                leaf.add(self._pencil.named(f"{name} = ", value))

    def _entry(self, branch: "Tree", part: str, entry: _Told, late: str = "", failed: Mark = Mark.FAILS) -> None:
        holds = Mark.OPEN if late else Mark.HOLDS
        if not entry["words"]:
            branch.add(self._pencil.line(holds, part, f"anything{late}"))
        for word in entry["words"]:
            written, value = " or ".join(word["written"]), word["value"] or "none"
            mark = holds if word["holds"] or late else failed
            branch.add(self._pencil.line(mark, f"{part} {word['word']} {written}", f"the request has {value}{late}"))


def _mark_of_policy(policy: _Told) -> Mark:
    if any(rule["matched"] and not rule["shadow"] for rule in policy["deny"]):
        return Mark.FAILS
    return Mark.of(any(rule["matched"] and not rule["shadow"] for rule in policy["rules"]))


def _nearest(entries: Sequence[_Told]) -> Sequence[_Told]:
    """The entry that holds; else all of them."""
    holding = [entry for entry in entries if entry["holds"]]
    return holding[:1] or entries
