"""What a tool asks is what a proxy would have asked: written and read, nothing is lost."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.model import AttributeContext, HttpAttributes, Peer
from extauthz.wire import decode, encode_check

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("*.binpb"))

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PEERS = st.builds(Peer, TEXT, st.integers(0, 65535), TEXT, TEXT)
NAMES = st.text("abc-", min_size=1, max_size=5)
HTTP = st.builds(
    HttpAttributes,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    st.dictionaries(NAMES, st.tuples(TEXT), max_size=3),
)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_a_real_request_is_asked_as_it_was(capture: Path) -> None:
    """But for raw headers and times below a nanosecond, which are sent in the other form."""
    sent = decode(capture.read_bytes())
    assert not sent.fault
    again = decode(encode_check(sent))
    assert (again.http is None) is (sent.http is None)
    if again.http is not None and sent.http is not None:
        written, read = sent.http.headers.items(), again.http.headers.items()
        assert {name: ",".join(values) for name, values in written} == {name: ",".join(each) for name, each in read}
    assert (again.source, again.destination, again.context, again.sni) == (
        sent.source,
        sent.destination,
        sent.context,
        sent.sni,
    )
    assert again.time == pytest.approx(sent.time)


@given(
    st.builds(
        AttributeContext,
        PEERS,
        PEERS,
        st.integers(0, 10**9).map(float),
        HTTP | st.none(),
        TEXT,
        st.dictionaries(TEXT, TEXT, max_size=3),
    )
)
def test_what_is_written_is_read(sent: AttributeContext) -> None:
    """Whatever it is."""
    assert decode(encode_check(sent)) == sent
