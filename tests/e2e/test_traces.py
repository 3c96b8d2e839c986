"""One trace across Envoy, extauthz and the upstream, received over OTLP."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from mesh.demo.evidence import joined, trace_of
from mesh.local import LocalMesh

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(90)]

SAMPLED = "00-{trace}-b7ad6b7169203331-01"
UNSAMPLED = "00-{trace}-b7ad6b7169203331-00"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    """The whole mesh with its own collector."""
    with LocalMesh(tmp_path_factory.mktemp("mesh"), own_collector=True) as running:
        yield running


def ask(mesh: LocalMesh, traceparent: str, path: str = "/orders/42", **headers: str) -> httpx2.Response:
    """One request with a trace of the client's own."""
    token = {"authorization": f"Bearer {mesh.issuer.mint()}", "traceparent": traceparent}
    return httpx2.get(mesh.url + path, headers={**token, **headers})


def test_one_trace_has_spans_of_all_three(mesh: LocalMesh) -> None:
    """extauthz's span is the child of Envoy's span for the check; only the client's own span is not in the trace."""
    assert mesh.collector is not None
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert ask(mesh, SAMPLED.format(trace=trace)).status_code == 200
    spans = trace_of(mesh.collector, trace)
    assert joined(spans), spans
    (ours,) = [span for span in spans if span.service == "extauthz"]
    parent = next(span for span in spans if span.span_id == ours.parent_id)
    assert parent.service == "envoy"
    assert ours.attributes["extauthz.decision"] == "allow"
    assert ours.attributes["extauthz.reason"] == "allowed"
    assert ours.attributes["extauthz.policy"] == "orders"
    assert ours.attributes["extauthz.rule"] == "read-orders"
    assert ours.attributes["extauthz.provider"] == "dev"


def test_a_long_trace_state_is_no_outage(mesh: LocalMesh) -> None:
    """Envoy hands the client's tracestate on as metadata of the check, however long; the check is decided all the same."""
    trace = SAMPLED.format(trace="5af7651916cd43dd8448eb211c80319c")
    assert ask(mesh, trace, tracestate="a=" + "x" * 40_000).status_code == 200


def test_a_denial_is_in_the_trace_with_its_reason(mesh: LocalMesh) -> None:
    """And nothing of the token, the query or the headers."""
    assert mesh.collector is not None
    trace = "1af7651916cd43dd8448eb211c80319c"
    response = ask(mesh, SAMPLED.format(trace=trace), "/nowhere?secret=canary-query", **{"x-secret": "canary-header"})
    assert response.status_code == 403

    def ours_is_there(spans: object) -> bool:
        return any(span.service == "extauthz" for span in spans)  # type: ignore[attr-defined]

    spans = mesh.collector.wait_for(trace, ours_is_there, 5)
    (ours,) = [span for span in spans if span.service == "extauthz"]
    assert ours.attributes["extauthz.reason"] == "no-rule"
    assert "canary" not in str(ours)


def test_what_the_client_does_not_sample_has_no_span(mesh: LocalMesh) -> None:
    """No span at all, while the decision is as it was."""
    assert mesh.collector is not None
    trace = "2af7651916cd43dd8448eb211c80319c"
    later = "3af7651916cd43dd8448eb211c80319c"
    assert ask(mesh, UNSAMPLED.format(trace=trace)).status_code == 200
    assert ask(mesh, SAMPLED.format(trace=later)).status_code == 200
    assert joined(trace_of(mesh.collector, later))
    assert [span for span in mesh.collector.spans(trace) if span.service == "extauthz"] == []


def test_the_decision_record_names_the_trace(mesh: LocalMesh) -> None:
    """From a line of the log to its trace, and no token on the way (I6)."""
    assert mesh.collector is not None
    trace = "4af7651916cd43dd8448eb211c80319c"
    assert ask(mesh, SAMPLED.format(trace=trace), "/orders/42?token=canary-query").status_code == 200
    trace_of(mesh.collector, trace)
    records = _records(mesh.decisions, trace)
    assert [(record["decision"], record["subject"], record["path"]) for record in records] == [
        ("allow", "alice", "/orders/42")
    ]
    whole = mesh.decisions.read_text()
    assert "canary" not in whole
    assert "eyJ" not in whole


def test_one_request_is_found_everywhere(mesh: LocalMesh) -> None:
    """Its trace in the exemplar of the metric, in the decision record, and with the record's id in Envoy's access log."""
    assert mesh.collector is not None
    trace = "6af7651916cd43dd8448eb211c80319c"
    assert ask(mesh, SAMPLED.format(trace=trace)).status_code == 200
    assert joined(trace_of(mesh.collector, trace))
    (record,) = _records(mesh.decisions, trace)
    openmetrics = {"accept": "application/openmetrics-text;version=1.0.0"}
    page = httpx2.get(f"{mesh.authz.admin_url}/metrics", headers=openmetrics).text
    exemplars = [line for line in page.splitlines() if f'trace_id="{trace}"' in line]
    assert [line.partition("{")[0] for line in exemplars] == ["extauthz_check_duration_seconds_bucket"]
    for _ in range(100):
        lines = [json.loads(line) for line in mesh.access_log.read_text().rpartition("\n")[0].splitlines()]
        found = [(line["trace_id"], line["request_id"], line["authz"]["decision_id"]) for line in lines]
        if (trace, record["request_id"], record["id"]) in found:
            return
        time.sleep(0.1)
    raise AssertionError("Envoy's access log does not have the decision's id")


def _records(file: Path, trace: str) -> list[dict[str, str]]:
    for _ in range(100):
        whole = file.read_text().rpartition("\n")[0] if file.exists() else ""  # a line that is being written is none
        lines = [json.loads(line) for line in whole.splitlines()]
        if found := [line for line in lines if line.get("trace_id") == trace]:
            return found
        time.sleep(0.03)
    return []
