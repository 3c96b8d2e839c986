"""From claims to roles (docs/security.md T42 to T45)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.identity import ClaimPath, RoleRules
from extauthz.identity.roles import MAX_ROLES, RoleError, RoleReader, included_roles, scopes_of
from extauthz.model import Identity
from tests.identity.issuer import authenticator, bearer, judge, mint, provider, word


def rules(*paths: Any, **parts: Any) -> RoleRules:
    return RoleRules(tuple(ClaimPath.parse(path) for path in paths), **parts)


def roles(claims: dict[str, Any], *paths: Any, includes: dict[str, list[str]] | None = None, **parts: Any) -> set[str]:
    return set(RoleReader(rules(*paths, **parts), included_roles(includes or {})).roles(claims))


@pytest.mark.parametrize(
    ("claims", "path", "expected"),
    [
        ({"roles": ["user", "admin"]}, "roles", {"user", "admin"}),
        ({"roles": "billing admin"}, "roles", {"billing admin"}),
        ({"scope": "read write"}, "scope", {"read", "write"}),
        ({"scp": "read  write"}, "scp", {"read", "write"}),
        ({"scp": ["read", "write all"]}, "scp", {"read", "write all"}),
        ({"realm_access": {"roles": ["user"]}}, "realm_access.roles", {"user"}),
        ({"resource_access": {"a.b": {"roles": ["x"]}}}, ["resource_access", "a.b", "roles"], {"x"}),
        ({"https://x.example/roles": ["user"]}, ["https://x.example/roles"], {"user"}),
        ({"a.b": ["user"]}, "a.b", set()),
        ({"a": {"b": ["user"]}}, ["a.b"], set()),
        ({}, "roles", set()),
        ({"roles": []}, "roles", set()),
        ({"roles": ""}, "roles", set()),
        ({"roles": ["", "user"]}, "roles", {"user"}),
        ({"roles": ["Admin"]}, "roles", {"Admin"}),
        ({"roles": ["\u200badmin", "\uff41dmin"]}, "roles", {"\u200badmin", "\uff41dmin"}),
    ],
)
def test_claims_are_read_by_path(claims: dict[str, Any], path: Any, expected: set[str]) -> None:
    """T43, T45: dots part names in a string and are literal in a list; a string is one role, except scope and scp."""
    assert roles(claims, path) == expected


@pytest.mark.parametrize("value", [None, 5, True, {"user": True}, ["user", 5], ["user", None], [["user"]]])
def test_roles_of_a_wrong_type_refuse_the_token(value: Any) -> None:
    """T44: nothing is coerced or skipped."""
    with pytest.raises(RoleError):
        roles({"roles": value}, "roles")
    assert word(judge(mint({"roles": value}), roles=rules("roles"))) == "claim-invalid"


@pytest.mark.parametrize("value", ["x", 5, None, ["roles"]])
def test_a_path_leads_through_objects(value: Any) -> None:
    """T43: a claim that should be an object and is not refuses the token."""
    with pytest.raises(RoleError):
        roles({"realm_access": value}, "realm_access.roles")


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", [], ["a", ""]])
def test_a_path_has_no_empty_part(path: Any) -> None:
    """A path that can't mean anything is refused when it is read."""
    with pytest.raises(ValueError, match="path"):
        ClaimPath.parse(path)


def test_steps_come_in_order() -> None:
    """Map, then mayGrant, then inclusion: a foreign name never passes mayGrant by its own spelling."""
    claims = {"roles": ["/platform/admins", "admin-of-nothing", "user"]}
    found = roles(
        claims,
        "roles",
        mapping={"/platform/admins": "admin"},
        may_grant=frozenset({"admin", "partner"}),
        includes={"admin": ["auditor"], "auditor": ["reader"], "user": ["writer"]},
    )
    assert found == {"admin", "auditor", "reader"}


def test_a_mapped_name_is_gone() -> None:
    """A name in the map means our role and no longer itself."""
    assert roles({"roles": ["admin"]}, "roles", mapping={"admin": "user"}) == {"user"}


def test_names_that_are_not_mapped_can_be_dropped() -> None:
    """T43: whoever names a group after a role of ours gets nothing where only mapped names count."""
    claims = {"roles": ["admin", "staff", ""]}
    mapping = {"staff": "user"}
    assert roles(claims, "roles", mapping=mapping) == {"admin", "user"}
    assert roles(claims, "roles", mapping=mapping, keep_unmapped=False) == {"user"}
    assert roles(claims, "roles", keep_unmapped=False) == set()


def test_nobody_is_anonymous_by_token() -> None:
    """The role of callers without credentials can be given by no claim, map or include."""
    assert roles({"roles": ["anonymous", "x"]}, "roles", mapping={"x": "anonymous"}) == set()
    for includes in ({"admin": ["anonymous"]}, {"anonymous": ["admin"]}):
        with pytest.raises(ValueError, match="anonymous"):
            included_roles(includes)


@pytest.mark.parametrize(
    ("includes", "circle"),
    [({"a": ["a"]}, "a > a"), ({"a": ["b"], "b": ["c"], "c": ["b"]}, "b > c > b")],
)
def test_circles_are_named(includes: dict[str, list[str]], circle: str) -> None:
    """Roles that include each other are refused, and the circle is shown."""
    with pytest.raises(ValueError, match=circle):
        included_roles(includes)


def test_a_diamond_is_no_circle() -> None:
    """Two ways to the same role are fine, and so is a very long chain."""
    assert included_roles({"a": ["b", "c"], "b": ["d"], "c": ["d"]})["a"] == {"b", "c", "d"}
    chain = {str(n): [str(n + 1)] for n in range(2000)}
    assert len(included_roles(chain)["0"]) == 2000


NAMES = st.sampled_from("abcdefg")


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3)))
def test_inclusion_is_the_transitive_closure(includes: dict[str, list[str]]) -> None:
    """What a role includes is exactly what can be reached from it."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(includes.get(start, []))
        while todo:
            role = todo.pop()
            if role not in seen:
                seen.add(role)
                todo += includes.get(role, [])
        return seen

    circular = any(role in reachable(role) for role in includes)
    try:
        closed = included_roles(includes)
    except ValueError:
        assert circular
    else:
        assert not circular
        assert {role: set(inner) for role, inner in closed.items()} == {role: reachable(role) for role in includes}


def test_the_number_of_roles_is_bounded() -> None:
    """I7: more roles than the bound are refused; those that mayGrant drops do not count."""
    claims = {"roles": [f"r{n}" for n in range(MAX_ROLES + 1)]}
    assert len(roles(claims, "roles", may_grant=frozenset({"r1"}))) == 1
    with pytest.raises(RoleError, match="256"):
        roles(claims, "roles")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, ()),
        ({"scope": ""}, ()),
        ({"scope": "read  write read"}, ("read", "write")),
        ({"scp": ["a", "b"]}, ("a", "b")),
        ({"scp": "a b"}, ("a", "b")),
        ({"scope": "a", "scp": ["b", "a"]}, ("a", "b")),
        ({"scope": "read:all"}, ("read:all",)),
    ],
)
def test_scopes_are_split_on_spaces(claims: dict[str, Any], expected: tuple[str, ...]) -> None:
    """T42: scope is a string, scp a string or a list; order is kept, repeats are dropped."""
    assert scopes_of(claims) == expected


@pytest.mark.parametrize("claims", [{"scope": ["a"]}, {"scope": None}, {"scp": 5}, {"scp": None}, {"scp": ["a", 5]}])
def test_scopes_of_a_wrong_type_refuse_the_token(claims: dict[str, Any]) -> None:
    """T42: nothing is coerced."""
    with pytest.raises(RoleError):
        scopes_of(claims)
    assert word(judge(mint(claims))) == "claim-invalid"


def test_an_identity_has_the_roles_of_its_provider() -> None:
    """The same claim gives other roles by another provider's rules; the includes are common."""
    other = provider(name="other", issuer="https://other.example/", roles=rules("roles", mapping={"user": "guest"}))
    both = authenticator(provider(roles=rules("roles")), other, includes={"user": ["reader"], "guest": ["reader"]})
    mine = both.authenticate(bearer(mint()))
    theirs = both.authenticate(bearer(mint({"iss": "https://other.example/"})))
    assert isinstance(mine, Identity)
    assert isinstance(theirs, Identity)
    assert mine.roles == {"user", "reader"}
    assert theirs.roles == {"guest", "reader"}
