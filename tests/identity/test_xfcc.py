"""``x-forwarded-client-cert`` is read as Envoy writes it, or refused."""

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.identity.xfcc import XfccElement, XfccError, read_xfcc
from extauthz.wire import decode

# ------------------------------------------------------------------------------------------------- a writer like Envoy's

SPECIAL = set(',;="\\ \t')


def written(value: str, *, quoted: bool = False) -> str:
    """A value as Envoy's documentation says: in quotes if it needs them."""
    return f'"{value}"' if quoted or SPECIAL & set(value) else value


def element(*pairs: tuple[str, str]) -> str:
    return ";".join(f"{key}={written(value, quoted=key == 'Subject')}" for key, value in pairs)


words = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc", "Cs"]), max_size=12)
escaped = st.lists(words | st.sampled_from(['\\"', "\\,", "\\\\", "\\;"]), max_size=5).map("".join)
plain = st.text(st.sampled_from("abcXYZ019:/.-_%+"), min_size=1, max_size=20)
noise = st.tuples(st.sampled_from(["By", "Hash", "Cert", "Chain", "X-New"]), escaped)


@st.composite
def elements(draw: st.DrawFn) -> tuple[str, XfccElement]:
    """An element as it is written, and what it says."""
    uri, dns = draw(st.just("") | plain), draw(st.lists(plain, max_size=3))
    subject = draw(st.none() | escaped)
    pairs = [("URI", uri), *(("DNS", name) for name in dns), *draw(st.lists(noise, max_size=3))]
    if subject is not None:
        pairs.append(("Subject", subject))
    pairs = draw(st.permutations(pairs))
    names = [name for key, name in pairs if key == "DNS"]
    return element(*pairs), XfccElement(uri, tuple(names), subject or "")


@given(st.lists(elements(), min_size=1, max_size=5))
def test_what_a_proxy_wrote_is_what_is_read(chain: list[tuple[str, XfccElement]]) -> None:
    """E32: quotes, escapes, commas and semicolons in values change nothing, nor do keys that are not known."""
    assert read_xfcc(",".join(text for text, _ in chain)) == tuple(meant for _, meant in chain)
    assert read_xfcc(", ".join(text.replace("URI=", "uri=") for text, _ in chain))[-1] == chain[-1][1]


@given(st.text(alphabet='Bby=URIsubject,;"\\ xé\0', max_size=60))
def test_garbage_is_refused_and_never_raises_anything_else(text: str) -> None:
    """Whatever is read has at least one element; the rest is an ``XfccError``."""
    with contextlib.suppress(XfccError):
        assert read_xfcc(text)


def test_the_chain_of_a_real_envoy_is_read(captures: dict[str, bytes]) -> None:
    """E32: the element of the nearest proxy is the last."""
    http = decode(captures["istio_shaped_custom_policy"]).http
    assert http is not None
    [value] = http.headers["x-forwarded-client-cert"]
    assert read_xfcc(value) == (
        XfccElement("spiffe://cluster.local/ns/edge/sa/ingress"),
        XfccElement("spiffe://cluster.local/ns/default/sa/client", ("client.example.com",), "O=Lab"),
    )


def test_a_subject_has_the_text_of_the_principal(captures: dict[str, bytes]) -> None:
    """Envoy puts the very text of ``source.principal`` between the quotes, with its backslashes."""
    principal = decode(captures["mtls_subject_only"]).source.principal
    assert principal == 'O=Lab \\"Q\\",CN=alice\\, admin'
    assert read_xfcc(f'Hash=00;Subject="{principal}";URI=')[0].principal == principal


@pytest.mark.parametrize(
    ("text", "principal"),
    [
        ('URI=spiffe://a/b;DNS=c;Subject="CN=d"', "spiffe://a/b"),
        ('URI=;DNS=c;DNS=d;Subject="CN=d"', "c"),
        ('URI="";Subject="CN=d"', "CN=d"),
        ("Hash=00;By=spiffe://a/b", ""),
        ("By=http://a;By=http://b;URI=x", "x"),
        ("SAN=spiffe://a/b", ""),
    ],
)
def test_the_principal_is_the_one_that_envoy_would_tell(text: str, principal: str) -> None:
    """URI, else the first DNS name, else the subject; ``By`` is the proxy itself."""
    assert read_xfcc(text)[0].principal == principal


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        ";",
        "URI",
        "=x",
        "URI=a,",
        ",URI=a",
        "URI=a,,URI=b",
        "URI=a;",
        "URI=a;;DNS=b",
        'URI="a',
        'URI=a"',
        'URI="a"b',
        'URI="a" b',
        'URI="a\\"',
        "URI =a",
        "U RI=a",
        'Subject="CN=a";URI=b",URI=c',
        "URI=a;URI=b",
        "URI=;URI=b",
        "URI=a;uri=a",
        'Subject="a";Subject="b"',
        "URI=" + "a" * 32_768,
        ",".join(["URI=a"] * 17),
    ],
)
def test_anything_malformed_or_double_is_refused(text: str) -> None:
    """E32: nothing is repaired, and two URIs are nobody; the text is never told."""
    with pytest.raises(XfccError) as caught:
        read_xfcc(text)
    assert "a" * 5 not in str(caught.value)


def test_a_quote_that_the_client_left_open_swallows_nothing() -> None:
    """P27: what a proxy appended after a forged beginning is read as it was meant, or the header is refused."""
    appended = 'By=spiffe://td/gw;Hash=00;Subject="CN=mallory";URI=spiffe://td/mallory'
    forged: Sequence[str] = ('URI=spiffe://td/admin;Subject="', 'URI=spiffe://td/admin;X="\\', '"', 'X="a"b', 'X="\\"')
    for beginning in forged:
        with pytest.raises(XfccError):
            read_xfcc(f"{beginning},{appended}")
    assert read_xfcc(f'URI=spiffe://td/admin;Subject="a,b",{appended}')[-1].uri == "spiffe://td/mallory"
