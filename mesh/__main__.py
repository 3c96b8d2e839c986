"""`python -m mesh up | demo | render`: the three things one does with the mesh from a shell.

Trade-off: argparse and late imports, so that `--help` and `render --check` do not load gRPC and a web framework.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from mesh.processes import ProcessError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mesh",
        description="The mesh that extauthz runs in, on this machine, without containers.",
        epilog="example: python -m mesh up --state ./state",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run Envoy, extauthz, upstreams and an issuer until Ctrl-C")
    demo = commands.add_parser("demo", help="send about thirty requests through the mesh and explain each answer")
    for command in (up, demo):
        command.add_argument("--state", type=Path, help="folder for configurations and logs (default: a temporary one)")
    render = commands.add_parser("render", help="write the files that are rendered from this code")
    render.add_argument("--check", action="store_true", help="write nothing; exit 1 if a committed file differs")
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    # As Ctrl-C does, so that everything that was started is stopped in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.command == "render":
            from mesh import render

            return render.check() if arguments.check else render.write()
        if arguments.command == "up":
            from mesh import up

            return up.run(arguments.state)
        from mesh.demo import report

        return report.run(arguments.state)
    except FileNotFoundError as missing:
        print(missing, file=sys.stderr)
        return 2
    except ProcessError as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped before it was done", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
