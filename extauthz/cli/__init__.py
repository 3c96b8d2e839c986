"""The command line: argv becomes calls, answers become text and exit codes.

A command is a typed function whose docstring is its help. It imports what it needs when it runs, so that
``extauthz --help`` loads neither gRPC nor CEL nor OpenTelemetry. Exit codes are the same everywhere: 0 fine, 1 the
answer is no, 2 wrong use or nothing could be started, 130 interrupted.
"""

from extauthz.cli.command_line import main

__all__ = ["main"]
