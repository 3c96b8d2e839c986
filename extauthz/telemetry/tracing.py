"""Whether there are traces, where they go, and which Checks without a parent begin one: read once, at start.

The configuration says less than OpenTelemetry's own variables can, and beats them where both speak. What is wrong with a
variable is an error at start and not a warning in passing, as a trace that never arrives is noticed when it is needed:
the SDK would answer an unknown sampler by recording every request, and a collector that speaks HTTP by losing all spans.

Nothing of OpenTelemetry is imported here; the 200 ms and 20 MB of the SDK are paid where a plan asks for spans.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from extauthz.errors import ConfigError, Position, Problem
from extauthz.telemetry.settings import TraceSettings

__all__ = ["TracePlan", "log_protocol", "trace_plan"]

_GRPC, _HTTP = "grpc", "http/protobuf"
_EXPORTERS = ("console", "none", "otlp")
_OFF = ("always_off", "parentbased_always_off")
_RATIO = ("traceidratio", "parentbased_traceidratio")
_SAMPLERS = ("always_on", "parentbased_always_on", *_OFF, *_RATIO)


@dataclass(frozen=True, slots=True)
class TracePlan:
    """What to trace."""

    exporters: tuple[str, ...]
    """``otlp``, ``console`` or both."""
    sampler: bool
    """OTEL_TRACES_SAMPLER is set, and the SDK follows it."""
    roots: bool
    """A Check without a parent may begin a trace."""
    protocol: str = _GRPC
    """In which ``otlp`` is spoken: ``grpc`` or ``http/protobuf``."""
    denials: float = 0.0
    """Which share of the denials has a span whatever its parent says."""


def trace_plan(settings: TraceSettings, environ: Mapping[str, str]) -> TracePlan | None:
    """What the configuration and the ``OTEL_*`` variables ask for; None for no traces.

    An empty variable counts as absent (OpenTelemetry, environment variable specification).

    Raises:
        ConfigError: A variable that matters has a value that can't be followed. All of them are told.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    problems: list[Problem] = []
    exporters = _exporters(settings, environ, problems)
    plan = _plan(exporters, settings.denials, environ, problems) if exporters else None
    if problems:
        raise ConfigError(problems)
    return plan


def _exporters(settings: TraceSettings, environ: Mapping[str, str], problems: list[Problem]) -> tuple[str, ...]:
    if settings.exporter is not None:
        asked, place = settings.exporter, "telemetry.traces.exporter"
    else:
        asked, place = environ.get("OTEL_TRACES_EXPORTER", ""), "OTEL_TRACES_EXPORTER"
    names = dict.fromkeys(name.strip().lower() for name in asked.split(",") if name.strip())
    for name in names:
        if name not in _EXPORTERS:
            hint = (
                f"known are: {', '.join(_EXPORTERS)}; telemetry.traces.exporter in the configuration beats the variable"
            )
            problems.append(Problem(Position(place), f"there is no exporter {name!r}", hint))
    return tuple(name for name in names if name in ("otlp", "console"))


def _plan(exporters: tuple[str, ...], denials: float, environ: Mapping[str, str], problems: list[Problem]) -> TracePlan:
    protocol = _protocol(environ, problems, "traces") if "otlp" in exporters else _GRPC
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").lower()  # not stripped: the SDK does not either
    if sampler and sampler not in _SAMPLERS:
        hint = f"known are: {', '.join(_SAMPLERS)}"
        problems.append(Problem(Position("OTEL_TRACES_SAMPLER"), f"there is no sampler {sampler!r}", hint))
    if sampler in _RATIO and not _is_ratio(environ.get("OTEL_TRACES_SAMPLER_ARG") or "1"):
        problems.append(Problem(Position("OTEL_TRACES_SAMPLER_ARG"), "must be a number from 0 to 1"))
    roots = bool(sampler) and sampler not in _OFF
    # always_off is no sampling of anything, not of denials either; parentbased_always_off is what holds without a variable.
    return TracePlan(exporters, bool(sampler), roots, protocol, 0.0 if sampler == "always_off" else denials)


def log_protocol(environ: Mapping[str, str]) -> str:
    """In which protocol decision records are sent to a collector: ``grpc`` or ``http/protobuf``.

    Raises:
        ConfigError: The variables say something that can't be followed, or that nothing is to be sent.
    """
    problems: list[Problem] = []
    protocol = _protocol(environ, problems, "logs")
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        # Traces are then off without a word. A log that an operator asks for by name does not go missing like that.
        hint = "unset it, or choose another telemetry.decisions.sink"
        problems.append(Problem(Position("OTEL_SDK_DISABLED"), "the decision log can't be sent without the SDK", hint))
    if problems:
        raise ConfigError(problems)
    return protocol


def _protocol(environ: Mapping[str, str], problems: list[Problem], signal: str) -> str:
    """The variable for one signal, ``traces`` or ``logs``, beats the one for all."""
    for place in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environ.get(place, "").strip().lower()
        if protocol in (_GRPC, _HTTP):
            return protocol
        if protocol:
            hint = f"set it to {_GRPC}, usually port 4317, or {_HTTP}, usually port 4318"
            problems.append(Problem(Position(place), f"{signal} can't be sent over {protocol!r}", hint))
            break
    return _GRPC


def _is_ratio(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
