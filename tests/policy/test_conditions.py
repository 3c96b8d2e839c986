"""Conditions in CEL: what they can name, what happens when they have no value, and the evaluator's traps."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from cel_expr_python import cel
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.model import Allow, Deny, Identity, Peer, Reason, Request
from extauthz.policy import Snapshot
from extauthz.policy import facts as facts_module
from extauthz.policy.costs import MAX_LOOPS
from extauthz.policy.expression import (
    MAX_LENGTH,
    NAMES,
    Condition,
    HeaderValue,
    activation,
    read_condition,
    read_header_value,
)
from extauthz.policy.facts import Facts

Decide = Callable[..., Allow | Deny]
MakeRequest = Callable[..., Request]
MakeIdentity = Callable[..., Identity]


def holds(source: str, request: Request, identity: Identity | None) -> bool | None:
    condition = read_condition(source)
    assert isinstance(condition, Condition), condition
    return condition.holds(Facts(request, identity, condition.needs, fold=False).bound)


@pytest.mark.parametrize(
    "source",
    [
        'request.method == "POST"',
        'request.path == "/orders?a=1&b=2&a=%33"',
        'request.url_path == "/orders"',
        'request.host == "orders.example.com"',
        'request.scheme == "https"',
        'request.headers["x-tenant"] == "acme"',
        'request.headers["x-many"] == "1,2"',
        'request.query == {"a": ["1", "3"], "b": ["2"]}',
        'request.query["b"][0] == "2"',
        'request.time == timestamp("2026-09-21T13:46:40Z")',
        'request.id == "c0ffee"',
        'source.address == "10.1.2.3"',
        'source.principal == "spiffe://t/a"',
        'destination.address == "10.9.9.9"',
        'destination.principal == "spiffe://t/b"',
        'identity.subject == "alice"',
        'identity.issuer == "https://login.example.com/"',
        'identity.provider == "corporate"',
        'identity.roles == ["admin", "user"]',
        '"user" in identity.roles',
        'identity.scopes == ["read", "write"]',
        'identity.scopes.exists(scope, scope.startsWith("wr"))',
        'claims.tenant == request.headers["x-tenant"]',
        "claims.nested.list[1].deep == 2.5",
        "claims.flag == true && claims.nothing == null",
        'context.app == "orders" && context["app"].size() == 6',
        "has(claims.tenant) && !has(claims.missing)",
        'claims.?tenant.orValue("") == "acme" && claims.?missing.orValue("") == ""',
        'request.headers[?"x-tenant"].orValue("") == "acme" && !request.headers.?missing.hasValue()',
        "claims.?nested.?list[?0].orValue(0) == 1",
        'claims.?tenant.optMap(tenant, tenant.upperAscii()).orValue("") == "ACME"',
        'request.headers["x-many"].split(",").exists(many, many.trim() == "2")',
        'request.url_path.replace("/", "").substring(0, 3) == "ord"',
        'identity.scopes.join(" ") == "read write" && "%s-%d".format(["a", 1]) == "a-1"',
        'identity.roles.sort() == ["admin", "user"] && identity.roles.reverse()[0] == "user"',
        'identity.roles.sortBy(role, role).first().orValue("") == "admin" && [[1], [2]].flatten() == [1, 2]',
        "math.greatest(1, 2) == 2 && math.abs(-1) == 1",
        'inCidr(source.address, "10.0.0.0/8") && !inCidr(source.address, "10.1.2.4")',
        '["192.168.0.0/16", "10.0.0.0/8"].exists(block, inCidr(source.address, block))',
        'request.method.matches("^P(OST|UT)$")',
    ],
)
def test_every_name_of_the_design_can_be_asked(
    source: str, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """The names and types are those of docs/policies.md."""
    request = make_request(
        method="POST",
        query="a=1&b=2&a=%33",
        time=datetime(2026, 9, 21, 13, 46, 40, tzinfo=UTC).timestamp(),
        headers={"x-tenant": ("acme",), "x-many": ("1", "2")},
        source=Peer("10.1.2.3", 1, "spiffe://t/a"),
        destination=Peer("10.9.9.9", 2, "spiffe://t/b"),
        context={"app": "orders"},
    )
    claims = {"tenant": "acme", "nested": {"list": (1, {"deep": 2.5})}, "flag": True, "nothing": None}
    caller = make_identity("user", "admin", scopes=("read", "write"), claims=claims)
    assert holds(source, request, caller) is True


def test_each_declared_name_has_a_value_to_bind() -> None:
    """No name is declared that nothing could ever fill."""
    assert facts_module._READERS.keys() == NAMES.keys()


@pytest.mark.parametrize(
    ("source", "offset", "message", "hint"),
    [
        ("request.foo == 1", 7, "unknown name 'request.foo'", "request.method"),
        ("request.body == 'x'", 7, "unknown name 'request.body'", "request.method"),
        ("identity.subjet == 'x'", 8, "unknown name 'identity.subjet'", "identity.subject"),
        ("request == 1", 0, "unknown name 'request'", "request.method"),
        ("claim.x == 1", 5, "unknown name 'claim.x'", "did you mean 'claims'?"),
        ("headers.x == 1", 7, "unknown name 'headers.x'", "did you mean 'request.headers'?"),
        ("jwt == 1", 0, "unknown name 'jwt'", "known are: request, source"),
        ("lower(request.host) == 'x'", 5, "unknown function 'lower'", ""),
        ("true && 'é' == request.host && 1 + 'a' == 2", 33, "no matching overload", ""),
        ("request.method == 1", 15, "no matching overload", ""),
        ("request.method", 0, "of type string", ""),
        ("claims.admin", 0, "of type dyn", "claims.admin == true"),
        ("1 +", 3, "not valid CEL", ""),
        ("", 0, "empty", ""),
        (" \n", 0, "empty", ""),
        ("request.host == 'a\0'", 18, "U+0000", ""),
        ("request.host.matches('(')", 21, "not a regular expression", ""),
        ('request.host.matches("""(""")', 21, "not a regular expression", ""),
        ("inCidr(source.address, '10.0.0.1/8')", 23, "has bits set beyond its mask: write '10.0.0.0/8'", ""),
        ("inCidr(source.address, 'x')", 23, "neither an address nor an address block", ""),
        ("inCidr(source.address, '::ffff:10.0.0.0/104')", 23, "would never match", ""),
        ("inCidr('10.0.0.1:80', '10.0.0.0/8')", 7, "'10.0.0.1:80' is not an address", ""),
        ("inCidr(source.address, 10)", 6, "no matching overload", ""),
        ("inCidr(source.address)", 6, "unknown function", "write inCidr(address, block)"),
        ("source.address.inCIDR('10.0.0.0/8')", 21, "unknown function", "write inCidr(address, block)"),
        ("claims.?admin", 0, "of type optional", "with .orValue(...)"),
        ("claims" + ".?a.optMap(x, x)" * 7 + " == 1", 0, "more than 6 of optMap", ""),
        ("'" + "a" * MAX_LENGTH + "' == ''", 0, "characters", ""),
        (
            " && ".join(["identity.roles.exists(r, r == 'x')"] * (MAX_LOOPS + 1)),
            21 + 38 * MAX_LOOPS,
            "more loops than 8",
            "",
        ),
        ("(" * 200 + "true" + ")" * 200, 0, "can't be compiled", ""),
        ("request.host == '\ud800'", 0, "can't be compiled", ""),
    ],
)
def test_a_wrong_condition_is_a_fault_at_its_place(source: str, offset: int, message: str, hint: str) -> None:
    """Undeclared names, type errors and syntax errors are found when the policy is loaded."""
    faults = read_condition(source)
    assert isinstance(faults, list)
    assert faults[0].offset == offset
    assert message in faults[0].message
    assert hint in faults[0].hint


def test_what_looks_like_a_wrong_pattern_inside_a_text_is_none() -> None:
    """Literals are taken from the compiled expression, not found in its text."""
    assert isinstance(read_condition("""request.host == "x.matches('(') inCidr('', '')" """), Condition)


def test_all_faults_of_an_expression_are_told() -> None:
    """Two unknown names on two lines are two faults."""
    faults = read_condition("foo == 1 &&\n  bar == 2")
    assert isinstance(faults, list)
    assert [fault.offset for fault in faults] == [0, 14]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("claims.missing == 1", None),
        ("claims.missing == 1 || true", True),
        ("claims.missing == 1 && false", False),
        ("claims.tenant && true", None),
        ("1 / 0 == 1", None),
        ("identity.roles[70] == 'x'", None),
        ("request.headers['no'] == 'x'", None),
        ("request.host.matches(claims.regex)", None),
        ("inCidr(claims.tenant, '10.0.0.0/8')", None),
        ("inCidr(source.address, claims.tenant)", None),
        ("inCidr(source.address, claims.missing)", None),
        ("inCidr(claims.numbers, '10.0.0.0/8')", None),
        ("inCidr(claims.tenant, '10.0.0.0/8') || true", True),
        ("claims.?tenant.value() == 'acme' && claims.?missing.value() == 'acme'", None),
        ("identity.roles.all(a, identity.roles.all(b, identity.roles.all(c, true)))", None),
        ("claims.huge == 1", None),
    ],
)
def test_an_error_is_no_value_and_is_absorbed_only_by_logic(
    source: str, expected: bool | None, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """`error || true` is true and `error && false` is false; any other error has no value."""
    claims = {"tenant": "acme", "regex": "(", "numbers": [1]} | ({"huge": 2**70} if "huge" in source else {})
    caller = make_identity(*(f"role{number}" for number in range(40)), claims=claims)
    assert holds(source, make_request(), caller) is expected


@pytest.mark.parametrize(
    "source",
    ["claims.missing == 1", "claims.tenant && true", "1 / 0 == 1", "!inCidr(claims.tenant, '10.0.0.0/8')"],
)
def test_a_condition_without_value_allows_nothing_and_denies_in_deny(
    source: str, decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """The reason is condition-error on both sides, with the policy and the rule."""
    caller = make_identity("user")
    allow = decide({"rules": [{"when": source}]}, make_request(), caller)
    deny = decide({"deny": [{"when": source}], "rules": [{}]}, make_request(), caller)
    for verdict, rule in ((allow, "rules[0]"), (deny, "deny[0]")):
        assert isinstance(verdict, Deny)
        assert (verdict.reason, verdict.policy, verdict.rule) == (Reason.CONDITION_ERROR, "only", rule)


def test_a_deny_with_a_false_condition_lets_pass(
    decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """A condition that is false is no error."""
    spec = {"deny": [{"when": "claims.tenant != 'acme'"}], "rules": [{}]}
    assert isinstance(decide(spec, make_request(), make_identity()), Allow)
    assert isinstance(decide(spec, make_request(), make_identity(claims={"tenant": "evil"})), Deny)


def test_an_error_is_told_without_the_values_in_it(
    decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """The evaluator's messages quote claims and headers; the detail has the status word alone."""
    caller = make_identity(claims={"tenant": "acme", "huge": 2**70})
    spec = {"rules": [{"when": "claims.huge == 1 || claims[request.headers['x-tenant']] == 1"}]}
    verdict = decide(spec, make_request(headers={"x-tenant": ("s3cret",)}), caller)
    assert isinstance(verdict, Deny)
    assert verdict.detail == "`when` gave no value but the error INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "source",
    [
        'source.principal != "spiffe://t/evil"',
        'destination.principal == ""',
        'identity.subject == request.headers["x-user"]',
        'identity.issuer != "x"',
        'identity.provider != "x"',
        'request.time > timestamp("1970-01-01T00:00:00Z")',
        'request.url_path == ""',
        'request.path == ""',
    ],
)
def test_what_is_absent_has_no_value(source: str, make_request: MakeRequest) -> None:
    """Neither a comparison with the empty string nor a negative one holds by emptiness."""
    request = make_request(headers={"x-user": ("",)}, time=0.0, path="", method="CONNECT", source=Peer("10.1.2.3"))
    assert holds(source, request, None) is None


def test_addresses_are_compared_in_one_spelling(make_request: MakeRequest) -> None:
    """A listener for both families tells IPv4 peers as IPv6; a deny by address means them all the same."""
    request = make_request(source=Peer("::ffff:10.1.2.3", 1), destination=Peer("::FFFF:10.9.9.9", 2))
    assert holds('source.address == "10.1.2.3" && destination.address == "10.9.9.9"', request, None) is True
    assert holds('source.address == "@odd"', make_request(source=Peer("@odd", 1)), None) is True


@pytest.mark.parametrize(
    ("address", "block", "expected"),
    [
        ("10.255.255.255", "10.0.0.0/8", True),
        ("11.0.0.0", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("2001:DB8::1", "2001:db8::/32", True),
        ("10.1.2.3", "2001:db8::/32", False),
        ("10.1.2.3", "0.0.0.0/0", True),
        ("", "0.0.0.0/0", None),
        (" 10.1.2.3", "0.0.0.0/0", None),
        ("10.1.2.3:80", "0.0.0.0/0", None),
        ("10.1.2.03", "0.0.0.0/0", None),
        ("10.1.2.3", "10.0.0.1/8", None),
        ("10.1.2.3", "10.0.0.0/33", None),
        ("10.1.2.3" + " " * 5000, "0.0.0.0/0", None),
        ("fe80::1%eth0", "fe80::/10", None),
    ],
)
def test_an_address_is_in_a_block_or_not_or_unreadable(
    address: str, block: str, expected: bool | None, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """As in ipBlocks; what is no address or no block gives no value, so that neither the word nor its `!` holds."""
    caller = make_identity(claims={"address": address, "block": block})
    negative = None if expected is None else not expected
    assert holds("inCidr(claims.address, claims.block)", make_request(), caller) is expected
    assert holds("!inCidr(claims.address, claims.block)", make_request(), caller) is negative


def test_a_caller_without_credentials_can_be_asked_for(make_request: MakeRequest) -> None:
    """It has the role anonymous, no scopes and no claims."""
    source = 'identity.roles == ["anonymous"] && identity.scopes == [] && claims == {} && !has(claims.tenant)'
    assert holds(source, make_request(), None) is True


def test_without_http_the_request_has_no_attributes(make_request: MakeRequest, make_identity: MakeIdentity) -> None:
    """Not even its headers are an empty map, for that would be an answer."""
    request = make_request(http=False)
    for source in (
        "request.method == ''",
        "!('x' in request.headers)",
        "!('x' in request.query)",
        "request.host != 'x'",
    ):
        assert holds(source, request, make_identity()) is None


@pytest.mark.parametrize("query", ["a=%ff", "a=%00", "a=1" + "&a=1" * 1000, "a=\ud800"])
def test_a_query_that_is_not_plain_utf8_has_no_value(query: str, make_request: MakeRequest) -> None:
    """Undecodable bytes, U+0000 and floods of fields are errors where the query is used."""
    assert holds("!('b' in request.query)", make_request(query=query), None) is None
    assert holds("!('b' in request.query)", make_request(query="a=b=c&d&%C3%A9=+"), None) is True


class TestTrapsOfTheBinding:
    """Canaries: each states what cel-expr-python 0.1.3 does, and that it can't hurt us."""

    environment = cel.NewEnv(variables={"text": cel.Type.STRING, "table": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)})

    def run(self, source: str, **values: Any) -> Any:
        return self.environment.compile(source).eval(self.environment.Activation(values))

    def test_strings_are_cut_at_nul(self) -> None:
        """The reason why such strings are never bound; when this fails, the guard may go."""
        assert self.run("text == 'admin'", text="admin\0evil").value() is True
        assert self.run("table.admin == 1", table={"admin\0evil": 1}).value() is True

    @pytest.mark.parametrize("bad", ["admin\0evil", "admin\ud800"])
    def test_such_strings_never_reach_the_evaluator(
        self, bad: str, make_request: MakeRequest, make_identity: MakeIdentity
    ) -> None:
        """Wherever they stand, the condition has no value instead of a wrong one."""
        request = make_request(
            method=bad, headers={"x": (bad,)}, context={"x": bad}, source=Peer(bad, 1, bad), query="a"
        )
        caller = make_identity(bad, subject=bad, claims={"deep": [{"x": bad}]}, scopes=(bad,))
        for source in (
            "request.method == 'admin'",
            "request.headers.x == 'admin'",
            "context.x == 'admin'",
            "source.principal == 'admin'",
            "identity.subject == 'admin'",
            "'admin' in identity.roles",
            "'admin' in identity.scopes",
            "claims.deep[0].x == 'admin'",
            "!('other' in claims)",
        ):
            assert holds(source, request, caller) is None
        keyed = make_identity(claims={f"{bad}": True})
        assert holds("claims.admin == true", make_request(headers={bad: ("1",)}), keyed) is None
        assert holds("request.headers.admin == '1'", make_request(headers={bad: ("1",)}), keyed) is None

    def test_an_error_is_a_value_whose_python_value_is_a_string(
        self, make_request: MakeRequest, make_identity: MakeIdentity
    ) -> None:
        """A truthy one: only the very True holds, and no error text becomes a header."""
        result = self.run("table.missing", table={})
        assert result.type().name() == "ERROR"
        assert isinstance(result.value(), str)
        header = read_header_value("claims.missing")
        assert isinstance(header, HeaderValue)
        assert header.value(Facts(make_request(), make_identity(), header.needs, fold=False).bound) is None

    def test_eval_raises_for_surrogates_and_for_too_many_iterations(
        self, make_request: MakeRequest, make_identity: MakeIdentity
    ) -> None:
        """An exception is no value either."""
        with pytest.raises(RuntimeError):
            self.run("text", text="\ud800")
        loops = "[1,2,3,4,5,6,7,8,9,10]"
        for _ in range(5):
            loops = f"[1,2,3,4,5,6,7,8,9,10].map(x, {loops})"
        with pytest.raises(RuntimeError, match="Iteration budget"):
            self.run(loops + " == []")
        assert holds(loops + " == []", make_request(), make_identity()) is None

    def test_a_value_of_another_type_than_declared_is_an_error(self) -> None:
        """A claim can't stand in for a bool or a string."""
        assert self.run("text == '1'", text=1).type().name() == "ERROR"
        assert self.run("table.x && true", table={"x": "true"}).type().name() == "ERROR"
        assert self.run("table.x == 1", table={"x": True}).value() is False


_ATTACK = st.text(alphabet=st.sampled_from("admin\0\ud800é\u200b\uff41 "), max_size=8)


@settings(max_examples=200, deadline=None)
@given(text=_ATTACK)
def test_equality_holds_for_equal_strings_alone(
    text: str, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """No spelling of a claim equals 'admin' but 'admin': no cut, no normalisation, no exception."""
    held = holds("claims.role == 'admin'", make_request(), make_identity(claims={"role": text}))
    assert (held is True) == (text == "admin")


_ALL_VALUES: Mapping[str, Any] = {"claims": {"a": "x", "roles": ["x"]}, "identity.roles": ["x"], "context": {"a": "x"}}


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            [
                "claims.?a.orValue('') == 'x'",
                "claims[?'a'].hasValue()",
                "context.?a.orValue('') == 'x'",
                "claims . /**/ a == 'x'".replace("/**/", "// context\n"),
                "identity.roles.exists(context, context == 'x')",
                "identity.roles.exists(claims, claims == context.a)",
                "identity . roles . size() == 1",
                "claims.?roles.optMap(r, r == identity.roles).orValue(false)",
                "has(context.a)",
                "claims.`a` == 'x'",
            ]
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_an_expression_needs_is_found_whatever_its_syntax(parts: list[str]) -> None:
    """With the needed names alone it has the value that it has with all."""
    condition = read_condition(" && ".join(parts))
    assert isinstance(condition, Condition), condition
    needed = {name: value for name, value in _ALL_VALUES.items() if name in condition.needs}
    assert condition.holds(activation(needed)) is True


def test_one_activation_serves_all_conditions_of_a_request(
    load_specs: Callable[..., Snapshot],
    make_request: MakeRequest,
    make_identity: MakeIdentity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is made when the first condition is asked, and not at all when none is."""
    made: list[Mapping[str, Any]] = []

    def record(values: Mapping[str, Any]) -> Any:
        made.append(values)
        return activation(values)

    monkeypatch.setattr(facts_module, "activation", record)
    on_a = {"to": [{"paths": ["/a"]}]}
    rules = [on_a | {"when": "claims.a == 1"}, on_a | {"when": "request.host == 'x'"}, {"to": [{"paths": ["/b"]}]}]
    snapshot = load_specs({"p": {"rules": rules}})
    for path, count in (("/b", 0), ("/a", 1)):
        request = make_request(path=path)
        snapshot.decide(request, snapshot.select(request), make_identity())
        assert len(made) == count
    assert made[0].keys() == {"claims", "request.host"}


def test_claims_with_a_list_of_thousands_have_no_value(
    load_specs: Callable[..., Snapshot], make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """The evaluator would copy it in each round of a loop: seconds, and gigabytes, of somebody's long token."""
    snapshot = load_specs({"a": {"rules": [{"role": "user", "when": "claims.groups.map(g, g).size() > 0"}]}})
    for length, reason in ((2000, Reason.ALLOWED), (2001, Reason.CONDITION_ERROR)):
        request, identity = make_request(), make_identity("user", claims={"groups": ["x"] * length})
        assert snapshot.decide(request, snapshot.select(request), identity).reason is reason
