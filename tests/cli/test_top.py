"""``extauthz top`` on a command line: what it makes of listeners that are none of ours. With a real server: tests/mesh."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture(params=[b"<html>", b"extauthz_check_total {", b"extauthz_check_total \xff\xfe x y z"])
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers everything with some text."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(request.param)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_another_server_is_told_in_a_sentence(run: Command, stranger: str) -> None:
    """Whatever it answers."""
    result = run("top", "--admin", stranger, "--once", "--interval", "0.2")
    assert (result.code, result.out) == (2, "")
    assert f"{stranger} " in result.err
    assert "admin listener of extauthz" in result.err


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf"])
def test_an_interval_is_a_time_that_passes(run: Command, interval: str) -> None:
    """And is told so."""
    result = run("top", "--admin", "127.0.0.1:1", "--interval", interval)
    assert result.code == 2
    assert "--interval: a number from 0.2 on" in result.err
