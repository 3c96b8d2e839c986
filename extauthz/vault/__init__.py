"""HashiCorp Vault and OpenBao: logging in and staying so, signing keys that never leave, secrets of the configuration.

``Vault`` is one server and who we are to it; ``TransitKeys`` and ``KvKeys`` sign for the token service, ``References`` are the
secrets that a configuration names. hvac is imported here and nowhere else: whoever has no Vault needs none of this.
"""

from extauthz.vault.calls import Vault, VaultCounts, VaultState
from extauthz.vault.kv import KvKeys
from extauthz.vault.references import References
from extauthz.vault.secret_files import SecretFiles
from extauthz.vault.settings import AppRoleLogin, JwtLogin, Login, TokenLogin, VaultSettings
from extauthz.vault.transit import TransitKeys

__all__ = [
    "AppRoleLogin",
    "JwtLogin",
    "KvKeys",
    "Login",
    "References",
    "SecretFiles",
    "TokenLogin",
    "TransitKeys",
    "Vault",
    "VaultCounts",
    "VaultSettings",
    "VaultState",
]
