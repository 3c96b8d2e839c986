"""Whether there are traces, and where they go."""

import pytest

from extauthz.errors import ConfigError
from extauthz.telemetry import TraceSettings
from extauthz.telemetry.tracing import TracePlan, trace_plan


@pytest.mark.parametrize(
    ("configured", "variable", "expected"),
    [
        (None, None, ()),
        (None, "", ()),
        (None, "none", ()),
        (None, "otlp", ("otlp",)),
        (None, " OTLP , console", ("otlp", "console")),
        ("none", "otlp", ()),
        ("console", "otlp", ("console",)),
        ("otlp", "none", ("otlp",)),
        ("otlp", "zipkin", ("otlp",)),
    ],
)
def test_configuration_beats_variable(configured: str | None, variable: str | None, expected: tuple[str, ...]) -> None:
    """The exporter of the configuration counts; without one OTEL_TRACES_EXPORTER does; without both nothing is traced."""
    environ = {} if variable is None else {"OTEL_TRACES_EXPORTER": variable}
    plan = trace_plan(TraceSettings(configured), environ)
    assert (plan.exporters if plan is not None else ()) == expected


def test_sdk_disabled() -> None:
    """OTEL_SDK_DISABLED=true switches everything off, mistakes in other variables included."""
    environ = {"OTEL_SDK_DISABLED": " True ", "OTEL_TRACES_SAMPLER": "nonsense"}
    assert trace_plan(TraceSettings("otlp"), environ) is None


@pytest.mark.parametrize(
    ("sampler", "roots"),
    [(None, False), ("", False), ("always_off", False), ("parentbased_always_off", False), ("ALWAYS_ON", True)],
)
def test_only_a_sampler_begins_traces(sampler: str | None, roots: bool) -> None:
    """A Check without parent begins a trace only where OTEL_TRACES_SAMPLER is set and says so."""
    environ = {} if sampler is None else {"OTEL_TRACES_SAMPLER": sampler}
    assert trace_plan(TraceSettings("otlp"), environ) == TracePlan(("otlp",), sampler=bool(sampler), roots=roots)


def test_mistakes_are_told_together() -> None:
    """Each variable that can't be followed is named, with what would be right."""
    environ = {
        "OTEL_TRACES_EXPORTER": "otlp,jaeger",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
        "OTEL_TRACES_SAMPLER": "sometimes",
    }
    with pytest.raises(ConfigError) as caught:
        trace_plan(TraceSettings(), environ)
    text = str(caught.value)
    assert [problem.where.file for problem in caught.value.problems] == sorted(environ.keys())
    assert "there is no exporter 'jaeger'" in text
    assert "traces can't be sent over 'http/json'" in text
    assert "parentbased_traceidratio" in text


def test_empty_ratio_is_all() -> None:
    """An empty OTEL_TRACES_SAMPLER_ARG counts as absent."""
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": ""}
    assert trace_plan(TraceSettings("otlp"), environ) is not None


@pytest.mark.parametrize("argument", ["1.5", "-1", "half", "nan"])
def test_ratio_out_of_range(argument: str) -> None:
    """A sampling ratio is a number from 0 to 1."""
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument}
    with pytest.raises(ConfigError, match="OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"):
        trace_plan(TraceSettings("otlp"), environ)


@pytest.mark.parametrize(
    ("general", "traces", "protocol"),
    [
        ("", "", "grpc"),
        ("http/protobuf", "", "http/protobuf"),
        ("http/protobuf", "grpc", "grpc"),
        ("grpc", " HTTP/protobuf ", "http/protobuf"),
    ],
)
def test_protocol_for_traces_beats_the_general_one(general: str, traces: str, protocol: str) -> None:
    """Metrics of other programs may go over HTTP while ours go over gRPC."""
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": general, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": traces}
    plan = trace_plan(TraceSettings("otlp"), environ)
    assert plan is not None
    assert plan.protocol == protocol


def test_console_needs_no_protocol() -> None:
    """What concerns OTLP alone is not looked at for the console."""
    assert trace_plan(TraceSettings("console"), {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}) is not None
