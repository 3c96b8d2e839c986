"""Tokens in the hands of people: what is in one, what is unusual about it, and whether it would be accepted."""

from extauthz.workbench.tokens.reading import Row, TokenSeen, look_at
from extauthz.workbench.tokens.telling import as_json, draw, verdict_json
from extauthz.workbench.tokens.verdict import Judged

__all__ = ["Judged", "Row", "TokenSeen", "as_json", "draw", "look_at", "verdict_json"]
