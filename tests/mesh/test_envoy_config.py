"""What `extauthz envoy-config` prints is complete, refuses nonsense, and is accepted by a real Envoy."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.envoy_config import EnvoyConfigError, allowed_expression, names, render, stripped_expression
from mesh.envoy import bootstrap_document
from mesh.options import EnvoyOptions
from mesh.proxy import validate

ADDRESSES = ["127.0.0.1:9000", "[::1]:9000", "authz.example.com:9000"]


def filters(document: Any) -> list[Any]:
    """Every ext_authz filter of a document."""
    if isinstance(document, list):
        return [found for item in document for found in filters(item)]
    if not isinstance(document, dict):
        return []
    here = [document] if str(document.get("@type", "")).endswith(".ext_authz.v3.ExtAuthz") else []
    return here + [found for value in document.values() for found in filters(value)]


@pytest.mark.parametrize("kind", names())
@pytest.mark.parametrize("authz", [None, *ADDRESSES])
def test_nothing_is_left_to_fill_in(kind: str, authz: str | None) -> None:
    """The text is YAML without placeholders."""
    text = render(kind, authz=[authz] if authz else [])
    assert "${" not in text
    assert all(yaml.safe_load_all(text))


@pytest.mark.parametrize("kind", ["envoy", "filter"])
def test_an_error_is_never_an_allow(kind: str) -> None:
    """Fail-open is off, in writing, and an outage is 503."""
    found = filters(yaml.safe_load(render(kind)))
    assert len(found) == 1
    assert found[0]["failure_mode_allow"] is False
    assert found[0]["status_on_error"] == {"code": "ServiceUnavailable"}


def test_headers_allowed_are_rendered_twice() -> None:
    """Once as what the server may touch, once as what clients may not send."""
    text = render("envoy", headers_allowed=["x-auth-*", "x-tenant", "authorization"])
    manager = yaml.safe_load(text)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    rules = filters(manager)[0]["decoder_header_mutation_rules"]
    assert rules["allow_expression"]["regex"] == "x-auth-.*|x-tenant|authorization"
    strip = manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"][0]["remove_on_match"]
    assert strip["key_matcher"]["safe_regex"]["regex"] == "x[^a-z0-9]auth[^a-z0-9].*|x[^a-z0-9]tenant"


@pytest.mark.parametrize("name", ["x-auth-subject", "x.auth.subject", "x_auth_subject", "x~auth-roles"])
def test_aliases_of_identity_headers_are_stripped(name: str) -> None:
    """Every spelling that CGI or WSGI would fold into the same variable."""
    assert re.fullmatch(stripped_expression(["authorization"]), name)


@pytest.mark.parametrize("name", ["authorization", "cookie", "x-authority", "xauth-subject", "x-request-id"])
def test_other_headers_are_not_stripped(name: str) -> None:
    """Credentials and strangers pass."""
    assert not re.fullmatch(stripped_expression(["x-auth-*", "authorization", "cookie"]), name)


def test_a_dot_in_an_allowed_name_is_literal() -> None:
    """`x.y` is not a pattern."""
    assert not re.fullmatch(allowed_expression(["x.y"]), "x-y")


def test_the_template_is_the_mesh_that_is_tested() -> None:
    """Filled in with the same addresses, the printed filter is the one that the end-to-end tests run."""
    printed = filters(yaml.safe_load(render("filter")))
    assert printed == filters(bootstrap_document(EnvoyOptions()))


def test_a_unix_socket_is_a_static_pipe() -> None:
    """As recommended for a server on the same host."""
    cluster = yaml.safe_load(render("filter", authz=["unix:/run/extauthz.sock"]))["clusters"][0]
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    assert (cluster["type"], address) == ("STATIC", {"pipe": {"path": "/run/extauthz.sock"}})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("nginx", {}),
        ("envoy", {"authz": "9000"}),
        ("envoy", {"authz": "host:0"}),
        ("envoy", {"authz": "host:65536"}),
        ("envoy", {"authz": "unix:relative"}),
        ("envoy", {"listen": "unix:/run/x.sock"}),
        ("envoy", {"headers_allowed": ["*"]}),
        ("envoy", {"headers_allowed": ["X-Auth-User"]}),
        ("envoy", {"headers_allowed": ['x"\n- evil']}),
        ("istio", {"authz": "unix:/run/x.sock"}),
        ("istio", {"listen": "127.0.0.1:1"}),
        ("istio", {"headers_allowed": ["x-auth-*"]}),
        ("filter", {"upstream": "127.0.0.1:1"}),
    ],
)
def test_nonsense_is_refused(kind: str, values: dict[str, Any]) -> None:
    """Unknown kinds, addresses and names that are none, and values without a place."""
    with pytest.raises(EnvoyConfigError):
        render(kind, **values)


def test_an_address_cannot_break_out() -> None:
    """Values are written as JSON: quotes and line ends stay inside."""
    text = render("filter", authz=['a"}\nevil: 1\n:9000'])
    endpoint = yaml.safe_load(text)["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {"address": 'a"}\nevil: 1\n', "port_value": 9000}


def test_istio_asks_about_everything() -> None:
    """CUSTOM rules decide who is checked: the one that is printed checks all."""
    mesh, policy = yaml.safe_load_all(render("istio", authz=["authz.ns.svc.cluster.local:9000"]))
    provider = mesh["meshConfig"]["extensionProviders"][0]
    assert policy["spec"]["provider"]["name"] == provider["name"]
    assert policy["spec"]["action"] == "CUSTOM"
    assert policy["spec"]["rules"] == [{}]
    assert provider["envoyExtAuthzGrpc"]["failOpen"] is False
    assert provider["envoyExtAuthzGrpc"]["service"] == "authz.ns.svc.cluster.local"


@pytest.mark.envoy
@pytest.mark.parametrize("authz", [*ADDRESSES, "unix:/run/extauthz.sock"])
def test_a_real_envoy_accepts_the_bootstrap(tmp_path: Path, envoy: Path, authz: str) -> None:
    """`envoy --mode validate` of what is printed."""
    config = tmp_path / "envoy.yaml"
    config.write_text(render("envoy", authz=[authz], headers_allowed=["x-auth-*", "x-tenant", "authorization"]))
    checked = validate(config, envoy)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.envoy
def test_a_real_envoy_accepts_the_fragment_in_its_place(tmp_path: Path, envoy: Path) -> None:
    """The filter and the cluster, pasted into a bootstrap."""
    fragment = yaml.safe_load(render("filter"))
    whole = bootstrap_document(EnvoyOptions())
    manager = whole["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][0:1] = fragment["http_filters"]
    whole["static_resources"]["clusters"][0:1] = fragment["clusters"]
    config = tmp_path / "envoy.yaml"
    config.write_text(yaml.safe_dump(whole))
    checked = validate(config, envoy)
    assert checked.returncode == 0, checked.stderr


def test_workers_and_replicas_are_endpoints_of_one_cluster() -> None:
    """Over which Envoy spreads each request."""
    cluster = yaml.safe_load(render("filter", authz=["127.0.0.1:9000", "127.0.0.1:9001"]))["clusters"][0]
    (locality,) = cluster["load_assignment"]["endpoints"]
    ports = [one["endpoint"]["address"]["socket_address"]["port_value"] for one in locality["lb_endpoints"]]
    assert (ports, cluster["type"]) == ([9000, 9001], "STATIC")
    sockets = yaml.safe_load(render("envoy", authz=["unix:/run/a.sock", "unix:/run/a-1.sock"]))
    assert "/run/a-1.sock" in str(sockets)


@pytest.mark.parametrize(
    ("kind", "authz", "told"),
    [
        ("istio", ["a:1", "b:1"], "by their Service"),
        ("filter", ["unix:/run/a.sock", "authz.example.com:9000"], "one cluster"),
    ],
)
def test_endpoints_that_can_not_be_together_are_refused(kind: str, authz: list[str], told: str) -> None:
    """Envoy would refuse them later."""
    with pytest.raises(EnvoyConfigError, match=told):
        render(kind, authz=authz)
