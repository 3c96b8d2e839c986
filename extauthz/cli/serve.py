"""``extauthz serve``: the server, until it is told to stop."""

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from extauthz.cli.first_steps import first_steps, policies_in

__all__ = ["ConfigFile", "serve"]

ConfigFile = Annotated[
    str | None,
    Parameter(
        name=("--config", "-c"),
        help="The configuration file; without it extauthz.yaml, if there is one.",
        show_default=False,
    ),
]


def serve(*, config: ConfigFile = None, worker: Annotated[str | None, Parameter(show=False)] = None) -> int:
    """Run the server: answer Envoy's checks, and requests for tokens if it is configured, until it is stopped.

    SIGTERM or Ctrl-C stops in order: health goes off, Envoys get time to notice, checks under way are answered. Exit
    code 0 after an orderly stop, 2 if the configuration or the policies can't be used.
    """
    # gRPC's core writes its own lines to standard error (each failed TLS handshake, for one), beside our log. It reads
    # this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from extauthz import app

    with app.Secrets(os.environ) as secrets:
        loaded = secrets.load(config)
        if worker is not None:
            from extauthz.serving import WorkerPlace

            return app.serve(loaded, WorkerPlace.parse(worker), secrets=secrets)
        if not policies_in(loaded.policies.files):
            sys.stderr.write(
                first_steps(loaded.policies.files, group=loaded.policies.group, vouched=bool(loaded.providers))
            )
        if loaded.worker_count > 1:
            return app.supervise(loaded, config, secrets)
        return app.serve(loaded, secrets=secrets, reload=lambda: secrets.load(config))
