"""The bytes of an allow, put together without message objects.

Nearly every answer is an allow, and making one of protobuf's objects, field by field, takes longer than deciding. Its
form is small: an empty status, headers to set and to remove, five words of metadata. So it is written here in protobuf's
wire format (protobuf.dev/programming-guides/encoding): a field is a tag, a length and the content. Field numbers are
asked of the generated messages, what belongs to a name, a rule or a set of names is kept, and tests hold the bytes
against what protobuf reads and writes.

The status is always there, though Envoy takes a response without one for an allow too.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from google.protobuf.struct_pb2 import Struct, Value

from extauthz._pb.envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse, OkHttpResponse
from extauthz.canonical import emittable
from extauthz.model import Allow, Decision
from extauthz.wire.tags import VARINT, tag_of, varint

__all__ = ["MAX_SUBJECT", "allowed"]

MAX_SUBJECT: Final = 256
"""Characters of a subject that dynamic metadata tell."""
_MAX_HEADERS: Final = 64
_MAX_HEADER_BYTES: Final = 48 * 1024
"""Envoy refuses requests of more than 100 headers or 60 KiB; what the client sent counts as well."""
_SHORT: Final = 128
"""Characters of a value that is worth remembering."""
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*\Z")

_LENGTHS: Final = tuple(varint(number) for number in range(1024))


def _field(tag: bytes, content: bytes) -> bytes:
    length = len(content)
    return tag + (_LENGTHS[length] if length < len(_LENGTHS) else varint(length)) + content


_MAP_KEY, _MAP_VALUE = b"\x0a", b"\x12"
"""Of an entry of any map: fields 1 and 2."""
_KEY, _TEXT = tag_of(HeaderValue, "key"), tag_of(HeaderValue, "value")
_HEADER: Final = tag_of(HeaderValueOption, "header")
_OVERWRITE: Final = tag_of(HeaderValueOption, "append_action", VARINT) + varint(
    HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
)
_SET, _REMOVE = tag_of(OkHttpResponse, "headers"), tag_of(OkHttpResponse, "headers_to_remove")
_SPENT: Final = tag_of(OkHttpResponse, "query_parameters_to_remove")
_TOLD: Final = tag_of(OkHttpResponse, "response_headers_to_add")
_STATUS: Final = _field(tag_of(CheckResponse, "status"), b"")
"""Code 0 is the default value, which is written as nothing; the status itself is there."""
_OK, _METADATA = tag_of(CheckResponse, "ok_response"), tag_of(CheckResponse, "dynamic_metadata")
_FIELDS, _STRING = tag_of(Struct, "fields"), tag_of(Value, "string_value")


def allowed(decision: Decision, allow: Allow, told: Sequence[tuple[str, str]] = ()) -> bytes:
    """The serialised CheckResponse of an allow; ``told`` are headers for the client's response.

    Raises:
        ValueError: It carries headers that must not leave this server.
    """
    headers = _headers(allow)
    if allow.remove_headers:
        headers += _removed(allow.remove_headers)
    if decision.spent_parameter:
        headers += _field(_SPENT, decision.spent_parameter.encode())
    for name, value in told:
        headers += _field(_TOLD, _option(name, value))
    subject = "" if decision.identity is None else decision.identity.subject[:MAX_SUBJECT]
    metadata = _because(allow.policy, allow.rule) + _subject(subject) + _word(_DECISION, decision.id)
    return _STATUS + _field(_OK, headers) + _field(_METADATA, metadata)


def _headers(allow: Allow) -> bytes:
    """The headers to set."""
    if not allow.set_headers:
        return b""
    written = b""
    names = {*allow.remove_headers}
    for name, value in allow.set_headers:
        if name in names:
            message = f"header {name} is set twice, or set and removed"
            raise ValueError(message)
        names.add(name)
        written += _set_before(name, value) if len(value) <= _SHORT else _set(name, value)
    if len(allow.set_headers) > _MAX_HEADERS or len(written) > _MAX_HEADER_BYTES:
        message = "the policies set more headers than Envoy takes"
        raise ValueError(message)
    return written


def _set(name: str, value: str) -> bytes:
    """A header to set, checked. Raises ValueError."""
    if not emittable(name):
        message = f"header {name} must not be set or removed"
        raise ValueError(message)
    if not _VALUE.match(value):
        message = f"the value of header {name} has a character that does not belong there"
        raise ValueError(message)
    return _field(_SET, _option(name, value))


_set_before: Final = lru_cache(maxsize=8192)(_set)
"""The same for short values, most of which are those of a request before: who asks, and what roles that gives."""


def _option(name: str, value: str) -> bytes:
    """A HeaderValueOption."""
    return _field(_HEADER, _field(_KEY, name.encode()) + _field(_TEXT, value.encode())) + _OVERWRITE


@lru_cache(maxsize=1024)
def _removed(names: tuple[str, ...]) -> bytes:
    """The headers to remove. Raises ValueError."""
    for name in names:
        if not emittable(name):
            message = f"header {name} must not be set or removed"
            raise ValueError(message)
    if len(set(names)) != len(names):
        message = "a header is removed twice"
        raise ValueError(message)
    return b"".join(_field(_REMOVE, name.encode()) for name in names)


@lru_cache(maxsize=4096)
def _because(policy: str, rule: str) -> bytes:
    """What dynamic metadata say of a rule, wherever it allows."""
    words: Iterable[tuple[str, str]] = (("reason", "allowed"), ("policy", policy), ("rule", rule))
    return b"".join(_word(_field(_MAP_KEY, name.encode()), value) for name, value in words)


def _word(name: bytes, value: str) -> bytes:
    """An entry of dynamic metadata: a string."""
    return _field(_FIELDS, name + _field(_MAP_VALUE, _field(_STRING, value.encode())))


_DECISION: Final = _field(_MAP_KEY, b"decision_id")


@lru_cache(maxsize=8192)
def _subject(subject: str) -> bytes:
    """What dynamic metadata say of the caller."""
    return _word(_field(_MAP_KEY, b"subject"), subject)
