"""A view as a screen of text: what is wrong first, then what is going on."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from extauthz.workbench.top.view import Count, Tokens, View

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["screen"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def screen(seen: View, title: str, harmless: Callable[[str], str]) -> "RenderableType":
    """The screen. ``title`` says which server, ``harmless`` makes what clients chose fit for a terminal."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_head(seen, title)]
    parts += [Text(harmless(line), style="red") for line in seen.troubles]
    parts.append(_figures(seen))
    left = _table("why denied", seen.reasons, "reason")
    right = _table("busiest rules", seen.rules, "policy and rule", harmless)
    parts.append(_beside(left, right))
    if seen.phases:
        parts.append(_phases(seen))
    if seen.tokens is not None:
        parts += [_tokens(seen.tokens), _beside(*_token_tables(seen.tokens))]
    if seen.limits or seen.workers:
        parts.append(_beside(_table("rates", seen.limits, "outcome"), _table("workers", seen.workers, "worker")))
    if seen.providers:
        parts.append(_providers(seen))
    if seen.told:
        parts.append(_denials(seen.denials, harmless))
    else:
        parts.append(
            Text("rules and denials are told on loopback, a unix socket or with client certificates only", "dim")
        )
    return Group(*parts)


def _head(seen: View, title: str) -> "RenderableType":
    from rich.text import Text

    state = ("ready", "green") if seen.ready else ("not ready", "bold red")
    store = {None: "", True: "  store up", False: "  store DOWN"}[seen.store]
    return Text.assemble(
        ("extauthz ", "bold"), f"{title}  ", state, f"  policies of generation {seen.generation}{store}"
    )


def _figures(seen: View) -> "RenderableType":
    from rich.text import Text

    asked = seen.allowed + seen.denied
    share = f" ({seen.denied / asked:.0%})" if asked else ""
    cpu = "" if seen.cpu is None else f"  CPU {seen.cpu * 1e6:,.0f} us a check"
    remembered = "" if seen.remembered is None else f"  tokens seen before {seen.remembered:.0%}"
    times = "" if seen.p50 is None else f"  half within {_duration(seen.p50)}, 99 % within {_duration(seen.p99)}"
    return Text.assemble(
        (f"{asked:,.0f}", "bold"),
        " checks/s  ",
        (f"{seen.allowed:,.0f}", "green"),
        " allowed  ",
        (f"{seen.denied:,.0f}", "yellow"),
        f" denied{share}{times}  {seen.inflight:,.0f} in flight{cpu}  {seen.memory / 1e6:,.0f} MB{remembered}",
    )


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:g} ms"


def _beside(left: "Table", right: "Table") -> "RenderableType":
    from rich.table import Table

    grid = Table.grid(expand=True, padding=(0, 2))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return grid


def _plain(title: str, columns: Iterable[tuple[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, expand=True, padding=(0, 1))
    for name, justify in columns:
        table.add_column(name, justify=justify, header_style="dim", no_wrap=True, overflow="ellipsis")
    return table


def _table(title: str, counts: Sequence[Count], name: str, harmless: Callable[[str], str] = str) -> "Table":
    from rich.text import Text

    table = _plain(title, ((name, "left"), ("1/s", "right"), ("in all", "right")))
    for count in counts:
        table.add_row(Text(harmless(count.name)), f"{count.per_second:,.1f}", f"{count.total:,.0f}")
    if not counts:
        table.add_row(Text("none", "dim"), "", "")
    return table


def _phases(seen: View) -> "RenderableType":
    from rich.text import Text

    told = (f"{phase.name} {phase.seconds * 1e6:,.0f} us ({phase.share:.0%})" for phase in seen.phases)
    return Text.assemble(("where the time goes  ", "bold"), "  ".join(told))


def _tokens(tokens: Tokens) -> "RenderableType":
    from rich.text import Text

    issued = sum(count.per_second for count in tokens.issued)
    refused = sum(count.per_second for count in tokens.refused)
    ages = "  ".join(f"{slot} {_ago(age)}" for slot, age in tokens.keys.items()) or "none"
    age = "never read" if tokens.revocations_age is None else f"read {_ago(tokens.revocations_age)} ago"
    signature = "" if tokens.signature is None else f"  a signature {tokens.signature * 1e3:,.1f} ms"
    line = Text.assemble(
        ("tokens  ", "bold"),
        (f"{issued:,.1f}", "green"),
        " issued/s  ",
        (f"{refused:,.1f}", "yellow"),
        f" refused/s  keys: {ages}",
        "" if tokens.signs else ("  CAN'T SIGN", "bold red"),
        f"{signature}  {tokens.revocations:,.0f} revocations, {age}",
        "" if tokens.store else ("  store DOWN", "bold red"),
    )
    if tokens.vault is not None:
        lasts = "" if tokens.vault_token is None else f", its token lasts {_ago(tokens.vault_token)}"
        line.append_text(Text.assemble("  vault ", "up" + lasts if tokens.vault else ("DOWN", "bold red")))
    if tokens.reused.total:
        line.append(f"  {tokens.reused.total:,.0f} refresh tokens used twice", "bold yellow")
    if tokens.unrecorded:
        line.append(f"  {tokens.unrecorded:,.0f} NOT IN THE AUDIT LOG", "bold red")
    return line


def _token_tables(tokens: Tokens) -> tuple["Table", "Table"]:
    return _table("tokens issued", tokens.issued, "grant"), _table("tokens refused", tokens.refused, "error")


def _providers(seen: View) -> "Table":
    from rich.text import Text

    table = _plain("providers", (("name", "left"), ("", "left"), ("keys fetched", "left")))
    for provider in seen.providers:
        state = Text("usable", "green") if provider.usable else Text("not usable", "bold red")
        table.add_row(Text(provider.name), state, "" if provider.keys_age is None else f"{_ago(provider.keys_age)} ago")
    return table


def _ago(seconds: float) -> str:
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _denials(records: Sequence[Any], harmless: Callable[[str], str]) -> "Table":
    from rich.text import Text

    columns = (("time", "left"), ("reason", "left"), ("request", "left"), ("by", "left"), ("id", "left"))
    table = _plain("last denials", columns)
    for record in records:
        asked = f"{record.get('method', '')} {record.get('host', '')}{record.get('path', '')}".strip()
        by = f"{record.get('policy', '')} {record.get('rule', '')}".strip() or record.get("provider", "")
        cells = (str(record["time"])[11:19], record["reason"], asked, by, record["id"])
        table.add_row(*(Text(harmless(str(cell))) for cell in cells))
    if not records:
        table.add_row(Text("none", "dim"), "", "", "", "")
    return table
