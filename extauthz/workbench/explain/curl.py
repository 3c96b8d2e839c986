"""A curl command line, read as the request that curl would send. Nothing is sent, and no file is read.

People have such a line already: from a shell's history, from a browser ("copy as cURL"), from a bug report. What changes
the request is understood as curl(1) documents it; what only changes how curl behaves is known and passed over; whatever
is not known is told, since a guess could be about another request.

As curl does, dot segments of the path are resolved before it is sent, unless ``--path-as-is`` stands there: a request for
``/a/../b`` never leaves curl, however often one sees it typed.
"""

import base64
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from extauthz.errors import ExtAuthzError
from extauthz.workbench.explain.address import Address, read_address

__all__ = ["CurlRequest", "read_curl"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHORT = dict(
    word.split("=")
    for word in _words("""
        X=request H=header d=data b=cookie u=user A=user-agent e=referer G=get I=head T=upload-file F=form r=range
        o=output w=write-out m=max-time x=proxy c=cookie-jar D=dump-header E=cert y=speed-time Y=speed-limit C=continue-at
        k=insecure s=silent S=show-error L=location v=verbose i=include f=fail g=globoff N=no-buffer q=disable O=remote-name
        #=progress-bar Z=parallel J=remote-header-name 4=ipv4 6=ipv6 0=http1.0 a=append p=proxytunnel""")
)
_BODIES = _words("data data-raw data-binary data-ascii data-urlencode json")
_MEANT = _BODIES | _words("""
    request header cookie user user-agent referer upload-file range url form form-string oauth2-bearer url-query""")
"""Options with an argument that change the request."""
_PASSED_OVER = _words("""
    output write-out max-time proxy cookie-jar dump-header cert key cacert capath cert-type key-type pass connect-timeout
    resolve connect-to retry retry-delay retry-max-time interface unix-socket abstract-unix-socket speed-time speed-limit
    limit-rate ciphers tls-max trace trace-ascii stderr noproxy proxy-user proxy-header output-dir max-redirs
    keepalive-time dns-servers doh-url expect100-timeout local-port rate continue-at""")
"""Options with an argument that change only how curl goes about it."""
_FLAGS = _words("""
    insecure silent show-error location location-trusted verbose include fail fail-with-body globoff no-buffer disable
    progress-bar remote-name remote-name-all parallel remote-header-name ipv4 ipv6 append proxytunnel no-progress-meter
    compressed-ssh tlsv1 tlsv1.0 tlsv1.1 tlsv1.2 tlsv1.3 tcp-nodelay tcp-fastopen no-keepalive no-alpn raw
    retry-all-errors retry-connrefused create-dirs junk-session-cookies post301 post302 post303 ssl-reqd trace-time""")
_PROTOCOLS = {
    "http1.0": "HTTP/1.0",
    "http1.1": "HTTP/1.1",
    "http2": "HTTP/2",
    "http2-prior-knowledge": "HTTP/2",
    "http3": "HTTP/3",
    "http3-only": "HTTP/3",
}
_ANSI_C = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
"""What browsers quote with if there is a control character or a quote inside."""


@dataclass(frozen=True, slots=True)
class CurlRequest:
    """What curl would send."""

    method: str
    address: Address
    protocol: str
    headers: tuple[tuple[str, str], ...]
    """In lower case, in order; ``Host`` is in the address."""


@dataclass
class _Line:
    """What was read so far."""

    method: str = ""
    urls: list[str] = field(default_factory=list)
    protocol: str = "HTTP/2"
    written: list[str] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    query: list[str] = field(default_factory=list)
    implied: dict[str, str] = field(default_factory=lambda: {"user-agent": "curl", "accept": "*/*"})
    get: bool = False
    as_is: bool = False
    default: str = ""
    """The method that an option implies."""


def read_curl(line: str) -> CurlRequest:
    """The request of a curl command line; the word ``curl`` may be missing.

    Raises:
        ExtAuthzError: It is no curl command line, or holds something that is not known here.
    """
    try:
        words = shlex.split(_ANSI_C.sub(_unescaped, line.replace("\\\n", " ").replace("\\\r\n", " ")))
    except ValueError as error:
        raise ExtAuthzError(f"the curl line can't be read: {str(error).lower()}") from None
    read = _Line()
    rest = iter(words[1:] if words[:1] == ["curl"] else words)
    for word in rest:
        if word == "--":
            read.urls += rest
        elif word.startswith("--"):
            _option(read, word[2:], word, rest)
        elif word.startswith("-") and word != "-":
            _short_options(read, word[1:], rest)
        else:
            read.urls.append(word)
    return _request(read)


def _short_options(read: _Line, letters: str, rest: Iterator[str]) -> None:
    """Letters in a row; the argument of one may follow at once."""
    for place, letter in enumerate(letters):
        name = _SHORT.get(letter, "")
        if name in _MEANT or name in _PASSED_OVER:
            argument = letters[place + 1 :]
            _option(read, name, f"-{letter}", iter((argument,)) if argument else rest)
            return
        _option(read, name, f"-{letter}", rest)


def _option(read: _Line, name: str, spelled: str, rest: Iterator[str]) -> None:
    if name in _FLAGS:
        return
    if name in _PROTOCOLS:
        read.protocol = _PROTOCOLS[name]
    elif name == "get":
        read.get = True
    elif name == "head":
        read.default = "HEAD"
    elif name == "path-as-is":
        read.as_is = True
    elif name == "compressed":
        read.implied["accept-encoding"] = "deflate, gzip, br, zstd"
    elif name in _MEANT or name in _PASSED_OVER:
        argument = next(rest, None)
        if argument is None:
            raise ExtAuthzError(f"the curl option {spelled} has no argument")
        if name in _MEANT:
            _take(read, name, argument)
    else:
        raise ExtAuthzError(f"the curl option {spelled} is not known here; leave it out if it does not matter")


def _take(read: _Line, name: str, argument: str) -> None:
    if name in _HEADERS:
        header, write = _HEADERS[name]
        read.implied[header] = write(argument)
        return
    match name:
        case "request":
            read.method = argument
        case "url":
            read.urls.append(argument)
        case "header":
            read.written.append(_from_no_file(argument, "headers"))
        case "cookie":
            read.cookies.append(_from_no_file(argument if "=" in argument else f"@{argument}", "cookies"))
        case "upload-file":
            read.default = "PUT"
        case "url-query":
            read.query.append(_urlencoded(argument))
        case "form" | "form-string":
            read.default = "POST"
            read.implied["content-type"] = "multipart/form-data; boundary=curl"
        case _:
            read.data.append(_urlencoded(argument) if name == "data-urlencode" else argument)
            if name == "json":
                read.implied |= {"content-type": "application/json", "accept": "application/json"}
            read.implied.setdefault("content-type", "application/x-www-form-urlencoded")


def _request(read: _Line) -> CurlRequest:
    if len(read.urls) != 1:
        told = "no URL" if not read.urls else f"{len(read.urls)} URLs; explain one request at a time"
        raise ExtAuthzError(f"the curl line has {told}")
    query = list(read.query)
    if read.get:
        query += [_from_no_file(data, "its query") for data in read.data]
        read.implied.pop("content-type", None)
    address = read_address(read.urls[0], resolve=not read.as_is).with_query(query)
    if address.user:
        read.implied.setdefault("authorization", _basic(address.user))
    if read.cookies:
        read.implied["cookie"] = "; ".join(read.cookies)
    headers, host = _headers(read)
    method = read.method or read.default or ("POST" if read.data and not read.get else "GET")
    protocol = read.protocol if address.scheme == "https" else "HTTP/1.1"
    return CurlRequest(method, address.with_host(host) if host else address, protocol, tuple(headers))


def _headers(read: _Line) -> tuple[list[tuple[str, str]], str]:
    """The headers, and the host if one of them says it. What is written replaces what curl would send by itself, and
    takes it away if there is nothing behind the colon.
    """
    headers, host = list(read.implied.items()), ""
    for written in read.written:
        name, colon, value = written.partition(":")
        if not colon and not written.endswith(";"):
            raise ExtAuthzError("a header of the curl line has no colon")
        name, value = name.removesuffix(";").strip().lower(), value.strip()
        if name in read.implied:
            headers = [header for header in headers if header[0] != name]
        if name == "host" and value:
            host = value
        elif value or not colon:
            headers.append((name, value))
    return headers, host


def _from_no_file(argument: str, what: str) -> str:
    if argument.startswith("@"):
        raise ExtAuthzError(f"the curl line takes {what} from a file, which is not read; write them out")
    return argument


def _basic(user: str) -> str:
    if ":" not in user:
        raise ExtAuthzError("the curl line has a user without password: curl would ask for it, and so can't we")
    return "Basic " + base64.b64encode(user.encode()).decode()


def _urlencoded(argument: str) -> str:
    """``content``, ``=content`` or ``name=content``, as curl encodes it; ``@file`` and ``name@file`` name a file."""
    name, equals, content = argument.partition("=")
    if not equals:
        _, at, file = argument.partition("@")
        return at + file if at else quote_plus(argument)
    return f"{name}={quote_plus(content)}" if name else quote_plus(content)


def _unescaped(match: re.Match[str]) -> str:
    """An ANSI-C quoted text, quoted plainly."""
    try:
        return shlex.quote(match[1].encode("latin-1", "backslashreplace").decode("unicode_escape"))
    except UnicodeDecodeError:
        return match[0]


_HEADERS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "user": ("authorization", _basic),
    "oauth2-bearer": ("authorization", "Bearer {}".format),
    "user-agent": ("user-agent", str),
    "referer": ("referer", lambda argument: argument.removesuffix(";auto")),
    "range": ("range", "bytes={}".format),
}
"""Options that stand for a header."""
