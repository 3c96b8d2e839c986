"""Envoy's ext_authz protobuf messages <-> our values."""

from extauthz.wire.answer import Answer, read_answer
from extauthz.wire.asked import encode_check
from extauthz.wire.decode import decode, decode_json
from extauthz.wire.encode import INTERNAL_ERROR_ANSWER, Encoder

__all__ = ["INTERNAL_ERROR_ANSWER", "Answer", "Encoder", "decode", "decode_json", "encode_check", "read_answer"]
