"""`python -m mesh up | demo | render | pictures`: what one does with the mesh from a shell.

Trade-off: argparse and late imports, so that `--help` and `render --check` do not load gRPC and a web framework.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mesh.address import AddressError
from mesh.processes import ProcessError
from mesh.signals import Stop


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mesh",
        description="The mesh that extauthz runs in, on this machine, without containers.",
        epilog="example: python -m mesh up --state ./state",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run Envoy, extauthz, upstreams and an issuer until Ctrl-C")
    demo = commands.add_parser("demo", help="send some fifty requests through the mesh and explain each answer")
    for command in (up, demo):
        command.add_argument("--state", type=Path, help="folder for configurations and logs (default: a temporary one)")
    render = commands.add_parser("render", help="write the files that are rendered from this code")
    commands.add_parser(
        "pictures", help="run the mesh under load and draw what top and the dashboard show (two minutes)"
    )
    render.add_argument("--check", action="store_true", help="write nothing; exit 1 if a committed file differs")
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    stop = Stop()
    try:
        stop.listen()
        if arguments.command == "render":
            from mesh import render

            return render.check() if arguments.check else render.write()
        if arguments.command == "pictures":
            from mesh.observability import pictures

            return pictures.write()
        if arguments.command == "up":
            from mesh import up

            return up.run(stop, arguments.state)
        from mesh.demo import report

        return report.run(arguments.state)
    except (OSError, AddressError) as problem:
        print(f"the mesh can't start: {problem}", file=sys.stderr)
        return 2
    except ProcessError as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _stopped()
    except Exception:
        # An interrupted import may turn the interrupt into an error of its own.
        if not stop.asked.is_set():
            raise
        return _stopped()


def _stopped() -> int:
    print("stopped before it was done", file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())
