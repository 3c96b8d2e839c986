"""Where something listens: `host:port`, `[v6]:port` or `unix:/path`, and which ports are free.

Model: addresses are written by people as one string and are parsed once, here. `Address` is what the Envoy builders,
the process starters and the printed hints use.

Trade-off: a free port is found by binding and closing again, so another process could take it in between. Holding the
socket open instead would need every child to accept an inherited descriptor, which Envoy does not. So ports are drawn
from below those that the kernel gives to outgoing connections: of these a busy machine opens hundreds a second, and one
of them would now and then get the port between the look and the use.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
import socket
from dataclasses import dataclass

from typing_extensions import override

LOOPBACK = "127.0.0.1"
HIGHEST_PORT = 65535
DRAWN = range(15_000, 32_000)
"""Ports for servers. Outgoing connections get theirs from 32768 on (Linux) or 49152 on (IANA)."""
ATTEMPTS = 100


class AddressError(ValueError):
    """What was given is no address, or none that can be used."""


@dataclass(frozen=True, slots=True)
class Address:
    """One TCP endpoint, or a unix socket (`path` set, host empty, port 0)."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    @property
    def is_name(self) -> bool:
        """True when the host has to be looked up in DNS."""
        if self.is_unix:
            return False
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    @override
    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Reads one address; raises AddressError when it is neither `host:port` nor `unix:/path`."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise AddressError(f"{text!r}: a unix socket needs an absolute path, as in unix:/run/extauthz.sock")
        return Address(path=path)
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= HIGHEST_PORT:
        raise AddressError(f"{text!r} is not an address: write host:port, [v6]:port or unix:/path")
    return Address(host=host.removeprefix("[").removesuffix("]"), port=int(port))


def _bound(preferred: int) -> socket.socket:
    draw = random.SystemRandom()  # processes that were forked from one must not draw alike
    for candidate in (*([preferred] if preferred else []), *draw.sample(DRAWN, ATTEMPTS)):
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, candidate))
            # A bound port can be bound again by whoever also allows its reuse; one that listens cannot.
            probe.listen(1)
        except OSError:
            probe.close()
            continue
        return probe
    raise OSError("no free port on the loopback interface")


def free_addresses(*preferred: int) -> list[str]:
    """One loopback address each: the preferred port if it is free (0: any), never the same port twice."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(_bound(port)) for port in preferred]
        return [f"{LOOPBACK}:{probe.getsockname()[1]}" for probe in probes]


def free_address(preferred: int = 0) -> str:
    """`127.0.0.1:<free port>`."""
    return free_addresses(preferred)[0]
