"""What an operator writes: one YAML file, and environment variables over it.

The room reads them into one immutable value, ``Config``, or raises a ``ConfigError`` that tells everything that is wrong
with its place. It opens nothing but the file itself; ``extauthz.app`` compiles the value into those of the other rooms.
"""

from extauthz.config.basic import Basic, Ldap
from extauthz.config.configuration import Config
from extauthz.config.introspection import Introspection
from extauthz.config.listeners import AdminListener, CheckListener, Listener, Tls
from extauthz.config.loading import DEFAULT_FILE, load_config
from extauthz.config.mesh import Mesh, Xfcc
from extauthz.config.providers import ApiKeys, Fetch, FromPlaces, Jwt, Provider, ProviderRoles
from extauthz.config.references import OpenSecrets, SecretSource
from extauthz.config.secret_paths import secret_paths
from extauthz.config.token_checks import granted, token_client_faults
from extauthz.config.tokens import TokenClient, Tokens
from extauthz.config.vault import AppRole, JwtAuth, KubernetesAuth, Vault, VaultAuth

__all__ = [
    "DEFAULT_FILE",
    "AdminListener",
    "ApiKeys",
    "AppRole",
    "Basic",
    "CheckListener",
    "Config",
    "Fetch",
    "FromPlaces",
    "Introspection",
    "Jwt",
    "JwtAuth",
    "KubernetesAuth",
    "Ldap",
    "Listener",
    "Mesh",
    "OpenSecrets",
    "Provider",
    "ProviderRoles",
    "SecretSource",
    "Tls",
    "TokenClient",
    "Tokens",
    "Vault",
    "VaultAuth",
    "Xfcc",
    "granted",
    "load_config",
    "secret_paths",
    "token_client_faults",
]
