"""An explanation for a person: the answer and its reason first, then the way to it as a tree.

The reader is tired and was woken for this. So the first lines say all that most of them need (what, why, by which rule, what
asks for what), whatever failed first is marked, what was not asked because of it is grey, and what has nothing to do with
the request is one line. The tree is drawn from the same value that programs get, so it can't tell another story.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from extauthz.workbench.explain.pencil import Mark, Pencil, few
from extauthz.workbench.explain.policy_tree import PolicyTree

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.tree import Tree

__all__ = ["draw"]

_Told = Mapping[str, Any]

_ARROW = ("→ ", "bold yellow")
_CHECKS = frozenset(
    {"keys", "algorithm", "type", "key", "signature", "text", "audience", "times", "claims", "kind", "standing"}
)
"""Steps that say little where all of them hold."""


def draw(told: _Told, console: "Console", *, everything: bool = False, harmless: Callable[[str], str] = str) -> None:
    """Print the value that ``document`` made.

    ``everything`` shows in full what has nothing to do with the request, too; ``harmless`` spells out control characters.
    """
    _Drawing(told, Pencil(console, harmless), everything=everything).print(console)


class _Drawing:
    def __init__(self, told: _Told, pencil: Pencil, *, everything: bool) -> None:
        self._told = told
        self._pencil = pencil
        self._everything = everything

    def print(self, console: "Console") -> None:
        """The headline, then the tree."""
        for line in self._headline():
            console.print(line)
        console.print()
        tree = self._pencil.tree((self._request_line(), "bold"))
        self._request(tree)
        self._identity(tree)
        self._policies(tree)
        self._shadows(tree)
        self._answer(tree)
        console.print(tree)

    def _headline(self) -> "list[RenderableType]":
        told, pencil = self._told, self._pencil
        status = "" if told["answer"] is None else f" {told['answer']['status']}"
        word = ("ALLOWED", "bold green") if told["decision"] == "allow" else (f"DENIED{status}", "bold red")
        lines: list[RenderableType] = [pencil.text(word, f"  {told['reason']}: {told['sentence']}")]
        if told["policy"]:
            rule = f"rule {told['rule']} of " if told["rule"] else ""
            lines.append(pencil.indented(f"by {rule}policy {told['policy']}", (f"  {told['where']}", "dim")))
        if told["detail"] and told["reason"] != "role-missing":
            # Of a missing role the hint tells the same, and more.
            lines.append(pencil.indented(told["detail"]))
        lines += [pencil.indented(_ARROW, hint) for hint in told["hints"]]
        recorded = told["recorded"]
        if recorded is not None and not recorded["same"]:
            by = f" by rule {recorded['rule']} of policy {recorded['policy']}" if recorded["rule"] else ""
            then = f"the record says otherwise: {recorded['decision']}, {recorded['reason']}{by}"
            lines.append(pencil.indented(_ARROW, then))
        lines += [pencil.indented(("note: ", "yellow"), note) for note in told["notes"]]
        return lines

    def _request_line(self) -> str:
        request = self._told["request"]
        if not request["http"]:
            return "a connection without HTTP"
        query = f"?{request['query']}" if request["query"] else ""
        return f"{request['method']} {request['scheme']}://{request['host']}{request['path']}{query}"

    def _request(self, tree: "Tree") -> None:
        request, pencil = self._told["request"], self._pencil
        source = request["source"]
        ends = [f"from {source['address'] or 'a unix socket'}"]
        if request["client"] and request["client"] != source["address"]:
            ends.append(f"client {request['client']}")
        if source["principal"]:
            ends.append(f"principal {source['principal']}")
        ends += [f"to port {request['destination']['port']}"]
        ends += [kind for kind in ("grpc", "preflight", "websocket") if request[kind]]
        mark, what = (Mark.HOLDS, "request") if request["canonical"] else (Mark.FAILS, "request (as it was sent)")
        branch = tree.add(pencil.line(mark, what, ", ".join(ends)))
        if not request["canonical"]:
            branch.add(pencil.line(Mark.FAILS, "it has one form only", self._told["detail"]))
        for name, values in request["headers"].items():
            branch.add(pencil.named(f"{name}: ", ", ".join(values)))
        for name, value in request["context"].items():
            branch.add(pencil.named(f"context.{name}: ", value))

    def _identity(self, tree: "Tree") -> None:
        pencil, identity = self._pencil, self._told["identity"]
        steps = identity["steps"]
        if not steps:
            if self._told["request"]["canonical"]:
                tree.add(pencil.line(Mark.OPEN, "who asks", "nobody looked, as no policy covers the request"))
            return
        shown = identity["caller"] or identity["peer"]
        if shown is None:
            mark, title = Mark.OPEN, "nobody: there are no credentials"
        elif "refused" in shown:
            mark, title = Mark.FAILS, f"the credentials are refused: {shown['refused']}"
        else:
            mark = Mark.HOLDS
            title = (
                f"{shown['subject']} of {shown['provider'] or 'nobody'}, roles: {', '.join(shown['roles']) or 'none'}"
            )
        branch = tree.add(pencil.line(mark, "who asks", title))
        passed = []
        for step in steps:
            if not self._everything and mark is Mark.HOLDS and step["about"] in _CHECKS:
                passed.append(step["about"])
                continue
            if passed:
                branch.add(
                    pencil.line(Mark.HOLDS, "the token passes its checks", f"{', '.join(passed)} (--all tells each)")
                )
                passed = []
            if self._everything or mark is not Mark.HOLDS or step["about"] != "place" or step["holds"] is not None:
                branch.add(pencil.line(Mark.of(step["holds"]), step["asked"], _said(step)))

    def _policies(self, tree: "Tree") -> None:
        policies = [policy for policy in self._told["policies"] if policy["mode"] == "Enforce"]
        drawing = PolicyTree(self._told, self._pencil, everything=self._everything)
        for policy in policies:
            if policy["covers"] or self._everything:
                drawing.add(tree, policy)
        others = [policy["policy"] for policy in policies if not policy["covers"]]
        if others and not self._everything:
            what = "1 policy does not cover it" if len(others) == 1 else f"{len(others)} policies do not cover it"
            tree.add(self._pencil.line(Mark.OPEN, what, f"{few(others)} (--all tells why)"))
        if not policies and self._told["request"]["canonical"]:
            tree.add(self._pencil.line(Mark.FAILS, "there is no policy"))

    def _shadows(self, tree: "Tree") -> None:
        for shadow in self._told["shadows"]:
            rule = f" rule {shadow['rule']}" if shadow["rule"] else ""
            by = f", by rule {shadow['by']}" if shadow["by"] and not shadow["rule"] else ""
            said = f"would {shadow['would']}" + (f": {shadow['reason']}" if shadow["would"] == "deny" else "") + by
            tree.add(self._pencil.line(Mark.OPEN, f"in shadow mode: policy {shadow['policy']}{rule}", said))
        if self._everything:
            drawing = PolicyTree(self._told, self._pencil, everything=True)
            for policy in self._told["policies"]:
                if policy["mode"] == "Shadow":
                    drawing.add(tree, policy)

    def _answer(self, tree: "Tree") -> None:
        pencil, charge, answer = self._pencil, self._told["charge"], self._told["answer"]
        if charge is not None:
            burst = "" if charge["burst"] is None else f" and {charge['burst']} a second"
            effect = ", without effect (rateShadow)" if charge["shadow"] else ""
            tree.add(
                pencil.line(Mark.OPEN, "rate", f"one of {charge['per_minute']} a minute{burst} is charged{effect}")
            )
        if answer is None:
            tree.add(pencil.line(Mark.FAILS, "answer", "internal-error: its headers must not leave this server"))
            return
        allowed = self._told["decision"] == "allow"
        title = "the request goes on to the service" if allowed else f"the client gets {answer['status']}"
        branch = tree.add(pencil.line(Mark.of(allowed), "answer", title))
        for name, value in answer["headers"].items():
            branch.add(pencil.named(f"{'set ' if allowed else ''}{name}: ", value))
        for name in answer["removed_headers"]:
            branch.add(pencil.named("remove ", name))
        for name in answer["removed_parameters"]:
            branch.add(pencil.named("remove from the query ", name))
        if answer["body"]:
            branch.add(pencil.named("body ", answer["body"]))


def _said(step: _Told) -> str:
    """What was found, and what is wrong with it."""
    found: str = "; ".join(part for part in (step["value"], step["fault"]) if part)
    return found
