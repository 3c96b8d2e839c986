"""The configuration, compiled into the values of the rooms.

No room reads a ``Config``: each has its own value types, and what the operator wrote is translated once, at start: here,
and what is written of providers in ``extauthz.app.providers``.
"""

from collections.abc import Callable

from extauthz import config as written
from extauthz.canonical import PathRules
from extauthz.check import DeniedLimit, RequestRules
from extauthz.limits import MemoryLimiter
from extauthz.policy import PolicySettings
from extauthz.serving import Listener, TlsFiles, parse_address

__all__ = ["denied_limit", "listener", "policy_settings", "request_rules"]


def policy_settings(config: written.Config) -> PolicySettings:
    """What the configuration says about policies."""
    return PolicySettings(
        group=config.policies.group,
        providers=frozenset(provider.name for provider in config.providers if provider.mesh is None),
        mesh_providers=frozenset(provider.name for provider in config.providers if provider.mesh is not None),
        allowed_headers=tuple(config.headers.allowed),
        case_insensitive_paths=config.request.case_insensitive_paths,
    )


def request_rules(config: written.Config) -> RequestRules:
    """What is refused of requests."""
    request = config.request
    return RequestRules(
        path=PathRules(
            normalize=request.normalize,
            encoded_slash=request.encoded_slash == "accept",
            double_encoding=request.double_encoding == "accept",
            parameters=request.path_parameters == "accept",
        ),
        method_override=request.method_override == "accept",
        sni_must_equal_host=request.sni_must_equal_host,
        trusted_hops=config.client_address.trusted_hops,
    )


def denied_limit(config: written.Config, clock: Callable[[], float]) -> DeniedLimit | None:
    """The limit on denied requests of one address, if there is one; ``clock`` is monotonic, in seconds."""
    per_minute = config.limits.denied_per_address
    if per_minute is None:
        return None
    return DeniedLimit(MemoryLimiter(clock=clock, max_keys=config.limits.max_keys), per_minute)


def listener(settings: written.Listener) -> Listener:
    """Where one of the servers listens."""
    return Listener(
        address=parse_address(settings.address),
        plaintext=settings.plaintext,
        socket_mode=settings.socket_rights,
        tls=None if settings.tls is None else _tls(settings.tls),
    )


def _tls(tls: written.Tls) -> TlsFiles:
    return TlsFiles(
        cert_file=tls.cert_file,
        key_file=tls.key_file,
        client_ca_file=tls.client_ca_file,
        client_optional=tls.client_certificates == "optional",
        client_principals=tuple(tls.client_principals or ()),
    )
