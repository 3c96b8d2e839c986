"""From the configuration to what speaks with the shared store, for rates and for records alike."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from extauthz.config import Config
from extauthz.errors import ConfigError, Position, Problem

if TYPE_CHECKING:
    from extauthz.stores import StoreSettings

__all__ = ["in_shared_store"]

_T = TypeVar("_T")


def in_shared_store(config: Config, build: "Callable[[StoreSettings], _T]", *, timeout: float, connections: int) -> _T:
    """What ``build`` makes of the store's settings; nothing is connected yet.

    Raises:
        ConfigError: The store's library is not installed, or the store's settings can't be used.
    """
    from extauthz.stores import StoreSettings

    store = config.store
    settings = StoreSettings(
        url=store.url,
        username=store.username,
        username_file=store.username_file,
        password_file=store.password_file,
        ca_file=store.ca_file,
        cert_file=store.cert_file,
        key_file=store.key_file,
        timeout=timeout,
        connections=connections,
    )
    try:
        return build(settings)
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        message = "a shared store needs the redis client, which is not installed"
        raise ConfigError([Problem(Position("store"), message, 'pip install "extauthz[redis]"')]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(Position("store"), f"can't be used: {error}", "see store in the docs")]) from None
