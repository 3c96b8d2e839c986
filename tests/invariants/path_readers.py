"""How others read a path: proxies, servers and standards, each written down from its documentation or its source.

A reader takes the path as it stands on the wire and gives the path that it serves. None of them uses code of ours: what
they say is what our own reading is measured against.

``Reader.not_for`` names the settings of ``request`` that a reader is no upstream for. A setting that accepts something is
a statement of the operator about the upstream, and the other readers are then not meant:

- ``normalize: true`` says that dot segments and ``//`` are resolved behind the check. Who serves them as they stand would
  serve another path, and so is no such upstream.
- ``encodedSlash: accept`` says that ``%2F`` stays a part of its segment. Who makes a slash of it is no such upstream.
- ``doubleEncoding: accept`` says that paths are decoded once. Who decodes twice is no such upstream.
- ``pathParameters: accept`` says that ``;x`` is cut off. Who keeps it serves another segment, which a deny does not name; but
  such readers never find more below a path than those that cut, so none is left out.

A reader that no setting excuses must agree under all of them. Two kinds are not here. Whoever decodes a target before
looking for ``?`` and ``#`` does what RFC 3986 (section 2.4) forbids, and to refuse ``%3F`` would refuse honest names. Windows' file names (``admin.`` and ``admin%20`` are
``admin``) and Unicode folding (``\uff41dmin``) come after routing, in the file system: who serves files from one of these needs
rules that name what may be read instead of what may not.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["READERS", "Reader", "envoy", "path_of", "whatwg"]

Read = Callable[[str], str | None]
"""None: the reader answers with an error."""

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_WIDE_ESCAPE = re.compile(r"%u([0-9A-Fa-f]{4})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True)
class Reader:
    """Somebody who reads paths."""

    name: str
    read: Read
    not_for: frozenset[str] = frozenset()


# --------------------------------------------------------------------------------------------------------- the pieces


def decoded(path: str) -> str:
    """Percent-decoding, once, all of it. One character stands for one byte, so that decoding again is possible."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), path)


def decoded_but_slashes(path: str) -> str:
    """The same with ``%2F`` left as it is."""
    return _ESCAPE.sub(lambda found: found[0] if found[1].upper() == "2F" else chr(int(found[1], 16)), path)


def unreserved_decoded(path: str) -> str:
    """RFC 3986 section 6.2.2.2: only escapes of unreserved characters are taken away."""
    return _ESCAPE.sub(lambda found: char if (char := chr(int(found[1], 16))) in _UNRESERVED else found[0], path)


def without_dot_segments(path: str) -> str:
    """RFC 3986 section 5.2.4, letter by letter. Slashes are not merged: ``..`` takes an empty segment away."""
    output: list[str] = []
    while path:
        if path.startswith("../"):
            path = path[3:]
        elif path.startswith("./"):
            path = path[2:]
        elif path.startswith("/./") or path == "/.":
            path = "/" + path[3:]
        elif path.startswith("/../") or path == "/..":
            path = "/" + path[4:]
            del output[-1:]
        elif path in (".", ".."):
            path = ""
        else:
            end = path.find("/", 1)
            end = len(path) if end < 0 else end
            output.append(path[:end])
            path = path[end:]
    return "".join(output)


def merged(path: str) -> str:
    """``//`` and longer runs as one slash."""
    return re.sub("/+", "/", path)


def without_parameters(path: str) -> str:
    """A servlet's path: what follows ``;`` in a segment is cut off."""
    return re.sub(";[^/]*", "", path)


def lenient(path: str) -> str:
    """Decoding as old servers did: overlong UTF-8 and ``%uXXXX`` give the character that they stand for."""
    path = decoded(_WIDE_ESCAPE.sub(lambda found: chr(int(found[1], 16) & 0xFF), path))
    path = re.sub(
        "[\xc0\xc1]([\x80-\xbf])", lambda found: chr(ord(found[1]) & 0x3F | (ord(found[0][0]) & 1) << 6), path
    )
    return re.sub(
        "\xe0[\x80\x81]([\x80-\xbf])", lambda found: chr(ord(found[1]) & 0x3F | (ord(found[0][1]) & 1) << 6), path
    )


def path_of(target: str) -> str:
    """The path of a request target. It ends at ``?`` or ``#`` as they stand, before anything is decoded (RFC 3986, 2.4)."""
    return cut_at("?#", target)


def cut_at(chars: str, path: str) -> str:
    """What stands before the first of some characters."""
    return re.split(f"[{re.escape(chars)}]", path, maxsplit=1)[0]


# ----------------------------------------------------------------------------------------------------------- standards


def whatwg(path: str) -> str:
    """The path state of the URL Standard for http and https, tabs and line ends taken away as it does before."""
    path = re.sub(r"[\t\n\r]", "", path).replace("\\", "/")
    segments = path.removeprefix("/").split("/")
    result: list[str] = []
    for number, segment in enumerate(segments):
        plain = re.sub("%2e", ".", segment, flags=re.IGNORECASE)
        last = number == len(segments) - 1
        if plain == "..":
            del result[-1:]
        if plain in ("..", "."):
            result += [""] * last
        else:
            result.append(_percent_encoded(segment))
    return "/" + "/".join(result)


def _percent_encoded(segment: str) -> str:
    """Of the path percent-encode set."""
    return "".join(
        char if "!" <= char <= "~" and char not in '"#<>?^`{}' else "".join(f"%{byte:02X}" for byte in _bytes(char))
        for char in segment
    )


def _bytes(char: str) -> bytes:
    return char.encode("utf-8", "surrogatepass")


def rfc3986(path: str) -> str:
    """Syntax-based normalisation (section 6.2.2)."""
    return without_dot_segments(unreserved_decoded(path))


# ------------------------------------------------------------------------------------------------------------- servers


def envoy(path: str, *, unescape: bool = False, merge: bool = True) -> str | None:
    """``normalize_path``, with ``path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD`` or KEEP_UNCHANGED, and
    ``merge_slashes``: in this order. A literal ``..;x`` segment is resolved since 1.40 (CVE-2026-73551), an encoded one is not.
    """
    if re.search("[\x00-\x20#\x7f-\U0010ffff]|%00", path):
        return None
    if unescape:
        path = re.sub("%5c", r"\\", re.sub("%2f", "/", path, flags=re.IGNORECASE), flags=re.IGNORECASE)
    path = re.sub(r"(?<=/)(\.\.?);[^/]*", r"\1", path)
    path = without_dot_segments(unreserved_decoded(path.replace("\\", "/")))
    return merged(path) if merge else path


def nginx(path: str) -> str:
    """``ngx_http_parse_complex_uri``: decoded once, then slashes are merged and dots resolved."""
    return without_dot_segments(merged(decoded(path)))


def nginx_unmerged(path: str) -> str:
    """The same with ``merge_slashes off``."""
    return without_dot_segments(decoded(path))


def tomcat(path: str) -> str:
    """Parameters are cut off before decoding; ``encodedSolidusHandling="decode"``."""
    return without_dot_segments(merged(decoded(without_parameters(path))))


def tomcat_solidus(path: str) -> str:
    """``encodedSolidusHandling="passthrough"``."""
    return without_dot_segments(merged(decoded_but_slashes(without_parameters(path))))


def decoding_servlet(path: str) -> str:
    """Servers and frameworks that cut parameters off after decoding, so that ``%3B`` is one."""
    return without_dot_segments(merged(without_parameters(decoded(path))))


def iis(path: str) -> str:
    """A backslash is a slash, ``%5C`` too."""
    return without_dot_segments(merged(decoded(path).replace("\\", "/")))


def old(path: str) -> str:
    """Overlong UTF-8 and ``%u002e``, both slashes."""
    return without_dot_segments(merged(lenient(path).replace("\\", "/")))


def c_string(path: str) -> str:
    """The decoded path ends at NUL, or at a line's end."""
    return without_dot_segments(merged(cut_at("\0\r\n", decoded(path))))


def tab_eater(path: str) -> str:
    """Decoded, then given to a URL library that drops tabs and line ends."""
    return without_dot_segments(merged(re.sub("[\t\r\n]", "", decoded(path))))


def absolute(path: str) -> str:
    """Absolute-form (RFC 9112 section 3.2.2), and ``//host/path``, the network-path reference of RFC 3986."""
    return rfc3986(re.sub(r"\A(?:https?:)?//[^/?#]*", "", path, flags=re.IGNORECASE) or "/")


def twice(read: Read) -> Read:
    """Behind somebody who decodes and passes the decoded path on."""
    return lambda path: read(decoded(path))


def behind(front: Read, read: Read) -> Read:
    """What one reader makes of another one's path."""

    def both(path: str) -> str | None:
        passed = front(path)
        return None if passed is None else read(passed)

    return both


UNMERGED, SLASH, DOUBLE = "normalize", "encodedSlash", "doubleEncoding"


def _readers() -> Iterator[Reader]:
    """All of them, and those that may stand behind another one."""
    servers: list[tuple[str, Read, set[str]]] = [
        ("as it stands", lambda path: path, {UNMERGED}),
        ("unreserved decoded", unreserved_decoded, {UNMERGED}),
        ("decoded but slashes", decoded_but_slashes, {UNMERGED}),
        ("decoded", decoded, {UNMERGED, SLASH}),
        ("network-path reference", absolute, {UNMERGED}),
        ("RFC 3986", rfc3986, set()),
        ("WHATWG", whatwg, set()),
        ("Tomcat, passthrough", tomcat_solidus, set()),
        ("nginx", nginx, {SLASH}),
        ("nginx without merge_slashes", nginx_unmerged, {SLASH}),
        ("Tomcat", tomcat, {SLASH}),
        ("servlet that decodes first", decoding_servlet, {SLASH}),
        ("IIS", iis, {SLASH}),
        ("old server", old, {SLASH}),
        ("C strings", c_string, {SLASH}),
        ("tab eater", tab_eater, {SLASH}),
    ]
    envoys: list[tuple[str, Read, set[str]]] = [
        (
            f"Envoy{', UNESCAPE' * unescape}{', merge_slashes' * merge}",
            lambda path, unescape=unescape, merge=merge: envoy(path, unescape=unescape, merge=merge),  # type: ignore[misc]
            {SLASH} if unescape else set(),
        )
        for unescape in (False, True)
        for merge in (False, True)
    ]
    for name, read, not_for in servers + envoys:
        yield Reader(name, read, frozenset(not_for))
    for name, read, not_for in servers:
        yield Reader(f"{name}, twice", twice(read), frozenset(not_for | {SLASH, DOUBLE}))
        for front_name, front, front_not_for in envoys:
            resolved = (not_for - {UNMERGED}) if "merge_slashes" in front_name else not_for
            yield Reader(f"{name} behind {front_name}", behind(front, read), frozenset(resolved | front_not_for))


READERS = tuple(_readers())
