"""A server that takes the place of the one that runs, when a secret changes that is part of the configuration.

The configuration is read again and looked at as ``extauthz validate`` does, while the old server goes on: what can't be used
changes nothing, and is tried again later. Then the old server stops as it would when told to (health off, drain, grace), and
the new one begins in the same process. In between, for the time of a start, nobody answers here: where that matters there
are replicas, or ``workers``, of which one is renewed at a time.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from extauthz.app.validation import validate
from extauthz.config import Config
from extauthz.errors import ConfigError, ExtAuthzError
from extauthz.serving import Server
from extauthz.serving import serve as run

__all__ = ["Renewal"]

_log = structlog.get_logger()

_AGAIN = 15.0
"""Seconds until a configuration that can't be used is read once more."""


class Renewal:
    """One server's configuration, and how the next one comes to be. Belongs to one event loop."""

    def __init__(self, config: Config, reload: Callable[[], Config] | None) -> None:
        """``reload`` reads the configuration again; None: somebody else starts this process anew."""
        self.config = config
        self._reload = reload
        self._server: Server | None = None
        self._task: asyncio.Task[Config] | None = None

    def changed(self, names: Sequence[str]) -> None:
        """Secrets have other values than those that the server was built with."""
        if self._reload is None or self._server is None:
            return
        _log.info("a secret of the configuration has changed, starting anew", secrets=list(names))
        if self._task is not None and not self._task.done():
            self._task.cancel()  # it may have read the values before
        self._task = asyncio.create_task(self._renewed(self._server, self._reload), name="renewal")

    async def serve(self, server: Server) -> "Renewal | None":
        """Run a server; gives the renewal to go on with, or None if it was asked to stop."""
        self._server = server
        try:
            asked = await run(server)
        finally:
            self._server = None
            task = self._task
            if task is not None and not task.done():
                task.cancel()
        if asked or task is None:
            return None
        return Renewal(await task, self._reload)

    async def _renewed(self, server: Server, reload: Callable[[], Config]) -> Config:
        """The next configuration; the server has stopped by then."""
        told = ""
        while True:
            try:
                config = await asyncio.to_thread(reload)
                problems = (await asyncio.to_thread(validate, config)).problems
                if problems:
                    raise ConfigError(problems)
                break
            except ExtAuthzError as error:
                if str(error) != told:
                    told = str(error)
                    _log.error("the configuration can't be used, the server goes on with the old one", problem=told)
                await asyncio.sleep(_AGAIN)
        await server.stop()
        return config
