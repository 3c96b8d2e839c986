"""Replicas of one token service as local processes, as a Deployment has them: one store, one set of keys, addresses of their own.

Model: `Replicas` writes one configuration for each into the folder, and the secret of their clients beside it. Each
`Replica` is a process that can be ended in any way and started again at the same addresses. `desk` asks one of them for
tokens. Who stands in front, one Envoy or one for each, is up to who started them.

Trade-off: configurations are JSON, which is YAML too: nobody reads them, and whoever starts the replicas says in plain
dictionaries what differs.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any as Json
from typing import Self

from mesh.address import free_addresses
from mesh.desk import CLIENTS, TokenDesk
from mesh.processes import Process, accepts, answers

CLIENT = CLIENTS[0]
"""The client of all of them: its tokens can be refreshed and renewed."""
AUDIENCE = "orders"
UNBOUND = 1_000_000
_POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: users}
spec: {rules: [{role: user}]}
"""


def used(url: str, token: str) -> int:
    """The status with which an Envoy answers a request with a token."""
    request = urllib.request.Request(f"{url}/orders", headers={"authorization": f"Bearer {token}"})  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - likewise
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@dataclass(frozen=True, slots=True)
class Replica:
    """One process, and where it is."""

    process: Process
    check: str
    admin: str
    desk: TokenDesk
    """Its token service."""


class Replicas:
    """Some of them; a context manager that starts all and waits until each is ready."""

    def __init__(
        self,
        folder: Path,
        count: int = 2,
        *,
        store: str = "sqlite:state.db",
        lifetime: str = "5m",
        keys: Mapping[str, Json] | None = None,
        settings: Mapping[str, Json] | None = None,
    ) -> None:
        """`keys` is the section tokens.keys, `settings` replaces whole sections of the configuration."""
        self.folder = folder.resolve()
        policies = self.folder / "policies"
        policies.mkdir(parents=True, exist_ok=True)
        (policies / "users.yaml").write_text(_POLICY)
        first, *others = (free_addresses(0, 0, 0) for _ in range(count))
        self.issuer = f"http://{first[1]}"
        service = {
            "issuer": self.issuer,
            "audiences": [AUDIENCE],
            "accessTokenLifetime": lifetime,
            "rates": dict.fromkeys(("perClient", "failuresPerAddress", "refreshPerSession"), UNBOUND),
            "keys": dict(keys or {}),
            "clients": [
                {
                    "id": CLIENT,
                    "secretFile": f"secrets/{CLIENT}.secret",
                    "roles": ["user"],
                    "refresh": True,
                    "renew": True,
                }
            ],
        }
        # A token counts until its time is up, not for a minute more: here all clocks are one.
        own = {"issuer": self.issuer, "audiences": [AUDIENCE], "clockSkew": "0s"}
        common: dict[str, Json] = {
            "check": {"drainDelay": "1s", "grace": "5s", "deadline": "5s"},
            "limits": {"perProcess": True},
            "responses": {"reasons": True},
            "store": {"url": store},
            "policies": {"files": ["policies"]},
            "providers": [{"name": "own", "jwt": own}],
            "tokens": service,
            **(settings or {}),
        }
        TokenDesk.open(self.issuer, self.folder / "secrets")
        self.all = [self._replica(number, at, common) for number, at in enumerate([first, *others])]

    def _replica(self, number: int, at: list[str], common: Mapping[str, Json]) -> Replica:
        check, http, admin = at
        listen = {"check": {"address": check}, "http": {"address": http}, "admin": {"address": admin}}
        audit = {"file": f"audit-{number}.log", "keyFile": "audit.key"}
        config = self.folder / f"extauthz-{number}.yaml"
        config.write_text(json.dumps({**common, "listen": listen, "tokens": {**common["tokens"], "audit": audit}}))
        process = Process(
            f"extauthz {number}",
            [sys.executable, "-m", "extauthz", "serve", "--config", str(config)],
            log=self.folder / f"extauthz-{number}.log",
            ready=[answers(f"http://{admin}/readyz"), accepts(http)],
            environment={"OTEL_SDK_DISABLED": "true"},
            directory=self.folder,
        )
        return Replica(process, check, admin, TokenDesk(f"http://{http}", self.folder / "secrets"))

    @property
    def checks(self) -> tuple[str, ...]:
        """Where Envoy asks."""
        return tuple(replica.check for replica in self.all)

    @property
    def secret(self) -> str:
        """What their client proves itself with."""
        return self.all[0].desk.secret_file(CLIENT).read_text().strip()

    def start(self) -> Self:
        """Starts all of them side by side."""
        try:
            for replica in self.all:
                replica.process.start()
            for replica in self.all:
                replica.process.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends all of them side by side, as each takes its time to drain."""
        with ThreadPoolExecutor(len(self.all)) as pool:
            for ended in [pool.submit(replica.process.stop) for replica in self.all]:
                ended.result()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
