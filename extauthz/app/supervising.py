"""Several worker processes and what looks after them, out of the configuration.

The workers read the configuration for themselves, as a server that is alone does. Here it is read for what the supervisor
needs of it, and once more before workers are started anew, so that a mistake in it ends nothing.
"""

import asyncio
from collections.abc import Callable

from extauthz.app.open_secrets import tell_open_secrets
from extauthz.app.values import listener
from extauthz.app.vault import Secrets
from extauthz.config import Config
from extauthz.errors import ServingError
from extauthz.serving import SupervisorParts, run_workers, worker_command
from extauthz.telemetry import MergedMetrics, configure_logs, merged_activity, toggle_debug

__all__ = ["supervise"]

_SLACK = 5.0
"""Seconds that a worker may take beyond its drain delay and its grace."""


def supervise(config: Config, file: str | None, secrets: Secrets) -> int:
    """Run the workers that ``config``, which ``secrets`` read from ``file``, asks for; gives the exit code.

    Each worker reads the configuration and what it refers to for itself, after this process did. So a lease of theirs never
    ends before ours, and when one of our values changes, all of them are renewed in turn and have new ones.

    Raises ServingError if the admin listener can't be opened.
    """
    configure_logs(config.telemetry.logs.level)
    tell_open_secrets(config)

    http = None if config.tokens is None else listener(config.listen.http)

    def check_configuration() -> None:
        found = secrets.load(file)
        if http != (None if found.tokens is None else listener(found.listen.http)):
            raise ServingError(
                "listen.http: its socket is opened once for all workers, so a change of it needs a restart"
            )

    async def follow(renew: Callable[[], None]) -> None:
        await secrets.follow(lambda _names: renew())

    parts = SupervisorParts(
        workers=config.worker_count,
        command=worker_command(file),
        admin=listener(config.listen.admin),
        http=http,
        figures=MergedMetrics(),
        activities=merged_activity,
        toggle_debug=lambda: toggle_debug(config.telemetry.logs.level),
        check_configuration=check_configuration,
        follow=follow,
        settle_seconds=config.check.drain_delay,
        stop_seconds=config.check.drain_delay + config.check.grace + _SLACK,
    )
    return asyncio.run(run_workers(parts))
