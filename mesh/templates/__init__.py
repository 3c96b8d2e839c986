"""The templates of `extauthz envoy-config`, made from the typed configuration and from comments for people.

Model: the hardened Envoy of `mesh.envoy` is built once with stand-in addresses and a stand-in header name. In the
resulting document the stand-ins become placeholders, notes are put above the settings they explain, and the text is
what `extauthz.envoy_config` fills in for a user. A note whose setting is gone is an error, so comments cannot outlive
what they are about.

Trade-off: stand-ins are addresses that nobody can have (TEST-NET-1 with a port each) instead of a template language
inside the typed messages, which would not be typed any more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any as Json

import yaml

from mesh.envoy import bootstrap_document
from mesh.options import EnvoyOptions, Tracing

HERE = Path(__file__).resolve().parent

_LISTEN, _AUTHZ, _UPSTREAM, _COLLECTOR = (f"192.0.2.1:{port}" for port in (40001, 40002, 40003, 40004))
_HEADER = "x-stand-in"
_OPTIONS = EnvoyOptions(
    listen=_LISTEN,
    authz=(_AUTHZ,),
    upstream=_UPSTREAM,
    tracing=Tracing(_COLLECTOR),
    headers_allowed=(_HEADER,),
)
_ADDRESSES = {40001: "listen", 40002: "authz", 40003: "upstream", 40004: "collector"}
_CLUSTERS = {"authz": "authz", "upstream": "upstream", "otel-collector": "collector"}

_HEAD = {
    "envoy": "A hardened Envoy that asks extauthz about every request, in front of one upstream.",
    "filter": (
        "The ext_authz filter and its cluster, for an Envoy configuration that exists. The connection manager around it\n"
        "# needs more: normalised paths, stripped identity headers, a catch-all route. `extauthz envoy-config envoy` has all."
    ),
}

NOTES: dict[str, str] = {
    "http_filters:": "Before any filter that rewrites requests or clears the route; after CORS, if you use that filter.",
    "timeout: 0.250s": "Covers all attempts. Above extauthz's own deadline (150 ms), so that its answer arrives.",
    "retry_policy:": "In milliseconds: Envoy's default back-off is longer than the timeout.",
    "failure_mode_allow:": "Never true: whoever can break the check could then walk in.",
    "status_on_error:": "An outage is 503; the default, 403, looks like a denial.",
    "encode_raw_headers:": "Every header as it came: the older map joins duplicates and replaces bytes.",
    "validate_mutations:": "A header that would split a message becomes an error.",
    "decoder_header_mutation_rules:": "What the authorization server may set or remove: the setting headers.allowed.",
    "health_checks:": "A server that is about to stop says so here first. Needs the server's health service.",
    "circuit_breakers:": "Peak requests per second x timeout. An overflow is an error, so Envoy's 1024 and 3 are too few.",
    "healthy_panic_threshold:": "Never send checks to servers that said they are unhealthy.",
    "connection_keepalive:": "Notices a dead server behind a connection that still looks open.",
}
ENVOY_NOTES: dict[str, str] = {
    "virtual_hosts:": "The last route catches all and has to exist: a request without a route is not checked.",
    "use_remote_address:": "This Envoy is the edge: what clients say about addresses and Envoy headers is not believed.",
    "early_header_mutation_extensions:": "Identity headers are ours alone, in every spelling; clients cannot send them.",
    "normalize_path:": "The path that is judged is the path that is routed.",
    "upgrade_configs:": "Websockets, but no CONNECT.",
    "max_stream_duration:": "A stream is authorised once: this is how long it may outlive the caller's role.",
    "headers_with_underscores_action:": "x_auth_user and x-auth-user are one variable to CGI and WSGI.",
    "tracing:": "Delete this block and the cluster otel-collector if you have no collector.",
    "json_format:": "Why a request was denied is in authz.reason. The path is without its query: queries carry tokens.",
    "admin:": "Loopback only: it can change and stop this proxy.",
}


def _stand_ins_removed(node: Json) -> Json:
    """The document with placeholders, written @@name@@ until everything else is escaped."""
    if isinstance(node, list):
        return [_stand_ins_removed(item) for item in node]
    if not isinstance(node, dict):
        return node
    if (address := node.get("socket_address")) and address["address"] == "192.0.2.1":
        return f"@@{_ADDRESSES[address['port_value']]}_address@@"
    found = {key: _stand_ins_removed(value) for key, value in node.items()}
    if "load_assignment" in found:
        found["type"] = f"@@{_CLUSTERS[found['name']]}_type@@"
    if found.get("disallow_all"):
        found["allow_expression"] = {"regex": "@@allowed_expression@@"}
    if "remove_on_match" in found:
        found["remove_on_match"] = {"key_matcher": {"safe_regex": {"regex": "@@stripped_expression@@"}}}
    return found


def yaml_text(document: Json) -> str:
    """A document as YAML in the order in which it was built."""
    return yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)


def annotate(text: str, notes: dict[str, str]) -> str:
    """Puts each note above the first line that begins with its setting; raises KeyError if there is none."""
    lines = text.splitlines()
    for setting, note in notes.items():
        for number, line in enumerate(lines):
            bare = line.lstrip(" ")
            if bare.startswith(setting):
                indent = " " * (len(line) - len(bare))
                lines.insert(number, f"{indent}# {note}")
                break
        else:
            raise KeyError(f"the note for {setting!r} has lost its setting")
    return "\n".join(lines) + "\n"


def _template(kind: str, document: Json, notes: dict[str, str]) -> str:
    text = annotate(yaml_text(_stand_ins_removed(document)), notes).replace("$", "$$")
    for part in ("'@@", "@@'"):
        text = text.replace(part, "@@")
    pieces = text.split("@@")
    filled = "".join(piece if number % 2 == 0 else f"${{{piece}}}" for number, piece in enumerate(pieces))
    return f"# {_HEAD[kind]}\n{filled}"


def templates() -> dict[str, str]:
    """The text of every template, by kind."""
    whole = bootstrap_document(_OPTIONS)
    manager = whole["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    fragment = {
        "http_filters": [manager["http_filters"][0]],
        "clusters": [whole["static_resources"]["clusters"][0]],
    }
    return {
        "envoy": _template("envoy", whole, NOTES | ENVOY_NOTES),
        "filter": _template("filter", fragment, NOTES),
        "istio": (HERE / "istio.yaml").read_text(),
    }
