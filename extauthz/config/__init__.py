"""What an operator writes: one YAML file, and environment variables over it.

The room reads them into one immutable value, ``Config``, or raises a ``ConfigError`` that tells everything that is wrong
with its place. It opens nothing but the file itself; ``extauthz.app`` compiles the value into those of the other rooms.
"""

from extauthz.config.configuration import Config
from extauthz.config.listeners import AdminListener, CheckListener, Listener, Tls
from extauthz.config.loading import DEFAULT_FILE, load_config
from extauthz.config.providers import Fetch, FromPlaces, Jwt, Provider, ProviderRoles

__all__ = [
    "DEFAULT_FILE",
    "AdminListener",
    "CheckListener",
    "Config",
    "Fetch",
    "FromPlaces",
    "Jwt",
    "Listener",
    "Provider",
    "ProviderRoles",
    "Tls",
    "load_config",
]
