"""Which span a Check belongs under."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.telemetry.parent import Parent, find_parent
from extauthz.telemetry.sampled import may_be_sampled

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "611ec7590ab59ae3"
IDS = (int(TRACE, 16), int(SPAN, 16))
ENVOY = [("x-forwarded-for", "192.0.2.2"), ("x-envoy-internal", "true"), ("x-envoy-expected-rq-timeout-ms", "500")]


def test_no_trace_headers_no_parent() -> None:
    """What Envoy sends without tracing names no parent."""
    assert find_parent(ENVOY) is None


def test_traceparent() -> None:
    """Envoy's OpenTelemetry tracer sends traceparent and tracestate."""
    metadata = [*ENVOY, ("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "k=v,a@b=c d")]
    assert find_parent(metadata) == Parent(*IDS, sampled=True, flags=1, state="k=v,a@b=c d")


def test_unsampled_traceparent() -> None:
    """Flag 00 is a parent that is not sampled; its state is not looked at."""
    metadata = [("traceparent", f"00-{TRACE}-{SPAN}-00"), ("tracestate", "k=v")]
    assert find_parent(metadata) == Parent(*IDS, sampled=False)


def test_empty_tracestate() -> None:
    """An empty tracestate, as Envoy sends it, is none."""
    metadata = [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "")]
    assert find_parent(metadata) == Parent(*IDS, sampled=True, flags=1)


@pytest.mark.parametrize(
    "state",
    [
        "novalue",
        "K=v",
        "a=b=c",
        "a=b\x1b[2J",
        "a=b,\n=c",
        "x=" + "y" * 512,
        ",".join(f"k{n}=v" for n in range(33)),
        "ä=b",
    ],
)
def test_broken_tracestate_is_dropped(state: str) -> None:
    """A tracestate that breaks its grammar or its limits goes, the parent stays."""
    metadata = [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", state)]
    assert find_parent(metadata) == Parent(*IDS, sampled=True, flags=1)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-0\u0661",
    ],
)
def test_invalid_traceparent_is_ignored(value: str) -> None:
    """A malformed traceparent counts as absent."""
    assert find_parent([("traceparent", value)]) is None


def test_later_version_of_traceparent() -> None:
    """A later version may say more after the flags."""
    assert find_parent([("traceparent", f"cc-{TRACE}-{SPAN}-01-more")]) == Parent(*IDS, sampled=True, flags=1)


def test_two_different_traceparents() -> None:
    """Two parents that differ are none."""
    metadata = [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("traceparent", f"00-{SPAN}{SPAN}-{SPAN}-01")]
    assert find_parent(metadata) is None


@pytest.mark.parametrize(("decision", "sampled"), [("-1", True), ("-d", True), ("-0", False), ("", None)])
def test_b3_single(decision: str, sampled: bool | None) -> None:
    """The single b3 header, with or without a decision and a grandparent."""
    assert find_parent([("b3", f"{TRACE}-{SPAN}{decision}")]) == Parent(*IDS, sampled, int(sampled is True))
    if decision:
        assert find_parent([("b3", f"{TRACE}-{SPAN}{decision}-{SPAN}")]) == Parent(*IDS, sampled, int(sampled is True))


@pytest.mark.parametrize(
    ("more", "sampled"),
    [
        ([("x-b3-sampled", "1")], True),
        ([("x-b3-sampled", "true")], True),
        ([("x-b3-sampled", "0")], False),
        ([("x-b3-flags", "1")], True),
        ([], None),
    ],
)
def test_b3_multi(more: list[tuple[str, str]], sampled: bool | None) -> None:
    """The headers of Envoy's Zipkin tracer."""
    metadata = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-parentspanid", SPAN), *more]
    assert find_parent(metadata) == Parent(*IDS, sampled, int(sampled is True))


def test_b3_short_trace_id() -> None:
    """A trace id of 64 bits is a parent too."""
    assert find_parent([("b3", f"{SPAN}-{SPAN}-1")]) == Parent(IDS[1], IDS[1], sampled=True, flags=1)


@pytest.mark.parametrize(
    "value",
    ["0", "1", "d", f"{TRACE}-{SPAN}-x", f"{TRACE}-{SPAN}-1-{SPAN}-x", f"{'0' * 32}-{SPAN}-1", f"-{SPAN}-1", "-"],
)
def test_invalid_b3_is_ignored(value: str) -> None:
    """A lone decision has no parent, and a malformed header counts as absent."""
    assert find_parent([("b3", value)]) is None


def test_w3c_beats_b3() -> None:
    """A valid traceparent counts, an invalid one leaves the word to B3."""
    b3 = ("b3", f"{SPAN}{SPAN}-{SPAN}-0")
    assert find_parent([b3, ("traceparent", f"00-{TRACE}-{SPAN}-01")]) == Parent(*IDS, sampled=True, flags=1)
    assert find_parent([b3, ("traceparent", "nonsense")]) == Parent(int(SPAN * 2, 16), IDS[1], sampled=False)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"]
            ),
            st.text(max_size=60)
            | st.binary(max_size=60)
            | st.from_regex(r"[0-9a-f-]{0,60}")
            | st.from_regex(r"\A0[01]-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3](-00)?\Z"),
        )
    )
)
def test_any_metadata_is_survived(metadata: list[tuple[str, str | bytes]]) -> None:
    """No metadata raises, and what is found has ids that OpenTelemetry accepts."""
    parent = find_parent(metadata)
    if parent is not None:
        assert 0 < parent.trace_id < 1 << 128
        assert 0 < parent.span_id < 1 << 64
        assert parent.sampled is False or may_be_sampled(metadata)


def test_a_look_is_enough_for_most() -> None:
    """A parent that is not sampled needs no reading; one of a later version, whose flags stand elsewhere, does."""
    assert not may_be_sampled([*ENVOY, ("traceparent", f"00-{TRACE}-{SPAN}-00"), ("tracestate", "a=1")])
    assert not may_be_sampled(ENVOY)
    assert may_be_sampled([("traceparent", f"00-{TRACE}-{SPAN}-01")])
    assert may_be_sampled([("traceparent", f"01-{TRACE}-{SPAN}-01-00")])
