"""``extauthz envoy-config``: the recommended configuration for a proxy of one's own."""

import os
from typing import Annotated, Literal

from cyclopts import Parameter

from extauthz.cli.serve import ConfigFile

__all__ = ["envoy_config"]


def envoy_config(
    kind: Annotated[
        Literal["envoy", "filter", "istio"],
        Parameter(help="A whole hardened Envoy; only its filter and cluster; what Istio needs."),
    ],
    /,
    *,
    config: ConfigFile = None,
    authz: Annotated[
        list[str] | None,
        Parameter(
            help="Where the proxy reaches extauthz: host:port or unix:/path, once for each replica or worker. Without it "
            "127.0.0.1:9000, and for Istio the Service extauthz in a namespace extauthz.",
            negative="",
        ),
    ] = None,
    listen: Annotated[
        str | None, Parameter(help="Where that Envoy listens (envoy only). Without it 0.0.0.0:10000.")
    ] = None,
    upstream: Annotated[
        str | None, Parameter(help="The service behind it (envoy only). Without it 127.0.0.1:8000.")
    ] = None,
    collector: Annotated[
        str | None,
        Parameter(help="The OpenTelemetry collector for its traces (envoy only). Without it 127.0.0.1:4317."),
    ] = None,
) -> int:
    """Print the configuration that a proxy needs to ask extauthz before every request.

    What policies may write is taken from the configuration (headers.allowed), so that the proxy allows the same names.
    """
    from extauthz.config import load_config
    from extauthz.envoy_config import render

    allowed = None if kind == "istio" else load_config(config, os.environ).headers.allowed
    text = render(
        kind, authz=authz or (), listen=listen, upstream=upstream, collector=collector, headers_allowed=allowed
    )
    print(text, end="" if text.endswith("\n") else "\n")
    return 0
