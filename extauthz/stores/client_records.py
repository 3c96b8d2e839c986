"""A client as text that is kept, and back: JSON with the names of the fields, and nothing read that isn't understood.

What a newer version has written and this one does not know could be the very thing that restricts the client, so such a
record is an error and not a client with something left out. An error names the client and nothing of what is in the record.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

from extauthz.errors import StoreError
from extauthz.tokens.clients import Client, ExchangeRules

__all__ = ["client_of", "record_of"]

_FIELDS: Final = {field.name: field.default is MISSING and field.default_factory is MISSING for field in fields(Client)}
"""Each with whether it must be there."""
_RULES: Final = {"providers", "may_grant"}


def record_of(client: Client) -> str:
    """A client as text."""
    record = {name: getattr(client, name) for name in _FIELDS}
    record["grants"] = sorted(client.grants)
    record["secret_digests"] = [b64encode(one).decode() for one in client.secret_digests]
    record["public_keys"] = None if client.public_keys is None else dict(client.public_keys)
    rules = client.exchange
    record["exchange"] = rules and {
        "providers": sorted(rules.providers),
        "may_grant": None if rules.may_grant is None else sorted(rules.may_grant),
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def client_of(client_id: str, record: str | bytes) -> Client:
    """The client of a record.

    Raises:
        StoreError: It is damaged, or of a newer version.
    """
    try:
        return _client(client_id, json.loads(record))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        message = f"the record of client {client_id!r} can't be read: damaged, or written by a newer version"
        raise StoreError(message) from error


def _client(client_id: str, record: Mapping[str, Any]) -> Client:
    missing = {name for name, needed in _FIELDS.items() if needed} - record.keys()
    if record.keys() - _FIELDS.keys() or missing or record["id"] != client_id:
        raise ValueError("its fields are not those of a client")
    values = dict(record)
    values["grants"] = frozenset(record["grants"])
    for name in ("audiences", "roles", "scopes"):
        values[name] = tuple(record.get(name, ()))
    values["secret_digests"] = tuple(b64decode(one, validate=True) for one in record.get("secret_digests", ()))
    rules = record.get("exchange")
    if rules is not None:
        if rules.keys() != _RULES:
            raise ValueError("its fields are not those of rules of exchange")
        may_grant = rules["may_grant"]
        values["exchange"] = ExchangeRules(
            frozenset(rules["providers"]), None if may_grant is None else frozenset(may_grant)
        )
    return Client(**values)
