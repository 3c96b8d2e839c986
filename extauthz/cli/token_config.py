"""The configuration of a server, for commands that work on what it works on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extauthz.app.vault import Secrets
    from extauthz.config import Config

__all__ = ["opened_config"]


@contextmanager
def opened_config(file: str | None) -> "Iterator[tuple[Config, Secrets]]":
    """The configuration with what it refers to in Vault, which is let go of afterwards.

    Raises:
        ConfigError: It can't be used.
    """
    from extauthz.app.vault import Secrets
    from extauthz.telemetry import configure_logs

    # What is said beside the answer would only stand in its way.
    configure_logs("error")
    with Secrets(os.environ, passing=True) as secrets:
        yield secrets.load(file), secrets
