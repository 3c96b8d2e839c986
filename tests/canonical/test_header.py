"""Header names: which are well-formed, which must never leave, and which an upstream could take for another."""

import pytest

from extauthz.canonical import HeaderTwins, emittable, folded_names, header, header_name


def twin(ours: list[str], *theirs: str) -> str:
    folded = folded_names(theirs)
    assert folded is not None
    return HeaderTwins(ours).find(theirs, folded)


@pytest.mark.parametrize("name", ["x-auth-user", "x_auth.user", "a", "!#$%&'*+.^_`|~09az-"])
def test_a_lower_case_token_is_a_header_name(name: str) -> None:
    """RFC 9113 section 8.2: nothing else may stand in HTTP/2."""
    assert header_name(name)


@pytest.mark.parametrize("name", ["", "X-User", "x user", "x:y", ":path", "x\n", "é", "a" * 129])
def test_what_is_no_lower_case_token_is_no_header_name(name: str) -> None:
    """Pseudo headers, other cases, and what would end a line."""
    assert not header_name(name)
    assert not emittable(name)


@pytest.mark.parametrize(
    "name", ["host", "te", "upgrade", "content-length", "x-envoy-a", "x-forwarded-for", "traceparent", "x-b3-traceid"]
)
def test_what_frames_routes_or_traces_a_request_is_not_ours(name: str) -> None:
    """Envoy would pass it on, and the request would break or go elsewhere."""
    assert not emittable(name)


@pytest.mark.parametrize("name", ["x user", "", "x\n", "x\ny", "\n", "X", ":", "::a", "a:", "\u212a", "é"])
def test_a_malformed_name_leaves_nothing_to_compare(name: str) -> None:
    """Not even one that holds the line end by which names are told apart."""
    assert folded_names([name]) is None
    assert folded_names(["accept", name, "x_y"]) is None


def test_names_that_differ_in_separators_alone_are_twins() -> None:
    """CGI, WSGI and PHP make one variable of them (CVE-2025-64484); the name itself is no twin of itself."""
    ours = ["x-auth-user", "authorization"]
    for name in ("x_auth_user", "x.auth.user", "x-auth_user", "x~auth!user"):
        assert twin(ours, ":path", "accept", name) == "x-auth-user"
    assert twin(ours, "x-auth-user", "x_auth_user") == "x-auth-user"
    assert twin(ours, "accept", "x-auth-user", "authorization", "x_auth_users", "xauthuser") == ""
    assert twin(["x_user"], "x-user") == "x_user"
    assert twin(["x_user"], "x_user") == ""
    assert twin([], "x_user") == ""
    assert twin(ours) == ""


def test_a_flood_of_made_up_names_is_not_remembered() -> None:
    """Whoever makes up names fills no memory, and what was remembered before is still judged the same (I7)."""
    assert folded_names(["accept", "x_y"]) == ("accept", "x-y")
    for number in range(3 * header._MAX_SETS):
        assert folded_names([f"x_{number}"]) == (f"x-{number}",)
    assert len(header._known) <= header._MAX_SETS
    long = ["x" * header._MAX_CHARACTERS]
    assert folded_names(long) == tuple(long)
    assert tuple(long) not in header._known
    assert folded_names(["accept", "x_y"]) == ("accept", "x-y")


def test_names_in_another_order_or_split_elsewhere_are_other_names() -> None:
    """What is remembered for some names is given for exactly these."""
    assert folded_names(["a_b", "c"]) == ("a-b", "c")
    assert folded_names(["c", "a_b"]) == ("c", "a-b")
    assert folded_names(["a_b\nc"]) is None
    assert folded_names(["a", "b_c"]) == ("a", "b-c")
    assert folded_names([]) == ()
