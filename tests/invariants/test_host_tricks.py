"""Whoever reads a request's host as one that is denied, the deny holds, or the request is refused (I4).

As with paths: the attacker chooses the authority, and readers that share no code with ours (virtual hosts of servers, the
URL Standard) say which host would serve it. The standard's own public data is asked as well: what it reads as host H and
path P must not pass a deny for H, nor one for P.
"""

import json
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.errors import PolicyError
from extauthz.policy import PolicySettings, PolicyText, load
from tests.journey import Journey, check_request, reason_of

VECTORS = Path(__file__).parents[1] / "vectors" / "urls" / "urltestdata.json"
DENIED = ("admin.example.com", "x.admin.example.com", "127.0.0.1", "[::1]")
"""Hosts of the policy's deny, or below one of them."""
PATTERNS = ["admin.example.com", "*.admin.example.com", "127.0.0.1", "[::1]"]

# ---------------------------------------------------------------------------------------------------------- the readers


def plain(authority: str) -> str:
    """RFC 9110 section 4.2.3: without port, letters in lower case; the final dot names the same host (RFC 1034)."""
    return re.sub(r":[0-9]*\Z", "", authority).lower().removesuffix(".")


def after_user(authority: str) -> str:
    """User information is what stands before ``@`` (RFC 3986 section 3.2.1)."""
    return plain(authority.rpartition("@")[2])


def trimmed(authority: str) -> str:
    """Blanks around a header's value are no part of it (RFC 9110 section 5.5); some strip controls as well."""
    return plain(authority.strip("".join(map(chr, range(0x21)))))


def cut(authority: str) -> str:
    """Whoever puts ``http://`` in front and parses a URL, or ends a string at NUL, stops here."""
    return plain(re.split(r"[/?#\\\0]", authority, maxsplit=1)[0])


def whatwg(authority: str) -> str:
    """The host parser of the URL Standard; IDNA by its usual outcome: NFKC in lower case, without soft hyphens. The final dot,
    which the standard keeps, is taken off as virtual hosts do.
    """
    text = re.sub(r"[\t\n\r]", "", re.split(r"[/?#\\]", authority, maxsplit=1)[0]).rpartition("@")[2]
    text = re.sub(r":[0-9]*\Z", "", text)
    if text.startswith("["):
        return text.lower()
    text = unicodedata.normalize("NFKC", unquote(text)).lower().replace("\u00ad", "").replace("\u200b", "")
    text = text.replace("\u3002", ".").removesuffix(".")
    return _ipv4(text) if re.search(r"(?:\A|\.)(?:[0-9]+|0x[0-9a-f]*)\Z", text) else text


def _ipv4(text: str) -> str:
    """The IPv4 parser: up to four decimal, octal or hexadecimal numbers, the last of which fills what is left."""
    try:
        numbers = [_number(part) for part in text.split(".")]
    except ValueError:
        return ""
    if len(numbers) > 4:
        return ""
    address = numbers[-1]
    for place, number in enumerate(numbers[:-1]):
        address += number << (8 * (3 - place))
    return ".".join(str(address >> shift & 0xFF) for shift in (24, 16, 8, 0))


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if text.startswith("0") else int(text)


READERS: list[Callable[[str], str]] = [
    plain,
    after_user,
    trimmed,
    cut,
    whatwg,
    lambda authority: whatwg(authority.partition(",")[0].strip()),
    lambda authority: whatwg(authority.rpartition(",")[2].strip()),
    lambda authority: whatwg(unquote(authority)),
    lambda authority: trimmed(authority.split(" ")[0]),
]

# ----------------------------------------------------------------------------------------------------------- the tricks

NAMES = ["admin.example.com", "x.admin.example.com", "127.0.0.1", "[::1]"]
SPELLINGS = [
    *NAMES,
    "ADMIN.example.com",
    "Admin.Example.Com",
    "\u212admin.example.com",
    "\uff41dmin.example.com",
    "admin\u3002example\u3002com",
    "admin\uff0eexample\uff0ecom",
    "ad\u00admin.example.com",
    "%61dmin.example.com",
    "admin%2eexample%2ecom",
    "ad\tmin.example.com",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.01",
    "017700000001",
    "127.0.0.1.",
    "[0:0:0:0:0:0:0:1]",
    "[::0001]",
    "[::0.0.0.1]",
    "[::1%25lo]",
]
BEFORE = [
    "",
    "user@",
    "other.example.com@",
    "other.example.com,",
    "other.example.com, ",
    " ",
    "\t",
    "other:80@",
    "a,b@",
]
AFTER = ["", ":80", ":443", ":", ".", ".:443", "..", ",other.example.com", " ", "\t", "\x00", "\x00.other.example.com"]
AFTER += [
    "/",
    "/x",
    "?x",
    "#x",
    "\\x",
    " other.example.com",
    "@other.example.com",
    ":80@other.example.com",
    "%00",
    "\r\n",
]
HARMLESS = [
    "example.com",
    "administrator.example.com",
    "admin.example.com.evil.test",
    "notadmin.example.com",
    "10.0.0.1",
]
HARMLESS += ["admin-example.com", "[::2]", "orders.example.com:8443", "127.0.0.1.example.com", "0x7f.example.com"]


@cache
def journey(patterns: tuple[str, ...], paths: tuple[str, ...] = ()) -> Journey | None:
    """All hosts and paths are allowed but these; None if such a deny can't be written."""
    words = ({"hosts": patterns} if patterns else {}) | ({"paths": paths} if paths else {})
    spec = {"authentication": {"optional": True}, "deny": [{"to": [words]}], "rules": [{"role": "anonymous"}]}
    whole = {"apiVersion": "security.example.com/v1", "kind": "AuthPolicy", "metadata": {"name": "a"}, "spec": spec}
    try:
        return Journey(load([PolicyText("a.yaml", json.dumps(whole))], PolicySettings(), 1))
    except PolicyError:
        return None


def passes(host: str, headers: dict[str, str] | None = None) -> bool:
    """Whether a request for a host passes the deny."""
    found = journey(tuple(PATTERNS))
    assert found is not None
    return found.answer(check_request(host=host, headers=headers)).status.code == 0


def is_denied(host: str) -> bool:
    """Whether a host is one of those that the deny means."""
    return host in DENIED or host.endswith(".admin.example.com")


def assert_nobody_is_fooled(authority: str) -> None:
    """Fail if the authority passes and somebody reads a denied host in it."""
    if any(is_denied(read(authority)) for read in READERS):
        assert not passes(authority), authority


# ------------------------------------------------------------------------------------------------------------ the tests


def test_no_spelling_of_a_denied_host_passes() -> None:
    """Before, after and inside the name."""
    tricks = [f"{before}{name}{after}" for before, name, after in product(BEFORE, SPELLINGS, AFTER)]
    assert sum(any(is_denied(read(trick)) for read in READERS) for trick in tricks) > 2000
    for trick in tricks:
        assert_nobody_is_fooled(trick)


@given(st.lists(st.sampled_from([*BEFORE, *SPELLINGS, *AFTER, "example.com", "."]), max_size=5).map("".join))
@settings(max_examples=1500)
def test_no_mixture_of_tricks_passes(authority: str) -> None:
    """What nobody thought of."""
    assert_nobody_is_fooled(authority)


@pytest.mark.parametrize("host", HARMLESS)
def test_other_hosts_pass(host: str) -> None:
    """A check that refuses everything would pass the tests above."""
    assert passes(host)


@pytest.mark.parametrize("host", ["admin.example.com", "ADMIN.example.com.:443"])
def test_no_other_header_names_the_host(host: str) -> None:
    """A Host header that differs from :authority is refused, in whichever of the two the denied host stands; headers for
    proxies mean nothing.
    """
    assert not passes("orders.example.com", {"host": host})
    assert not passes(host, {"host": "orders.example.com"})
    assert not passes(host, {"x-forwarded-host": "orders.example.com", "forwarded": "host=orders.example.com"})
    assert passes("orders.example.com", {"x-forwarded-host": host, "x-original-host": host})


def test_tricks_are_refused_as_no_host() -> None:
    """The reason says so."""
    found = journey(tuple(PATTERNS))
    assert found is not None
    for host in (
        "127.1",
        "user@admin.example.com",
        "admin.example.com,x",
        "admin%2eexample.com",
        "ad\u00admin.example.com",
    ):
        assert reason_of(found.answer(check_request(host=host))) == "host-invalid"


# ------------------------------------------------------------------------------------------------------ the public data


def vectors() -> list[tuple[str, str, str, str]]:
    """Authority and path of each http URL of the public data as written, and host and path as the standard reads them."""
    found = []
    for case in json.loads(VECTORS.read_text()):
        if isinstance(case, dict) and case.get("protocol") in ("http:", "https:"):
            written = re.fullmatch(r"\s*https?:[/\\]{2}([^/?#\\]*)(.*?)\s*", case["input"], re.DOTALL | re.IGNORECASE)
            if written and written[1]:
                found.append((written[1], written[2], case["hostname"], case["pathname"]))
    return found


def test_what_the_url_standard_reads_as_a_denied_host_or_path_does_not_pass() -> None:
    """For every http URL of its data, with a deny for what it reads there."""
    tried = 0
    for authority, written, host, path in vectors():
        target = written if written.startswith("/") else f"/{written}"
        for deny, message in (
            (journey((host,)), check_request(host=authority, path="/x")),
            (journey((), (path,)), check_request(path=target)),
            (journey((host,), (path,)), check_request(host=authority, path=target)),
        ):
            if deny is not None:
                tried += 1
                assert deny.answer(message).status.code != 0, (authority, target)
    assert tried > 200


def test_our_whatwg_reader_reads_hosts_as_the_public_data_says() -> None:
    """All that are names or IPv4 addresses in ASCII; IDNA has tables of its own."""
    asked = [(raw, host) for raw, _, host, _ in vectors() if raw.isascii() and "xn--" not in host and "[" not in raw]
    assert len(asked) > 50
    assert [(raw, whatwg(raw), host) for raw, host in asked if whatwg(raw) != host.removesuffix(".")] == []
