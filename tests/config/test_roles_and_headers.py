from collections.abc import Callable
from typing import Any

import pytest


def test_includes(load: Callable[..., Any]) -> None:
    """A role may include several, and two may include the same one."""
    text = "roles: {includes: {root: [admin, ops], admin: [user], ops: [user]}}"
    assert load(text).roles.includes == {"root": ("admin", "ops"), "admin": ("user",), "ops": ("user",)}


@pytest.mark.parametrize(
    ("includes", "way"),
    [
        ("{a: [a]}", "a > a"),
        ("{a: [b], b: [a]}", "a > b > a"),
        ("{a: [x, b], b: [c], c: [a], x: []}", "a > b > c > a"),
    ],
)
def test_circles(problems: Callable[..., list[str]], includes: str, way: str) -> None:
    """Roles that include each other in a circle are refused once, with the way round."""
    [problem] = problems(f"roles: {{includes: {includes}}}")
    assert problem.startswith("1:")
    assert f"roles include each other in a circle: {way} (" in problem


@pytest.mark.parametrize("pattern", ["x-tenant", "x-auth-*", "authorization", "cookie", "x-*"])
def test_allowed_headers(load: Callable[..., Any], pattern: str) -> None:
    """Names and prefixes in lower case may be in the hands of policies."""
    assert load(f"headers: {{allowed: ['{pattern}']}}").headers.allowed == (pattern,)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("*", "would let policies set any header"),
        ("X-Tenant", "neither a header name in lower case nor a prefix"),
        ("*-auth", "neither a header name in lower case nor a prefix"),
        ("x-*-y", "neither a header name in lower case nor a prefix"),
        ("x-**", "neither a header name in lower case nor a prefix"),
        (":path", "neither a header name in lower case nor a prefix"),
        ("a b", "neither a header name in lower case nor a prefix"),
        ("", "neither a header name in lower case nor a prefix"),
        ("host", "can't be set by policies"),
        ("content-length", "can't be set by policies"),
        ("connection", "can't be set by policies"),
        ("transfer-encoding", "can't be set by policies"),
        ("x-envoy-original-path", "can't be set by policies"),
        ("x-envoy-*", "can't be set by policies"),
        ("x-forwarded-for", "can't be set by policies"),
        ("x-forwarded-*", "can't be set by policies"),
    ],
)
def test_forbidden_headers(problems: Callable[..., list[str]], pattern: str, message: str) -> None:
    """What frames or routes a request, or is vouched for by Envoy, never is."""
    [problem] = problems(f"headers: {{allowed: ['{pattern}']}}")
    assert message in problem


def test_no_headers(load: Callable[..., Any]) -> None:
    """An empty list takes all headers out of the hands of policies."""
    assert load("headers: {allowed: []}").headers.allowed == ()


@pytest.mark.parametrize("group", ["", "a/v1", "Example.com", "-a.b", "a..b", "a_b", "a.b."])
def test_group(problems: Callable[..., list[str]], group: str) -> None:
    """The API group of policies is a lower-case DNS name without version."""
    [problem] = problems(f"policies: {{group: '{group}'}}")
    assert "is not an API group" in problem


@pytest.mark.parametrize("hops", ["-1", "65"])
def test_trusted_hops(problems: Callable[..., list[str]], hops: str) -> None:
    """A number of proxies is a small number from 0 on."""
    [problem] = problems(f"clientAddress: {{trustedHops: {hops}}}")
    assert "must be from 0 to 64" in problem
