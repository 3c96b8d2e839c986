"""Whoever reads a request's path below /admin, our deny for /admin holds, or the request is refused (I4).

The policy is "deny /admin/**, allow the rest", the attacker chooses the path, and the readers of ``path_readers`` (Envoy's
modes, RFC 3986, WHATWG URLs, what servers do) say what an upstream would serve. A setting of ``request`` that accepts
something leaves out the readers that it is not for; the ones that are left must still agree.
"""

import json
import re
from functools import cache
from itertools import chain, combinations, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.canonical import PathRules
from extauthz.check import RequestRules
from extauthz.policy import PolicySettings, PolicyText, load
from tests.invariants.path_readers import READERS, envoy, path_of, whatwg
from tests.journey import Journey, check_request, reason_of

VECTORS = Path(__file__).parents[1] / "vectors" / "urls" / "urltestdata.json"
DENY_ADMIN = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: all-but-admin}
spec:
  authentication: {optional: true}
  deny:
  - to: [{paths: ["/admin/**"]}]
  rules:
  - role: anonymous
"""
WORDS = {
    "normalize": "normalize",
    "encodedSlash": "encoded_slash",
    "doubleEncoding": "double_encoding",
    "pathParameters": "parameters",
}
"""The settings that accept paths, and what ``PathRules`` calls them."""
SETTINGS = [frozenset(accepted) for size in range(len(WORDS) + 1) for accepted in combinations(sorted(WORDS), size)]

# ----------------------------------------------------------------------------------------------------------- the tricks

DOTS = ["..", "%2e%2e", ".%2E", "%252e%252e", "..;", "..;x=1", "%2e%2e;", "..%3b", "..%00", "%c0%ae%c0%ae", "..%09"]
DOTS += ["%u002e%u002e", "..%20", "...", "..%5c", ".", "%2e", ".;", "\uff0e\uff0e", "%ef%bc%8e%ef%bc%8e", "..\\"]
SLASHES = ["/", "//", "%2f", "%2F", "%252f", "%25%32%66", "\\", "%5c", "%255c", "/./", "/;/", "/;x/", ";/", "%3b/"]
SLASHES += ["%c0%af", "%e0%80%af", "%u2215", "%u002f", "%ef%bc%8f", "/%2e/", "/\t/", "%2f/", "/%2f", "/%00/", "%0a/"]
ADMIN = ["admin", "%61dmin", "%61%64%6d%69%6e", "ADMIN", "aDmin", "%41dmin", "adm%69n", "%2561dmin", "admin;x"]
ADMIN += ["admin;x=1", "admin%3bx", "admin.", "admin%20", "admin%00", "admin%00.html", "admin\\", "ad\tmin", "ad%09min"]
ADMIN += [
    "admin#",
    "admin%23",
    "admin%3f",
    "\uff41dmin",
    "%ef%bd%81dmin",
    "admin%2f",
    "admin%5c",
    "admin%0d%0a",
    "admin*",
]
TAILS = [
    "",
    "/",
    "/keys",
    "//keys",
    "%2fkeys",
    "\\keys",
    ";/keys",
    "/..",
    "/.",
    "/../x",
    "//../x",
    "/%2e%2e/x",
    "/..;/x",
]
TAILS += ["/x/../keys", "/x//../keys", "/..%2fx", "/..%5cx", "/;a/../keys", "/.%2e;/x", "?/x", "#/x", "%3f/../../x"]
WHOLE = [
    "/",
    "/x",
    "/administrator",
    "/x/admin",
    "//admin",
    "///admin/keys",
    "//x/admin",
    "//x//admin",
    "/x//../admin",
    "/x///..//../admin",
    "/admin//../x",
    "/admin/..//x",
    "/admin///../../x",
    "/x/../../../../admin",
    "http://orders.example.com/admin",
    "http:/admin",
    "HTTP://admin/x",
    "http://orders.example.com//admin",
    "///orders.example.com/admin",
    "/http://orders.example.com/../../../admin",
    "admin",
    "./admin",
    "../admin",
    "*",
    "",
    "?/admin",
    "#/admin",
    "/x?/../admin",
    "/x#/../../admin",
    "/x%23/../../admin",
    "/x?x=/admin",
    "/%",
    "/%2",
    "/%zzadmin",
    "/admin%",
    "/%2f%61dmin",
    "/%2fadmin",
    "/%5cadmin",
    "/\\admin",
    "\\admin",
    "/;/admin",
    "/;x=1/admin",
    "/x;/../admin",
    "/x/..;/admin",
    "/x/;../admin",
    "/x;%2f..%2fadmin",
    "/x;/%2e%2e/admin",
    "/x%2f..%2f..%2fadmin",
    "/.%00./admin",
    "/\tadmin",
    "/%09admin",
    " /admin",
    "/ admin",
    "/admin ",
    "/admin\x00",
    "/admin\x7f",
]
HARMLESS = ["/", "/x", "/x/admin", "/administrator", "/x/keys/1", "/admin-ui/x", "/x%20y", "/adm", "/.admin", "/x/..."]


@cache
def corpus() -> list[str]:
    """Every trick alone with every other thing that it needs, and pairs of tricks."""
    ways = [f"{slash}{dots}{after}" for slash, dots, after in product(SLASHES, DOTS, ["/", "%2f", "\\", ";/"])]
    made = chain(
        WHOLE,
        (f"/x{way}admin/keys" for way in ways),
        (f"/x/y{way}..{slash}admin" for way, slash in product(ways[::41], SLASHES)),
        (f"/{admin}{tail}" for admin, tail in product(ADMIN, TAILS)),
        (f"{slash}{admin}/keys" for slash, admin in product(SLASHES, ADMIN)),
        (f"/x/{dots}/{admin}{tail}" for dots, admin, tail in product(DOTS[:9], ADMIN[:10], TAILS[:6])),
        (f"/admin{slash}{dots}{tail}" for slash, dots, tail in product(SLASHES, DOTS, ["", "/x", "//x"])),
    )
    return list(dict.fromkeys(made))


def below_admin(path: str | None, *, fold: bool = False) -> bool:
    """Whether somebody serves this path from below /admin."""
    if path is None:
        return False
    served = path.lower() if fold else path
    return served == "/admin" or served.startswith("/admin/")


@cache
def excuses(path: str, *, fold: bool = False) -> dict[frozenset[str], str]:
    """The readers that find a path below /admin, by the settings that they are not for; one name of each kind."""
    found: dict[frozenset[str], str] = {}
    raw = path_of(path)
    for reader in READERS:
        if reader.not_for not in found and below_admin(reader.read(raw), fold=fold):
            found[reader.not_for] = reader.name
    return found


@cache
def journey(accepted: frozenset[str], *, fold: bool = False) -> Journey:
    """A Check with these settings accepted."""
    known = PolicySettings(case_insensitive_paths=fold)
    rules = RequestRules(PathRules(**{WORDS[word]: True for word in accepted}))
    return Journey(load([PolicyText("admin.yaml", DENY_ADMIN)], known, 1), rules=rules)


def allowed(path: str, accepted: frozenset[str], *, fold: bool = False) -> bool:
    """Whether a GET of the path passes."""
    return journey(accepted, fold=fold).answer(check_request(path=path)).status.code == 0


def assert_nobody_is_fooled(path: str, accepted: frozenset[str], *, fold: bool = False) -> None:
    """Fail if the path passes and a reader whom the settings are for serves it from below /admin."""
    fooled = [name for not_for, name in excuses(path, fold=fold).items() if not not_for & accepted]
    if fooled:
        assert not allowed(path, accepted, fold=fold), f"{path!r} is allowed, and below /admin for {fooled}"


# ------------------------------------------------------------------------------------------------------------ the tests


def test_the_corpus_is_worth_its_name() -> None:
    """Thousands of paths that some reader finds below /admin, nearly all of them in another spelling."""
    found = [path for path in corpus() if excuses(path)]
    assert len(found) > 1500
    assert sum(not path.startswith("/admin") for path in found) > 1000
    readers = {name for path in corpus() for name in excuses(path).values()}
    assert len(readers) >= 5, readers


@pytest.mark.parametrize("accepted", SETTINGS, ids=lambda accepted: "+".join(sorted(accepted)) or "default")
def test_no_trick_reaches_what_is_denied(accepted: frozenset[str]) -> None:
    """Whatever is accepted, for every reader that it is accepted for."""
    for path in corpus():
        assert_nobody_is_fooled(path, accepted)


@pytest.mark.parametrize("accepted", [SETTINGS[0], SETTINGS[-1]], ids=["default", "all"])
def test_no_trick_reaches_what_is_denied_where_case_is_ignored(accepted: frozenset[str]) -> None:
    """``caseInsensitivePaths`` is for readers that serve /ADMIN from /admin."""
    for path in corpus():
        assert_nobody_is_fooled(path, accepted, fold=True)
    assert not allowed("/ADMIN/keys", accepted, fold=True)


@pytest.mark.parametrize("accepted", SETTINGS, ids=lambda accepted: "+".join(sorted(accepted)) or "default")
def test_the_rest_is_allowed(accepted: frozenset[str]) -> None:
    """A check that refuses everything would pass the tests above."""
    assert [path for path in HARMLESS if not allowed(path, accepted)] == []


@pytest.mark.parametrize(
    ("accepted", "path"),
    [
        ("normalize", "/x/../y//z"),
        ("encodedSlash", "/x%2Fadmin"),
        ("doubleEncoding", "/100%25"),
        ("pathParameters", "/x;v=1/y"),
    ],
)
def test_a_setting_accepts_what_it_says(accepted: str, path: str) -> None:
    """And only with it."""
    assert allowed(path, frozenset({accepted}))
    assert not any(allowed(path, other) for other in SETTINGS if accepted not in other)


PIECES = st.sampled_from(
    [*DOTS, *SLASHES, *ADMIN, "/", "/", "/", "/", "..", "..", "admin", "admin", "x", ";", "%", "?", "#", "//"]
)


@given(st.lists(PIECES, max_size=9).map(lambda parts: "/" + "".join(parts)), st.sampled_from(SETTINGS), st.booleans())
@settings(max_examples=1500)
def test_no_mixture_of_tricks_reaches_what_is_denied(path: str, accepted: frozenset[str], fold: bool) -> None:
    """What nobody thought of."""
    assert_nobody_is_fooled(path, accepted, fold=fold)


def test_tricks_are_refused_as_ambiguous() -> None:
    """The reason says so, and not that a rule denied a path which nobody can tell."""
    for path in ("/x/../admin", "/x%2fadmin", "/x//admin", "/admin;x", "/%2561dmin", "/x\\admin"):
        assert reason_of(journey(SETTINGS[0]).answer(check_request(path=path))) == "path-ambiguous"


# -------------------------------------------------------------------------------------------------------- the yardstick


def vectors() -> list[tuple[str, str]]:
    """The path of each http URL of the public data that has one, as written and as the standard reads it."""
    found = []
    for case in json.loads(VECTORS.read_text()):
        if isinstance(case, dict) and case.get("protocol") in ("http:", "https:"):
            written = re.fullmatch(r"\s*https?://[^/?#\\]+([/\\].*?)?\s*", case["input"], re.DOTALL | re.IGNORECASE)
            if written and written[1]:
                found.append((path_of(written[1]), case["pathname"]))
    return found


def test_our_whatwg_reader_reads_as_the_public_data_says() -> None:
    """All paths of its http URLs."""
    assert len(vectors()) > 60
    assert [(raw, whatwg(raw), read) for raw, read in vectors() if whatwg(raw) != read] == []


@pytest.mark.parametrize(
    ("raw", "kept", "unescaped"),
    [
        ("/a/../b", "/b", "/b"),
        ("/a/%2e%2e/b", "/b", "/b"),
        ("/../b", "/b", "/b"),
        ("/a//b", "/a/b", "/a/b"),
        ("//a", "/a", "/a"),
        ("/a%2Fb", "/a%2Fb", "/a/b"),
        ("/a%5Cb", "/a%5Cb", "/a/b"),
        ("/a/..%2fb", "/a/..%2fb", "/b"),
        ("/a\\b", "/a/b", "/a/b"),
        ("/A/%41", "/A/A", "/A/A"),
        ("/a%7Eb", "/a~b", "/a~b"),
        ("/a%25%32%66b", "/a%252fb", "/a%252fb"),
        ("/a/..;/b", "/b", "/b"),
        ("/a/.;/b", "/a/b", "/a/b"),
        ("/a/..;x=1/b", "/b", "/b"),
        ("/a/%2e%2e;/b", "/a/..;/b", "/a/..;/b"),
        ("/a;p=1/b", "/a;p=1/b", "/a;p=1/b"),
        ("/a/..%3b/b", "/a/..%3b/b", "/a/..%3b/b"),
        ("/a%00", None, None),
        ("/a#b", None, None),
    ],
)
def test_our_envoy_reader_reads_as_envoy_does(raw: str, kept: str | None, unescaped: str | None) -> None:
    """Seen with Envoy 1.40, for KEEP_UNCHANGED and UNESCAPE_AND_FORWARD, with slashes merged."""
    assert envoy(raw) == kept
    assert envoy(raw, unescape=True) == unescaped
