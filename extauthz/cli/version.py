"""``extauthz version``: what a bug report needs to name."""

import json
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from extauthz import __version__
from extauthz.cli.validate import OutputForm

__all__ = ["version"]

_LIBRARIES = ("grpcio", "protobuf", "pyjwt", "cryptography", "cel-expr-python", "opentelemetry-sdk", "pydantic")
"""Those whose version can change what is decided or how fast."""


def version(*, output: OutputForm = "text") -> int:
    """Print the version of extauthz, of Python and of the libraries that matter, and whether the decision path is compiled."""
    # Here, since help needs none of it.
    from extauthz.wire.usual import COMPILED

    libraries = {name: _installed(name) for name in _LIBRARIES}
    if output == "json":
        print(
            json.dumps(
                {
                    "extauthz": __version__,
                    "compiled": COMPILED,
                    "python": platform.python_version(),
                    "libraries": libraries,
                },
                indent=2,
            )
        )
    else:
        print(f"extauthz {__version__}")
        print(f"decision path {'compiled' if COMPILED else 'from sources'}")
        print(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
        for name, number in libraries.items():
            print(f"{name} {number or 'is missing'}")
    return 0


def _installed(name: str) -> str | None:
    try:
        return installed(name)
    except PackageNotFoundError:
        return None
