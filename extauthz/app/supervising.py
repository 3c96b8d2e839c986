"""Several worker processes and what looks after them, out of the configuration.

The workers read the configuration for themselves, as a server that is alone does. Here it is read for what the supervisor
needs of it, and once more before workers are started anew, so that a mistake in it ends nothing.
"""

import asyncio
import os

from extauthz.app.values import listener
from extauthz.config import Config, load_config
from extauthz.serving import SupervisorParts, run_workers, worker_command
from extauthz.telemetry import MergedMetrics, configure_logs, merged_activity, toggle_debug

__all__ = ["supervise"]

_SLACK = 5.0
"""Seconds that a worker may take beyond its drain delay and its grace."""


def supervise(config: Config, file: str | None) -> int:
    """Run the workers that ``config``, which was read from ``file``, asks for; gives the exit code.

    Raises ServingError if the admin listener can't be opened.
    """
    configure_logs(config.telemetry.logs.level)

    def check_configuration() -> None:
        load_config(file, os.environ)

    parts = SupervisorParts(
        workers=config.worker_count,
        command=worker_command(file),
        admin=listener(config.listen.admin),
        http=None,
        figures=MergedMetrics(),
        activities=merged_activity,
        toggle_debug=lambda: toggle_debug(config.telemetry.logs.level),
        check_configuration=check_configuration,
        settle_seconds=config.check.drain_delay,
        stop_seconds=config.check.drain_delay + config.check.grace + _SLACK,
    )
    return asyncio.run(run_workers(parts))
