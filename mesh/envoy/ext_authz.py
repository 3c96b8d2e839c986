"""The ext_authz filters: the one place where Envoy asks, and where it is told never to guess.

Model: Envoy sends one Check per request and acts on the answer. Everything here narrows what can go wrong between the
two: a short deadline with retries in milliseconds, denial (503) on any error, raw header bytes so that no byte is
replaced before it is judged, and a written list of the headers the answer may touch.

- `encode_raw_headers` keeps duplicates apart and non-UTF-8 bytes intact; the older map joins and replaces them.
- `validate_mutations` turns a malformed header from the server into a 500 instead of a split response.
- `decoder_header_mutation_rules` is least privilege for the server: only `headers.allowed`, and an attempt at
  anything else (`:path`, `host`, a routing header) is an error and not a silent no-op. It governs removals too.
- `status_on_error: 503` tells an outage from a denial (Envoy's default is 403 for both).
- A body is sent only when asked for: buffering waits for the whole request and would hold back every stream.

Envoy 1.40 knows a field that the typed schema (1.38) lacks, `clear_route_cache_headers`. The route cache is never
cleared here, so it is not wanted and nothing is patched in.
"""

from __future__ import annotations

from datetime import timedelta

import envoy_data_plane.envoy.config.common.mutation_rules.v3 as rules
import envoy_data_plane.envoy.config.core.v3 as core
import envoy_data_plane.envoy.config.listener.v3 as listener
import envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 as http_authz
import envoy_data_plane.envoy.extensions.filters.network.ext_authz.v3 as network_authz
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm
import envoy_data_plane.envoy.type.matcher.v3 as matcher
import envoy_data_plane.envoy.type.v3 as types

from extauthz.envoy_config import allowed_expression
from mesh.envoy.endpoints import AUTHZ, packed
from mesh.options import EnvoyOptions

HTTP_FILTER = "envoy.filters.http.ext_authz"
NETWORK_FILTER = "envoy.filters.network.ext_authz"
RETRY_ON = "connect-failure,refused-stream,reset-before-request,unavailable"


def grpc_service(options: EnvoyOptions) -> core.GrpcService:
    """How the Check is called.

    The timeout covers all attempts, so the back-off begins small. Its `max_interval` is more than its name says: Envoy
    also cuts off each attempt after that time (seen with 1.40; a Check that took longer got status_on_error, without a
    retry), so it must not be shorter than the timeout.
    """
    retries = core.RetryPolicy(
        retry_on=RETRY_ON,
        num_retries=options.authz_retries,
        retry_back_off=core.BackoffStrategy(
            base_interval=timedelta(milliseconds=10), max_interval=options.authz_timeout
        ),
    )
    return core.GrpcService(
        envoy_grpc=core.GrpcServiceEnvoyGrpc(
            cluster_name=AUTHZ, authority="authz.internal", max_receive_message_length=64 * 1024
        ),
        timeout=options.authz_timeout,
        # Only this retry policy works; the one inside envoy_grpc is for xDS streams.
        retry_policy=retries if options.authz_retries else None,
    )


def http_filter(options: EnvoyOptions) -> hcm.HttpFilter:
    """The HTTP filter, hardened."""
    body = None
    if options.body_bytes:
        body = http_authz.BufferSettings(
            max_request_bytes=options.body_bytes, allow_partial_message=True, pack_as_bytes=True
        )
    config = http_authz.ExtAuthz(
        grpc_service=grpc_service(options),
        transport_api_version=core.ApiVersion.V3,
        failure_mode_allow=False,
        status_on_error=types.HttpStatus(code=types.StatusCode.ServiceUnavailable),
        with_request_body=body,
        encode_raw_headers=options.raw_headers,
        validate_mutations=True,
        include_peer_certificate=True,
        include_tls_session=True,
        max_denied_response_body_bytes=16 * 1024,
        enforce_response_header_limits=True,
        decoder_header_mutation_rules=rules.HeaderMutationRules(
            disallow_all=True,
            allow_expression=matcher.RegexMatcher(regex=allowed_expression(options.headers_allowed)),
            disallow_is_error=True,
        ),
    )
    return hcm.HttpFilter(name=HTTP_FILTER, typed_config=packed(config))


def route_settings(context: dict[str, str], *, unchecked: bool = False) -> http_authz.ExtAuthzPerRoute:
    """What one route tells the check about itself (`context` in policies), or that it is not checked."""
    if unchecked:
        return http_authz.ExtAuthzPerRoute(disabled=True)
    return http_authz.ExtAuthzPerRoute(check_settings=http_authz.CheckSettings(context_extensions=context))


def network_filter(options: EnvoyOptions) -> listener.Filter:
    """The TCP filter: the check is made on the first byte and knows addresses, principal and SNI alone."""
    config = network_authz.ExtAuthz(
        stat_prefix="tcp",
        grpc_service=grpc_service(options),
        transport_api_version=core.ApiVersion.V3,
        failure_mode_allow=False,
        include_peer_certificate=True,
        include_tls_session=True,
    )
    return listener.Filter(name=NETWORK_FILTER, typed_config=packed(config))
