"""The linter: each code has a policy that it is found in, and one beside it that it is not."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.policy.paths import Paths, read_path
from extauthz.policy.patterns import Hosts, read_host
from extauthz.workbench.lint import CODES, Finding, ProviderRoles, lint, service_findings
from extauthz.workbench.lint.containment import covers_host, covers_path

SETTINGS = PolicySettings(providers=frozenset({"corporate", "partner"}), mesh_providers=frozenset({"mesh"}))
PROVIDERS = (
    ProviderRoles("corporate", mesh=False, roles=frozenset({"user", "admin"})),
    ProviderRoles("partner", mesh=False, roles=frozenset({"partner"})),
)
USER = {"role": "user"}
ALL = {"role": "user", "to": [{"paths": ["/**"]}]}


def findings(
    specs: Any, providers: Sequence[ProviderRoles] = PROVIDERS, ignore: Sequence[str] = ("allows-nothing",)
) -> tuple[Finding, ...]:
    """What is found in policies a, b, ... of these specs."""
    texts = []
    for name, spec in zip("abc", specs if isinstance(specs, list) else [specs], strict=False):
        document = {
            "apiVersion": "security.example.com/v1",
            "kind": "AuthPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
        texts.append(PolicyText(f"{name}.yaml", json.dumps(document, indent=1)))
    return lint(load(texts, SETTINGS, 1), providers, config="extauthz.yaml", ignore=ignore)


def codes(specs: Any) -> list[str]:
    return [finding.code for finding in findings(specs)]


def to(**words: Any) -> dict[str, Any]:
    return {"role": "user", "to": [words]}


def deny(when: str) -> dict[str, Any]:
    return {"deny": [{"when": when}], "rules": [USER]}


FOUND: list[tuple[str, Any]] = [
    ("never-matches", {"rules": [to(methods=["GET"], notMethods=["GET", "PUT"])]}),
    ("never-matches", {"rules": [to(paths=["/a/b", "/a/{x}"], notPaths=["/a/**"])]}),
    ("never-matches", {"rules": [to(ports=[80], notPorts=[80])]}),
    ("never-matches", {"rules": [to(hosts=["a.x.com"], notHosts=["*.x.com"])]}),
    ("never-matches", {"rules": [to(methods=["CONNECT"], paths=["/x"])]}),
    ("never-matches", {"targets": [{"hosts": ["*.y.com"]}], "rules": [to(hosts=["a.x.com"])]}),
    ("never-matches", {"rules": [USER | {"from": [{"ipBlocks": ["10.1.0.0/16"], "notIpBlocks": ["10.0.0.0/8"]}]}]}),
    (
        "never-matches",
        {"rules": [USER | {"from": [{"principals": ["spiffe://d/a/b"], "notPrincipals": ["spiffe://d/*"]}]}]},
    ),
    ("never-matches", {"rules": [{"role": "anonymous"}]}),
    ("shadowed-by-deny", {"deny": [{}], "rules": [USER]}),
    ("shadowed-by-deny", {"deny": [{"to": [{"paths": ["/a/**"]}]}], "rules": [to(paths=["/a/{x}"], methods=["GET"])]}),
    ("shadowed-by-deny", {"deny": [{"roles": ["user", "admin"]}], "rules": [USER]}),
    ("shadowed-by-deny", [{"deny": [{}]}, {"targets": [{"hosts": ["x"]}], "rules": [USER]}]),
    (
        "shadowed-by-deny",
        [{"deny": [{}], "targets": [{"hosts": ["*.x"]}]}, {"targets": [{"hosts": ["a.x"]}], "rules": [USER]}],
    ),
    ("duplicate-rule", {"rules": [to(paths=["/a"]), to(paths=["/a"])]}),
    ("unknown-role", {"rules": [{"role": "usr"}]}),
    ("unknown-role", {"authentication": {"providers": ["partner"]}, "rules": [USER]}),
    ("deny-leaves-twin", {"deny": [{"to": [{"paths": ["/admin/"]}]}], "rules": [ALL]}),
    ("deny-leaves-children", {"deny": [{"to": [{"paths": ["/admin"]}]}], "rules": [ALL]}),
    ("deny-leaves-children", {"deny": [{"to": [{"paths": ["/admin"]}]}], "rules": [USER]}),
    ("path-equality", deny('request.path == "/admin"')),
    ("path-equality", deny('"/admin" == request.path')),
    ("path-spelling", deny('request.url_path == "/a//b"')),
    ("path-spelling", deny("request.url_path == '/%61'")),
    ("header-spelling", {"rules": [USER | {"when": 'request.headers["X-Tenant"] == "a"'}]}),
    ("header-spelling", {"rules": [USER | {"when": '"X-Tenant" in request.headers'}]}),
    ("host-spelling", deny('request.host == "A.example.com"')),
    ("host-spelling", deny('request.host == "a.example.com:443"')),
    ("method-spelling", deny('request.method == "get"')),
    ("constant-condition", {"rules": [USER | {"when": "1 == 1"}]}),
    ("constant-condition", deny("false")),
    ("unguarded-claim", deny('claims.tenant == "a"')),
]
CLEAN: list[Any] = [
    {"rules": [to(methods=["GET", "HEAD"], notMethods=["GET"])]},
    {"rules": [to(paths=["/a/**"], notPaths=["/a/b"])]},
    {"rules": [{"role": "user", "to": [{"ports": [80], "notPorts": [80]}, {"ports": [81]}]}]},
    {"rules": [to(methods=["CONNECT", "GET"], paths=["/x"])]},
    {"targets": [{"hosts": ["*.com"]}], "rules": [to(hosts=["a.x.com"])]},
    {"targets": [{"context": {"app": "a"}}], "rules": [to(hosts=["a.x.com"])]},
    {"authentication": {"optional": True}, "rules": [{"role": "anonymous"}]},
    {"deny": [{"to": [{"paths": ["/a/{x}/**"]}]}], "rules": [to(paths=["/a/**"])]},
    {"deny": [{"to": [{"notPaths": ["/a"]}]}], "rules": [to(paths=["/b"])]},
    {"deny": [{"roles": ["admin"]}], "rules": [{"roles": ["user", "admin"]}]},
    {"deny": [{"when": "request.method == 'PUT'"}], "rules": [USER]},
    {"deny": [{"from": [{"ipBlocks": ["10.0.0.0/8"]}]}], "rules": [USER]},
    {"deny": [{"shadow": True}], "rules": [USER]},
    [{"deny": [{}], "targets": [{"hosts": ["a.x"]}]}, {"targets": [{"hosts": ["*.x"]}], "rules": [USER]}],
    [{"deny": [{}], "targets": [{"context": {"a": "b"}}]}, {"rules": [USER]}],
    {"rules": [to(paths=["/a"]), to(paths=["/b"])]},
    {"rules": [USER | {"maxRequestsPerMinute": 1}, USER | {"maxRequestsPerMinute": 2}]},
    {"deny": [{"to": [{"paths": ["/admin/**"]}]}], "rules": [ALL]},
    {"deny": [{"to": [{"paths": ["/admin"]}]}, {"to": [{"paths": ["/admin/**"]}]}], "rules": [ALL]},
    {"deny": [{"to": [{"paths": ["/admin"]}]}], "rules": [to(paths=["/orders"])]},
    deny('request.url_path == "/admin"'),
    deny('request.path == "/admin?x=1"'),
    deny('request.headers["x-tenant"] == "a"'),
    deny('has(claims.tenant) && claims.tenant == "a"'),
    deny('"tenant" in claims && claims.tenant == "a"'),
    {"rules": [USER | {"when": 'claims.tenant == "a"'}]},
]


@pytest.mark.parametrize(("code", "specs"), FOUND)
def test_what_looks_wrong_is_found(code: str, specs: Any) -> None:
    """Each with a place in its file and a way to mend it."""
    found = [finding for finding in findings(specs) if finding.code == code]
    assert found, findings(specs)
    for finding in found:
        assert finding.where.line > 0
        assert finding.where.file in ("a.yaml", "b.yaml")
        assert finding.message
        assert finding.mend


@pytest.mark.parametrize("specs", CLEAN)
def test_what_is_right_is_left_alone(specs: Any) -> None:
    """A linter that cries wolf is switched off."""
    assert codes(specs) == []


def test_a_provider_that_no_policy_asks_for_is_found() -> None:
    """In the configuration; where no policy is loaded nothing is known."""
    specs = {"authentication": {"providers": ["corporate"]}, "rules": [USER]}
    (found,) = findings(specs)
    assert (found.code, str(found.where)) == ("unused-provider", "extauthz.yaml")
    assert "'partner'" in found.message
    mesh = ProviderRoles("mesh", mesh=True, roles=frozenset())
    assert [finding.code for finding in findings({"rules": [USER]}, [PROVIDERS[0], mesh])] == ["unused-provider"]
    assert findings([]) == ()


def test_a_token_service_whose_tokens_nobody_here_believes_is_found() -> None:
    """In the configuration."""
    (found,) = service_findings("https://own", {"https://login.example.com/"}, "extauthz.yaml")
    assert (found.code, str(found.where)) == ("own-tokens-refused", "extauthz.yaml")
    assert "https://own" in found.message
    assert not [*service_findings("https://own", {"https://own"}, "extauthz.yaml")]


def test_a_provider_that_gives_any_role_leaves_none_unknown() -> None:
    """Its tokens say what roles there are."""
    free = ProviderRoles("corporate", mesh=False, roles=None)
    assert findings({"rules": [{"role": "whatever"}]}, [free]) == ()


def test_a_near_role_is_offered() -> None:
    """Most of these are slips."""
    (found,) = findings({"rules": [{"role": "usr"}]})
    assert found.mend == "did you mean 'user'?"


def test_a_policy_without_rules_is_told() -> None:
    """It may be there for its deny."""
    (found,) = findings({"deny": [{"to": [{"paths": ["/x"]}]}]}, ignore=())
    assert found.code == "allows-nothing"


def test_codes_can_be_ignored() -> None:
    """Whoever knows better says so."""
    assert findings({"rules": [{"role": "usr"}]}, ignore=["unknown-role"]) == ()


def test_every_code_is_in_the_table_and_tested() -> None:
    """The table is what docs print."""
    tested = {code for code, _ in FOUND} | {
        "unused-provider",
        "allows-nothing",
        "own-tokens-refused",
        "secret-readable",
    }
    assert tested == CODES.keys()


SEGMENT = st.sampled_from(["a", "b", "{x}"])
PATTERN = st.builds(
    lambda segments, end: ("/" + "/".join(segments) if segments else "") + end or "/",
    st.lists(SEGMENT, max_size=3),
    st.sampled_from(["", "/", "/**"]),
).filter(lambda text: "//" not in text)
PATH = st.builds(
    lambda segments, end: ("/" + "/".join(segments) + end).replace("//", "/"),
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=4),
    st.sampled_from(["", "/"]),
)


@given(PATTERN, PATTERN, PATH, st.booleans())
def test_a_pattern_that_covers_another_matches_all_its_paths(wide: str, narrow: str, path: str, tolerant: bool) -> None:
    """Never said where it is not so."""
    one, other = read_path(wide), read_path(narrow)
    inside = path in Paths([other], tolerant=False, fold=False)
    if covers_path(one, other, tolerant=tolerant) and inside:
        assert path in Paths([one], tolerant=tolerant, fold=False)


HOST = st.sampled_from(["x", "a.x", "b.a.x", "*.x", "*.a.x", "*", "y", "*.y"])


@given(HOST, HOST, st.sampled_from(["x", "a.x", "b.a.x", "c.b.a.x", "y", "a.y", "z"]))
def test_a_host_that_covers_another_matches_all_its_hosts(wide: str, narrow: str, host: str) -> None:
    """Never said where it is not so."""
    if covers_host(read_host(wide), read_host(narrow)) and host in Hosts([read_host(narrow)]):
        assert host in Hosts([read_host(wide)])
