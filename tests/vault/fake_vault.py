"""A server that answers as Vault does in states which a single real one can't be brought into; and a road that is slow."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from extauthz.vault import VaultSettings
from extauthz.vault.settings import TokenLogin

TOKEN = "hvs.canary-of-the-fake"
"""What may be in no text."""

WELL = {"data": {"ttl": 3600, "renewable": False, "policies": ["extauthz"]}}


@dataclass
class FakeVault:
    """Answers everything with one status; 200 as a Vault that knows our token."""

    status: int = 200
    location: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Each path, with the token that came."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> VaultSettings:
        return VaultSettings(self.url, TokenLogin(token=TOKEN), timeout=1.0)


@contextmanager
def fake_vault() -> Iterator[FakeVault]:
    """One of them, for the length of a block."""
    state = FakeVault()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            state.asked.append((self.path, self.headers.get("x-vault-token", "")))
            body = json.dumps(WELL if state.status == 200 else {"errors": [f"state {state.status}"]}).encode()
            self.send_response(state.status)
            if state.location:
                self.send_header("location", state.location + self.path)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
