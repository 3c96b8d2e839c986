"""The HTTP connection manager: what a client may send before anybody is asked about it.

Model: this is Envoy's edge profile plus what an authorization filter needs. A path is normalised, slashes are merged
and escaped slashes are unescaped by a redirect, so the path that is judged is the path that is routed. Header names
that only we may set are removed before the check, in every spelling an upstream might read as the same name
(`x-auth-`, `x_auth_`, `x.auth.`; CGI and WSGI fold them together). Names with an underscore are refused outright.

The catch-all route is a security setting: a request without a route is never checked, and a later filter that changes
the route could still send it on. CONNECT is not among the upgrades, so tunnels end here with 404.

Authorization happens once per stream. `max_stream_duration` is therefore the longest time a websocket or a gRPC stream
can outlive a role that was taken away.

Trade-off: UNESCAPE_AND_REDIRECT answers browsers and curl with a 307 that they follow; gRPC clients see INTERNAL. The
alternative, REJECT_REQUEST, is stricter and breaks links that were percent-encoded by overeager software.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import envoy_data_plane.envoy.config.common.mutation_rules.v3 as rules
import envoy_data_plane.envoy.config.core.v3 as core
import envoy_data_plane.envoy.config.route.v3 as route
import envoy_data_plane.envoy.extensions.filters.http.router.v3 as router
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm
import envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 as early
import envoy_data_plane.envoy.type.matcher.v3 as matcher

from extauthz.envoy_config import stripped_expression
from mesh.envoy.access_log import access_log
from mesh.envoy.endpoints import GRPC_UPSTREAM, HTTP_UPSTREAM, packed
from mesh.envoy.ext_authz import HTTP_FILTER, http_filter, route_settings
from mesh.envoy.tracing import tracing
from mesh.options import EnvoyOptions, ExtraRoute

STREAM_LIMIT = timedelta(hours=1)

METHOD_AND_PATH_OVERRIDES = (
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-path",
    "x-rewrite-url",
)
"""Headers by which frameworks change method or path after the check has judged them."""


def stripped_headers(allowed: Iterable[str]) -> list[rules.HeaderMutation]:
    """Removals for every name that only the authorization server may set, and for what would forge its verdict."""
    ours = matcher.StringMatcher(safe_regex=matcher.RegexMatcher(regex=stripped_expression(allowed)))
    mutations = [rules.HeaderMutation(remove_on_match=rules.HeaderMutationRemoveOnMatch(key_matcher=ours))]
    names = ("x-envoy-auth-failure-mode-allowed", *METHOD_AND_PATH_OVERRIDES)
    return [*mutations, *(rules.HeaderMutation(remove=name) for name in names)]


def _checked_route(
    match: route.RouteMatch, cluster: str, context: dict[str, str], *, stream: bool = False, unchecked: bool = False
) -> route.Route:
    per_filter = {HTTP_FILTER: packed(route_settings(context, unchecked=unchecked))} if context or unchecked else {}
    return route.Route(
        match=match,
        route=route.RouteAction(cluster=cluster, timeout=timedelta(0) if stream else timedelta(seconds=15)),
        typed_per_filter_config=per_filter,
    )


def _extra(extra: ExtraRoute) -> route.Route:
    match = route.RouteMatch(prefix=extra.prefix)
    return _checked_route(match, HTTP_UPSTREAM, dict(extra.context), unchecked=extra.unchecked)


def routes(options: EnvoyOptions) -> route.RouteConfiguration:
    """One virtual host for every name: extra routes, gRPC by content type, websockets, then everything else."""
    context = dict(options.context)
    table = [_extra(extra) for extra in options.routes]
    if options.grpc_upstream:
        grpc = route.RouteMatch(prefix="/", grpc=route.RouteMatchGrpcRouteMatchOptions())
        table.append(_checked_route(grpc, GRPC_UPSTREAM, context, stream=True))
    upgrade = route.HeaderMatcher(
        name="upgrade", string_match=matcher.StringMatcher(exact="websocket", ignore_case=True)
    )
    # A websocket has no end to wait for: without its own route the response timeout would cut it.
    table.append(_checked_route(route.RouteMatch(prefix="/", headers=[upgrade]), HTTP_UPSTREAM, context, stream=True))
    table.append(_checked_route(route.RouteMatch(prefix="/"), HTTP_UPSTREAM, context))
    return route.RouteConfiguration(
        name="local",
        virtual_hosts=[route.VirtualHost(name="all", domains=["*"], routes=table)],
    )


def connection_manager(options: EnvoyOptions) -> hcm.HttpConnectionManager:
    """The whole HTTP side of the listener."""
    manager = hcm.HttpConnectionManager(
        stat_prefix="ingress",
        common_http_protocol_options=core.HttpProtocolOptions(
            idle_timeout=timedelta(minutes=10), max_stream_duration=STREAM_LIMIT
        ),
        http2_protocol_options=core.Http2ProtocolOptions(
            max_concurrent_streams=100,
            initial_stream_window_size=64 * 1024,
            initial_connection_window_size=1024 * 1024,
        ),
        request_headers_timeout=timedelta(seconds=10),
        stream_idle_timeout=timedelta(minutes=5),
        # The id under which logs, traces and a complaining client meet.
        always_set_request_id_in_response=True,
        upgrade_configs=[hcm.HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")],
        tracing=tracing(options.tracing) if options.tracing else None,
        access_log=[access_log(options.access_log)],
        route_config=routes(options),
        http_filters=[
            http_filter(options),
            hcm.HttpFilter(name="envoy.filters.http.router", typed_config=packed(router.Router())),
        ],
    )
    if options.edge:
        harden(manager, options)
    if options.forward_client_cert:
        manager.forward_client_cert_details = hcm.HttpConnectionManagerForwardClientCertDetails.APPEND_FORWARD
        manager.set_current_client_cert_details = hcm.HttpConnectionManagerSetCurrentClientCertDetails(
            subject=True, dns=True, uri=True
        )
    return manager


def harden(manager: hcm.HttpConnectionManager, options: EnvoyOptions) -> None:
    """The edge settings: whose address is believed, which path is judged, which headers never get in."""
    manager.use_remote_address = True
    # No peer is internal by its address: private ranges would otherwise be believed about x-envoy-* headers.
    manager.internal_address_config = hcm.HttpConnectionManagerInternalAddressConfig()
    manager.normalize_path = True
    manager.merge_slashes = True
    manager.path_with_escaped_slashes_action = (
        hcm.HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT
    )
    manager.strip_any_host_port = True
    manager.strip_trailing_host_dot = True
    protocol = manager.common_http_protocol_options or core.HttpProtocolOptions()
    protocol.headers_with_underscores_action = core.HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST
    manager.common_http_protocol_options = protocol
    strip = early.HeaderMutation(mutations=stripped_headers(options.headers_allowed))
    manager.early_header_mutation_extensions = [
        core.TypedExtensionConfig(name="strip-identity", typed_config=packed(strip))
    ]
