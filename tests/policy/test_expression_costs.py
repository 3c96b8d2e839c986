"""What an expression may cost: whatever a request holds, none that loads takes long or much memory."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.policy.expression import Condition, activation, read_condition
from extauthz.policy.regexes import pattern_parts, takes_pattern
from extauthz.policy.syntax import read_tree
from extauthz.policy.vocabulary import ENVIRONMENT


@pytest.mark.parametrize(
    "source",
    [
        "identity.roles.exists(r, r.lowerAscii() == request.host.lowerAscii())",
        "identity.roles.exists(r, claims.groups.exists(g, g.lowerAscii() == r.lowerAscii()))",
        "claims.groups.exists(g, g in identity.roles || g in identity.scopes)",
        "claims.paths.exists(p, request.url_path.startsWith(p))",
        "claims.a.exists(a, a in identity.roles) && claims.b.exists(b, b in identity.scopes)",
        "request.headers.x.split(',').exists(s, s.trim() == 'a')",
        "identity.roles.exists(r, r.split(':')[0] == 'tenant')",
        "['a', 'b'].exists(p, p in request.headers.x.split(','))",
        "identity.roles.map(r, 'role:' + r).join(',') == 'role:admin'",
        "'a,b'.split(',').map(x, x.upperAscii()) == ['A', 'B']",
        "request.host.replace('-', '--') == 'a'",
        "'%s/%s'.format([claims.a, claims.b]) == request.url_path",
        "request.url_path.matches('^/api/v[0-9]{1,3}/users/[^/]{1,64}$')",
        "identity.roles.exists(r, r.matches('^team-[a-z]{1,20}$'))",
        "claims.orders.sortBy(order, order.total).size() > 1",
    ],
)
def test_what_policies_need_is_taken(source: str) -> None:
    """A bound that refused these would be in the way."""
    assert isinstance(read_condition(source), Condition)


_LONG = "+".join("y" * 10)


@pytest.mark.parametrize(
    ("source", "token", "words"),
    [
        ("lists.range(100000000).size() == 1", "(", "'lists.range' is not offered"),
        ("claims.l.distinct() == []", "() ==", "'distinct' is not offered"),
        (f"[request.path].map(y, {_LONG}).map(y, {_LONG}).map(y, {_LONG}).map(y, {_LONG}) == []", "", "'_+_' here"),
        (f"optional.of(request.path){f'.optMap(y, {_LONG})' * 5}.hasValue()", "", "'_+_' here"),
        ("claims.s.all(x, request.headers.h.split('').size() == 1)", "('').size", "'split' here"),
        ("identity.roles.all(r, claims.l.sort() == [])", "() ==", "'sort' here"),
        ("claims.s.all(x, request.headers.h.replace('a', 'b') != x)", "('a'", "'replace' here"),
        ("claims.s.all(x, request.headers.h.matches('(a?){100}b'))", "('(a", "'matches' here"),
        ("claims.s.all(x, request.headers.h.matches(x))", "(x))", "'matches' here"),
        (f"request.headers.h.matches('{'(a?){1000}b' * 9}')", "('(a", "'matches' here"),
        ("request.headers.a.replace('a', request.headers.b) == ''", "('a'", "takes both texts only as literals"),
        ("request.path" + ".replace('a', 'aaaaaaaaaa')" * 7 + " == ''", "", "'replace' here"),
        ("request.path" + ".replace('', 'aaaaaaaaaaaaaaaaaaaa')" * 4 + " == ''", "", "'replace' here"),
        ("claims.l.join(request.headers.a) == ''", "(request", "takes the separator only as literals"),
        ("request.headers.f.format([1]) == ''", "([1]", "takes the format only as literals"),
        ("request.headers.x.split(',').map(s, s.trim()) == []", "(s, s", "ask with 'exists' or 'all'"),
        ("request.headers.x.split(',').filter(s, s != '') == []", "(s, s", "ask with 'exists' or 'all'"),
        ("request.path.split('/').all(s, s.split(',').map(t, t) == [])", "(t, t", "ask with 'exists' or 'all'"),
        ("request.path.split('/').reverse().sortBy(s, s) == []", "(s, s", "ask with 'exists' or 'all'"),
    ],
)
def test_what_could_take_long_is_refused_at_its_place(source: str, token: str, words: str) -> None:
    """Each of these takes seconds or gigabytes for a request that fits into Envoy's limits."""
    faults = read_condition(source)
    assert isinstance(faults, list)
    assert words in f"{faults[0].message} {faults[0].hint}"
    if token:
        assert faults[0].offset == source.index(token)


_HOSTILE = {
    "claims": {"few": [str(number % 10) for number in range(2000)], "many": [str(number) for number in range(2000)]},
    "request.headers": {"a": "a" * 30_000, "c": "," * 15_000, "n": "\u00e9" * 5_000},
    "request.path": "/" + "a" * 30_000,
    "identity.roles": [f"role{number}" for number in range(100)],
}
_TEXT = st.sampled_from(
    ["request.headers.a", "request.headers.c", "request.headers.n", "request.path", "'a,b'", "x", "y"]
)
_VALUES = st.recursive(
    _TEXT,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} + {pair[1]})"),
        st.tuples(
            inner,
            st.sampled_from(
                [
                    ".lowerAscii()",
                    ".trim()",
                    ".split(',')[0]",
                    ".split('').size()",
                    ".replace('a', 'bb')",
                    ".replace('', 'b')",
                    ".split(',').sort().join('--')",
                    ".split(',').map(y, y + x).join(',')",
                    ".split(',').exists(y, y == x)",
                    ".matches('(a?){50}b')",
                    ".contains('aaab')",
                ]
            ),
        ).map("".join),
        inner.map(lambda text: f"claims.many.map(y, {text}).size()"),
        inner.map(lambda text: f"'%s %s'.format([{text}, x])"),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(value=_VALUES, outer=st.sampled_from(["claims.few", "identity.roles", "request.headers.c.split(',')", "['a']"]))
def test_whatever_loads_ends_soon_for_a_hostile_request(value: str, outer: str) -> None:
    """Texts of 30 kB, lists of thousands, loops in loops: refused, or done within bounds. CPU counts, not waiting."""
    condition = read_condition(f"{outer}.all(x, ['b'].all(y, {value} != 7))")
    if isinstance(condition, Condition):
        bound = activation(_HOSTILE)
        begin = time.process_time()
        condition.holds(bound)
        assert time.process_time() - begin < 5


def test_loops_share_the_rounds_of_the_evaluator() -> None:
    """The model counts on it: 10,000 rounds are all that the loops of one evaluation have together."""
    program = ENVIRONMENT.compile("claims.a.all(x, true) && claims.a.all(x, true)")
    assert program.eval(activation({"claims": {"a": [0] * 4_900}})).value() is True
    with pytest.raises(RuntimeError, match="Iteration budget"):
        program.eval(activation({"claims": {"a": [0] * 5_100}}))


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("", 0),
        ("^/api/v[0-9]+$", 10),
        ("a{3}", 3),
        ("(ab){10}", 30),
        ("(?:a{10}){10}", 110),
        ("(a?){1000}b", 3001),
        (r"\{3\}[{3}]{2}", 5),
        ("[]{9}]{2}", 2),
        ("(?P<name>a){2,5}", 10),
    ],
)
def test_counted_repetitions_are_written_out(pattern: str, parts: int) -> None:
    """A group counts one more than what is in it, and a range its greater end."""
    assert takes_pattern(pattern)
    assert pattern_parts(pattern) == parts


@given(st.text(alphabet="ab(){},0123456789[]\\?*+|^$", max_size=30))
def test_any_text_has_a_number_of_parts(text: str) -> None:
    """It need not be a regular expression that RE2 takes, and is never worth less than its counted repetitions."""
    counts = [int(count) for count in re.findall(r"\A\w\{(\d{1,4})\}\Z", text)]
    assert pattern_parts(text) >= max(counts, default=0)


@given(st.binary(max_size=60))
def test_an_unknown_form_of_a_compiled_expression_is_an_error(data: bytes) -> None:
    """Never a guess: the loader refuses what it can't read."""
    whole = ENVIRONMENT.compile("claims.a.exists(x, x == 'é')").serialize()
    read_tree(whole)
    for broken in (data, whole[: len(whole) // 2] + data, whole[:-1]):
        if broken == whole:
            continue
        with pytest.raises(ValueError, match=r"."):
            read_tree(broken)
