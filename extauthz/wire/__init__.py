"""Envoy's ext_authz protobuf messages <-> our values."""

from extauthz.wire.decode import decode
from extauthz.wire.encode import INTERNAL_ERROR_ANSWER, Encoder

__all__ = ["INTERNAL_ERROR_ANSWER", "Encoder", "decode"]
