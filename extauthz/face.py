"""The face of a room whose parts are imported when somebody asks for them.

A package that imports all it has makes whoever needs a part of it pay for everything: memory, and time at each start. That
is right for the server, which needs everything, and wrong for ``extauthz agent``, which runs beside each workload. So a room
that both use names what it has, under ``TYPE_CHECKING`` for people and type checkers, and here by module; a test holds them
against each other. A name that a module of the same package has, too, can't be in it: the module would take its place.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from sys import modules

__all__ = ["face"]


def face(package: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """The ``__getattr__`` of a package (PEP 562). ``names`` are by module, with spaces between them."""
    homes = {name: module for module, said in names.items() for name in said.split()}

    def look_up(name: str) -> object:
        home = homes.get(name)
        if home is None:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        found: object = getattr(import_module(f"{package}.{home}"), name)
        setattr(modules[package], name, found)  # from now on nobody asks here
        return found

    return look_up
