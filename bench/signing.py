"""What a token's signature costs: CPU of signing claims with each algorithm, the keys in a folder, and of a look at them.

    python -m bench.signing             some seconds; exit code 1 if a promise is broken

*Signed* is the whole of ``SigningKeys.sign``: choosing the key, writing header and claims, the signature. *Checked* has the
check with the public half besides, as it is made where another server signs (Vault). *Look* is what each replica does every
five seconds with three keys in the folder, from memory unless a file has changed.

Figures are CPU time of the process, the best of several rounds. The promise is 100 us for a token with ES256.
"""

import asyncio
import base64
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import promised
from extauthz.stores import MemoryTokenStore
from extauthz.telemetry import configure_logs
from extauthz.tokens.key_files import FileKeyBackend
from extauthz.tokens.ports import KeyBackend
from extauthz.tokens.public_key import ALGORITHMS
from extauthz.tokens.schedule import KeySchedule
from extauthz.tokens.secret_key import SecretKeyBackend
from extauthz.tokens.signing import SigningKeys

TOKENS = 300
ROUNDS = 7
PROMISED_US = 100.0
SECRET = "HS256"  # noqa: S105 - an algorithm


def claims() -> dict[str, Any]:
    """Those of an access token."""
    issued = int(time.time())
    return {
        "iss": "https://auth.example.com",
        "sub": "billing",
        "aud": "orders",
        "client_id": "billing",
        "iat": issued,
        "exp": issued + 300,
        "jti": "0123456789abcdef0123456789abcdef",
        "auth_time": issued,
        "roles": ["admin", "user"],
        "scope": "orders.read orders.write",
    }


def backend(algorithm: str, folder: Path) -> KeyBackend:
    """Where the key is."""
    if algorithm != SECRET:
        return FileKeyBackend(str(folder / "keys"))
    file = folder / "secret"
    file.write_bytes(base64.b64encode(os.urandom(32)))
    return SecretKeyBackend(str(file))


async def figures(algorithm: str, folder: Path, *, check: bool) -> tuple[float, float]:
    """Microseconds of a token, and of a look at the keys."""
    made = "ES256" if algorithm == SECRET else algorithm
    schedule = KeySchedule(86_400.0, 600.0, 3600.0, 60.0, made)
    keys = SigningKeys(backend(algorithm, folder), schedule, MemoryTokenStore(), now=time.time, check_signatures=check)
    await keys.tend()
    for _ in range(2 if algorithm != SECRET else 0):
        await keys.rotate(force=True)
    signed, looked, content = float("inf"), float("inf"), claims()
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TOKENS):
            await keys.sign(content)
        middle = time.process_time()
        for _ in range(TOKENS // 10):
            await keys.refresh()
        ended = time.process_time()
        signed, looked = min(signed, (middle - began) / TOKENS), min(looked, (ended - middle) / (TOKENS // 10))
    await keys.close()
    return signed * 1e6, looked * 1e6


def main() -> int:
    """Print the table; 1 if a promise is broken."""
    configure_logs("error")
    kept = True
    print(f"{'CPU, us':<12}{'signed':>9}{'checked':>9}{'look':>9}{'tokens a second and core':>28}")
    for algorithm in (*ALGORITHMS, SECRET):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            signed, look = asyncio.run(figures(algorithm, Path(one), check=False))
            checked, _ = asyncio.run(figures(algorithm, Path(other), check=True))
        print(f"{algorithm:<12}{signed:>9.1f}{checked:>9.1f}{look:>9.1f}{1e6 / signed:>28,.0f}")
        if algorithm == "ES256":
            kept = promised("a token signed with ES256, the key in a folder", signed, PROMISED_US, unit="us")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
