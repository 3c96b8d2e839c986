"""What a running token service tells of itself: metrics, traces, log lines and readiness, and no secret in any of them."""

import json
import random
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.token_server import SECRET, Running, running

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "611ec7590ab59ae3"
SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=b", "baggage": "secret=canary"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    telemetry = {"traces": {"exporter": "console"}, "logs": {"level": "debug"}}
    with running(tmp_path_factory.mktemp("telemetry"), telemetry=telemetry) as server:
        yield server


def post(server: Running, path: str, form: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(server.issuer + path, form.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def ask(server: Running, **headers: str) -> tuple[int, dict[str, Any]]:
    """A token, by a client with its secret in the form."""
    form = f"grant_type=client_credentials&client_id=form&client_secret={SECRET}"
    return post(server, "/oauth2/token", form, {"content-type": "application/x-www-form-urlencoded", **headers})


def page(server: Running, path: str = "/metrics") -> str:
    with urllib.request.urlopen(server.admin + path, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def sample(server: Running, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", page(server), re.MULTILINE)
    return float(found[1]) if found else 0.0


def until(true: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def reported(server: Running, pattern: str) -> None:
    """Wait until readiness says so: each part looks at what it is about at its own times."""
    until(lambda: re.search(pattern, page(server, "/readyz?verbose")))


def lines(server: Running) -> list[dict[str, Any]]:
    """Spans and log lines, as the server wrote them; one that it is writing is not one yet."""
    whole = (server.folder / "log").read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def test_a_token_is_counted_on_its_whole_way(server: Running) -> None:
    """By the listener, by the grant, by the signature, by the store, by the audit log."""
    names = (
        'extauthz_http_requests_total{endpoint="token",status="200"}',
        'extauthz_tokens_total{grant="client_credentials",outcome="issued"}',
        "extauthz_signature_duration_seconds_count",
        'extauthz_audit_total{outcome="written"}',
    )
    before = [sample(server, name) for name in names]
    for _ in range(3):
        assert ask(server)[0] == 200
    until(lambda: [sample(server, name) for name in names] == [value + 3 for value in before])
    assert sample(server, 'extauthz_token_store_duration_seconds_count{operation="revocations"}') > 0
    assert sample(server, 'extauthz_signing_keys{slot="current"}') == 1
    assert sample(server, "extauthz_signing_usable") == 1
    assert until(lambda: sample(server, "extauthz_token_store_usable")) == 1
    due = sample(server, "extauthz_signing_rotation_due_timestamp_seconds") - time.time()
    assert 29 * 86_400 < due <= 30 * 86_400


def test_a_sampled_request_is_in_its_callers_trace(server: Running) -> None:
    """With what it waited for below it, and no secret, token or header of it."""
    status, answer = ask(server, **SAMPLED)
    assert status == 200
    form = f"grant_type=refresh_token&refresh_token=canary&client_id=form&client_secret={SECRET}"
    assert post(server, "/oauth2/token", form, SAMPLED)[0] == 400

    def told() -> list[dict[str, Any]]:
        found = [line for line in lines(server) if line.get("context", {}).get("trace_id") == f"0x{TRACE}"]
        return found if len([one for one in found if one["parent_id"] == f"0x{SPAN}"]) == 2 else []

    spans = until(told)
    first, second = [one for one in spans if one["parent_id"] == f"0x{SPAN}"]
    assert (first["name"], first["kind"]) == ("POST /oauth2/token", "SpanKind.SERVER")
    assert first["attributes"] | {"extauthz.waited": 0} == {
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "http.request.method": "POST",
        "http.route": "/oauth2/token",
        "http.response.status_code": 200,
        "extauthz.grant": "client_credentials",
        "extauthz.outcome": "issued",
        "extauthz.waited": 0,
    }
    # Refused for its form or its grant, which is nobody's fault here.
    assert second["attributes"]["http.response.status_code"] == 400
    assert second["status"] == {"status_code": "UNSET"}
    whole = json.dumps(spans)
    assert SECRET not in whole
    assert answer["access_token"] not in whole
    assert "canary" not in whole


def test_an_unsampled_request_has_no_span(server: Running) -> None:
    """The exporter has nothing of it, also after something later has arrived there."""
    other, later = "1" * 32, "2" * 32
    assert ask(server, traceparent=f"00-{other}-{SPAN}-00")[0] == 200
    assert ask(server)[0] == 200
    assert ask(server, traceparent=f"00-{later}-{SPAN}-01")[0] == 200
    until(lambda: any(later in json.dumps(line) for line in lines(server)))
    assert not any(other in json.dumps(line) for line in lines(server))


def test_readiness_has_a_line_for_each_part(server: Running) -> None:
    """With its state, how old it is, and what comes next."""
    for line in (
        r"\[\+\] signing keys: files: current \S{43}, .* old; the next one in 29 d; read \d+ s ago; looked at every 5 s",
        r"\[\+\] revocations: in force, read 0 s ago",
        r"\[\+\] token store: in use, looked at again every 2 s",
        r"\[\+\] token clients: in force",
        r"\[\+\] audit log: in use, \d+ written",
    ):
        reported(server, line)


def test_what_fails_is_told_everywhere(server: Running) -> None:
    """A store that has gone: 503, counted, in readiness with its error and the next try, and the log line has the trace."""
    trace = f"{random.getrandbits(128) or 1:032x}"
    counted = 'extauthz_http_requests_total{endpoint="revoke",status="503"}'
    before = sample(server, counted)
    shutil.move(server.folder / "state.db", server.folder / "gone.db")
    (server.folder / "state.db").mkdir()
    try:
        form = f"token=x&client_id=nobody&client_secret={SECRET}"
        status, _ = post(server, "/oauth2/revoke", form, {"traceparent": f"00-{trace}-{SPAN}-00"})
        assert status == 503
        until(lambda: sample(server, counted) == before + 1)
        assert sample(server, 'extauthz_token_store_failed_total{operation="client"}') >= 1
        until(lambda: sample(server, "extauthz_token_store_usable") == 0)
        [line] = until(lambda: [one for one in lines(server) if one.get("trace_id") == trace])
        assert line["event"] == "the token service could not answer"
        for part in (
            r"\[-\] token store: .*state\.db.*; looked at again every 2 s",
            r"\[-\] revocations: .*state\.db.*, tried again within 0\.3 s",
        ):
            reported(server, part)
    finally:
        (server.folder / "state.db").rmdir()
        shutil.move(server.folder / "gone.db", server.folder / "state.db")
    until(lambda: sample(server, "extauthz_token_store_usable"))
    assert ask(server)[0] == 200
