"""Whether what one pattern matches, another matches too. In doubt the answer is no."""

from collections.abc import Callable, Iterable
from typing import Any

from extauthz.policy.paths import PathPattern
from extauthz.policy.patterns import HostPattern
from extauthz.policy.words import Entry, Word

__all__ = ["covers_entry", "covers_host", "covers_path", "covers_word", "impossible"]


def covers_path(wide: PathPattern, narrow: PathPattern, *, tolerant: bool) -> bool:
    """Whether every path of ``narrow`` is one of ``wide``; ``tolerant``: wide ``/x`` is ``/x/``, too."""
    if wide.rest:
        return len(narrow.segments) >= len(wide.segments) and _covers(wide.segments, narrow.segments)
    if narrow.rest:
        return False
    segments = narrow.segments
    if tolerant and len(segments) == len(wide.segments) + 1 and segments[-1] == "":
        segments = segments[:-1]
    return len(segments) == len(wide.segments) and _covers(wide.segments, segments)


def _covers(wide: tuple[str | None, ...], narrow: tuple[str | None, ...]) -> bool:
    return all(
        (other is None or other != "") if own is None else own == other
        for own, other in zip(wide, narrow, strict=False)
    )


def covers_host(wide: HostPattern, narrow: HostPattern) -> bool:
    """Whether every host of ``narrow`` is one of ``wide``."""
    if not wide.below:
        return not narrow.below and wide.name == narrow.name
    if not wide.name:
        return True
    return narrow.name.endswith(wide.suffix) or (narrow.below and narrow.name == wide.name)


def _covers_principal(wide: str, narrow: str) -> bool:
    if wide == "*":
        return True
    if wide.endswith("*"):
        return narrow.removesuffix("*").startswith(wide[:-1]) and not narrow.startswith("*")
    return wide == narrow


def _covers_network(wide: Any, narrow: Any) -> bool:
    return bool(wide.version == narrow.version and narrow.subnet_of(wide))


def _equal(wide: object, narrow: object) -> bool:
    return wide == narrow


_COVERS: dict[str, Callable[[Any, Any], bool]] = {
    "hosts": covers_host,
    "ports": _equal,
    "methods": _equal,
    "principals": _covers_principal,
    "ipBlocks": _covers_network,
    "remoteIpBlocks": _covers_network,
}


def covers_word(name: str, wide: Iterable[Any], narrow: Iterable[Any], *, tolerant: bool) -> bool:
    """Whether each pattern of a positive word is covered by one of another list of the same kind."""
    known = tuple(wide)
    if name == "paths":
        return all(any(covers_path(one, other, tolerant=tolerant) for one in known) for other in narrow)
    covers = _COVERS[name]
    return all(any(covers(one, other) for one in known) for other in narrow)


def _positive(name: str) -> str:
    """The word that a not* word is the opposite of."""
    return name[3].lower() + name[4:]


def covers_entry(wide: Entry, narrow: Entry) -> bool:
    """Whether every request that matches ``narrow`` matches ``wide``, an entry of ``deny``."""
    return all(_implied(word, narrow) for word in wide.words)


def _implied(word: Word, narrow: Entry) -> bool:
    own = narrow.word(word.name)
    if word.excludes:
        # It must exclude nothing that the other lets in: so the other has to exclude as much.
        return own is not None and covers_word(_positive(word.name), own.asked, word.asked, tolerant=True)
    return own is not None and covers_word(word.name, word.asked, own.asked, tolerant=word.deny)


def impossible(entry: Entry) -> str:
    """The not* word that takes away all that its positive twin names; empty if there is none."""
    for word in entry.words:
        if not word.excludes:
            continue
        twin = entry.word(_positive(word.name))
        if twin is not None and covers_word(twin.name, word.asked, twin.asked, tolerant=True):
            return word.name
    return ""
