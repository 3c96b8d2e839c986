"""What the operator says about a shared store, as a value."""

from dataclasses import dataclass

__all__ = ["StoreSettings"]


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """One Redis or Valkey, or a group of them."""

    url: str
    """``redis://[user@]host[:port][/db]``, ``rediss://`` (TLS), ``redis+unix:///path``, ``redis+sentinel://a,b/name``,
    ``redis+cluster://a,b``; the last two with TLS as ``rediss+...``. No password."""
    username: str | None = None
    """The ACL user; the one in the URL if this is None."""
    username_file: str | None = None
    """UTF-8 text without the last newline; read anew with the password."""
    password_file: str | None = None
    """UTF-8 text without the last newline; read anew for each connection."""
    ca_file: str | None = None
    """PEM certificates to trust; None: the system's."""
    cert_file: str | None = None
    """The certificate that is shown to the store, PEM."""
    key_file: str | None = None
    """The key of that certificate, PEM."""
    timeout: float = 0.05
    """Seconds until an answer counts as missing. To connect may take a second, in which nobody waits longer than this."""
    connections: int = 4
    """Connections for requests of this process; what does not fit waits and travels together."""
