"""Who says what a collector is told: OpenTelemetry's resource, the same for spans and log records."""

from opentelemetry.sdk.resources import Resource

__all__ = ["own_resource"]


def own_resource(version: str) -> Resource:
    """Who we are: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES count, else the service is ``extauthz``."""
    told = Resource.create()
    ours = {"service.name": "extauthz", "service.version": version}
    if not str(told.attributes["service.name"]).startswith("unknown_service"):
        del ours["service.name"]
    if "service.version" in told.attributes:
        del ours["service.version"]
    return told.merge(Resource(ours))
