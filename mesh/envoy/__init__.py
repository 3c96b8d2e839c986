"""Typed Envoy configuration: functions from `EnvoyOptions` to envoy-data-plane messages.

envoy-data-plane is imported here first, with pydantic's deprecation warnings off: betterproto2 0.9 declares its models
in a way that pydantic 2.14 warns about, a thousand times, and tests treat warnings as errors.
"""

import warnings

from pydantic.warnings import PydanticDeprecationWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", PydanticDeprecationWarning)
    from mesh.envoy.bootstrap import bootstrap, bootstrap_document
    from mesh.envoy.ext_authz import http_filter, network_filter

__all__ = ["bootstrap", "bootstrap_document", "http_filter", "network_filter"]
