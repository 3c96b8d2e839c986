"""The values that a condition read: those that its text names, without what may be a credential.

``request.headers`` as a whole would fill the screen. So where a condition names a member, ``request.headers["x-tenant"]``
or ``claims.org.id``, that member is told under this name; where it asks in another way, the whole value is.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from extauthz.capture.hiding import HIDDEN, Hiding

__all__ = ["absent_members", "condition_values"]

_STEP = r"""(?:\.([A-Za-z_]\w*)(?!\w*\s*\()|\[\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\])"""
_LONGEST = 512
_ABSENT = "(absent)"


def condition_values(source: str, values: Mapping[str, Any], hiding: Hiding) -> dict[str, str]:
    """What a condition saw, each as text by its name."""
    told: dict[str, str] = {}
    for name, value in sorted(values.items()):
        members = _members(source, name) if isinstance(value, Mapping) else {}
        for written, steps in members.items():
            told[written] = _member(name, steps, value, hiding)
        if not members:
            told[name] = _whole(name, value, hiding)
    return told


def absent_members(source: str, values: Mapping[str, Any]) -> list[str]:
    """The members that a condition names and that are not there, as it spells them."""
    absent = []
    for name, value in sorted(values.items()):
        for written, steps in _members(source, name).items() if isinstance(value, Mapping) else ():
            found: Any = value
            for step in steps:
                found = found.get(step) if isinstance(found, Mapping) else None
            if found is None:
                absent.append(written)
    return absent


def _members(source: str, name: str) -> dict[str, tuple[str, ...]]:
    """The members of a name that an expression names: the steps to each, by what is written."""
    found: dict[str, tuple[str, ...]] = {}
    for match in re.finditer(rf"(?<![\w.]){re.escape(name)}((?:{_STEP})+)", source):
        steps = re.findall(_STEP, match[1])
        found[match[0]] = tuple(plain or double or single for plain, double, single in steps)
    return found


def _member(name: str, steps: tuple[str, ...], value: Any, hiding: Hiding) -> str:
    for step in steps:
        if not isinstance(value, Mapping) or step not in value:
            return _ABSENT
        value = value[step]
    return _shown(_hidden(name, steps[0], value, hiding))


def _whole(name: str, value: Any, hiding: Hiding) -> str:
    if isinstance(value, Mapping):
        return _shown({key: _hidden(name, key, item, hiding) for key, item in value.items()})
    if name == "request.path" and isinstance(value, str):
        path, question, query = value.partition("?")
        value = path + question + hiding.query(query)
    return _shown(value)


def _hidden(name: str, key: str, value: Any, hiding: Hiding) -> Any:
    """A member of a map, unless it may be a credential."""
    if name == "request.headers":
        return hiding.headers({key: (str(value),)})[key][0]
    if name == "request.query" and isinstance(value, list):
        pieces = [hiding.query(f"{quote(key)}={quote(str(item))}") for item in value]
        return [HIDDEN if HIDDEN in piece else item for piece, item in zip(pieces, value, strict=True)]
    if isinstance(value, Mapping):
        return {inner: _hidden(name, inner, item, hiding) for inner, item in value.items()}
    if isinstance(value, list):
        return [_hidden(name, key, item, hiding) for item in value]
    return hiding.member(name, key, value) if isinstance(value, str) else value


def _shown(value: Any) -> str:
    """A value as CEL would write it, cut to a bearable length."""
    text = (
        f'"{value.isoformat()}"' if isinstance(value, datetime) else json.dumps(value, ensure_ascii=False, default=str)
    )
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
