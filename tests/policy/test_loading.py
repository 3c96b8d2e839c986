"""Reading policies: everything that is wrong is told at once, with its place and its mend."""

from collections.abc import Callable
from typing import Any

import pytest

from extauthz.errors import PolicyError
from extauthz.policy import PolicySettings, PolicyText, Snapshot, load

HEAD = "apiVersion: security.example.com/v1\nkind: AuthPolicy\nmetadata: {name: p}\n"


def problems(settings: PolicySettings, *texts: str) -> list[str]:
    named = [PolicyText(f"{letter}.yaml", text) for letter, text in zip("abcdef", texts, strict=False)]
    with pytest.raises(PolicyError) as caught:
        load(named, settings, 1)
    return [str(problem) for problem in caught.value.problems]


def place(text: str, token: str) -> str:
    """Where a token stands in the first file."""
    before = text[: text.index(token)]
    return f"a.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def test_nothing_written_is_a_valid_set(settings: PolicySettings) -> None:
    """An empty folder, an empty file and a file of comments deny everything without complaint."""
    for texts in ([], [PolicyText("a.yaml", "")], [PolicyText("a.yaml", "# later\n---\n")]):
        snapshot = load(texts, settings, 4)
        assert (snapshot.generation, snapshot.policies) == (4, ())


def test_the_smallest_policy_and_the_full_form_are_taken(settings: PolicySettings) -> None:
    """The full form of docs/policies.md, as a Kubernetes object has it."""
    text = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata:
  name: full
  namespace: shop
  labels: {team: orders}
  annotations: {note: "x"}
  uid: 1b7f
  resourceVersion: "7"
  generation: 2
  creationTimestamp: 2026-01-01T00:00:00Z
  managedFields: []
spec:
  mode: Enforce
  targets:
  - hosts: ["orders.example.com", "*.shop.example.com"]
    context: {app: orders}
  authentication: {providers: [corporate, mesh], optional: false, preflight: deny}
  deny:
  - name: no-internals
    to: [{paths: ["/internal/**"]}]
    shadow: false
  rules:
  - name: read-orders
    role: user
    maxRequestsPerMinute: 100
    burst: 20
    per: caller
    rateShadow: false
    to:
    - {methods: [GET, HEAD], paths: ["/orders", "/orders/{id}", "/orders/{id}/items/**"]}
    from:
    - {principals: ["spiffe://cluster.local/ns/shop/sa/*"], remoteIpBlocks: ["10.0.0.0/8"]}
    when: 'claims.tenant == request.headers["x-tenant"]'
    shadow: true
  - roles: [user, partner]
  rateLimits: {whenStoreFails: local}
  response:
    headers: {x-auth-subject: identity.subject, x-auth-roles: identity.roles}
    removeHeaders: [authorization]
status: {conditions: []}
"""
    (policy,) = load([PolicyText("a.yaml", text)], settings, 1).policies
    assert policy.name == "shop/full"
    assert [rule.name for rule in (*policy.deny, *policy.rules)] == ["no-internals", "read-orders", "rules[1]"]


def test_five_mistakes_are_five_problems_in_order(settings: PolicySettings) -> None:
    """A bad path does not hide a bad condition; each is told where it stands."""
    text = HEAD + (
        "spec:\n"
        "  deny:\n"
        "  - to: [{paths: [/x*]}]\n"
        "  rules:\n"
        "  - when: 'request.method == \"GET\" && clams.x == 1'\n"
        "    role: x\n"
        "    rolle: y\n"
        "  - to: [{methods: [get]}]\n"
        "  response: {headers: {x-evil: identity.subject}}\n"
    )
    expected = [
        (place(text, "/x*"), "write '{name}' for one segment"),
        (place(text, ".x =="), "unknown name 'clams.x' (did you mean 'claims'?)"),
        (place(text, "rolle"), "unknown key 'spec.rules[0].rolle' (did you mean 'role"),
        (place(text, "get]"), "write 'GET'"),
        (place(text, "identity"), "'x-evil' is not among the headers"),
    ]
    told = problems(settings, text)
    assert [line.split(": ")[0] for line in told] == [where for where, _ in expected]
    assert [words in line for line, (_, words) in zip(told, expected, strict=True)] == [True] * 5


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{mode: Off}", "spec.mode must be 'Enforce' or 'Shadow'"),
        ("{mode: }", "spec.mode must be 'Enforce' or 'Shadow'"),
        ("{rules: [{shadow: 'yes'}]}", "spec.rules[0].shadow must be true or false"),
        ("{rules: [{maxRequestsPerMinute: }]}", "spec.rules[0].maxRequestsPerMinute: must be a whole number"),
        ("{rules: [{maxRequestsPerMinute: true}]}", "spec.rules[0].maxRequestsPerMinute: must be a whole number"),
        ("{rules: [{maxRequestsPerMinute: 1.5}]}", "spec.rules[0].maxRequestsPerMinute: must be a whole number"),
        (
            "{rules: [{maxRequestsPerMinute: 0}]}",
            "0 is not from 1 to 1000000 (to allow nothing, write a rule of 'deny')",
        ),
        ("{rules: [{maxRequestsPerMinute: 1000001}]}", "1000001 is not from 1 to 1000000"),
        ("{rules: [{maxRequestsPerMinute: 9, burst: 0}]}", "spec.rules[0].burst: 0 is not from 1"),
        ("{rules: [{maxRequestsPerMinute: 9, burst: }]}", "spec.rules[0].burst: must be a whole number"),
        ("{rules: [{maxRequestsPerMinute: 9, burst: 10}]}", "10 within a second is more than 9 a minute"),
        ("{rules: [{maxRequestsPerMinute: 0, burst: 10}]}", "0 is not from 1"),
        ("{rules: [{burst: 20}]}", "spec.rules[0].burst: says something about a rate, and the rule has none (add"),
        ("{rules: [{per: caller}]}", "spec.rules[0].per: says something about a rate, and the rule has none (add"),
        (
            "{rules: [{rateShadow: true}]}",
            "spec.rules[0].rateShadow: says something about a rate, and the rule has none",
        ),
        ("{rules: [{maxRequestsPerMinute: 9, rateShadow: 1}]}", "spec.rules[0].rateShadow must be true or false"),
        ("{rules: [{maxRequestsPerMinute: 9, per: user}]}", "spec.rules[0].per: 'user' is nothing to count by"),
        ("{rules: [{maxRequestsPerMinute: 9, per: 'claim:'}]}", "'claim:' is nothing to count by"),
        ("{rules: [{maxRequestsPerMinute: 9, per: 'claim:a..b'}]}", "'claim:a..b' is nothing to count by"),
        (
            "{rules: [{maxRequestsPerMinute: 9, per: role}]}",
            "spec.rules[0].per: counts by role, and the rule asks for none",
        ),
        ("{deny: [{burst: 20}]}", "unknown key 'spec.deny[0].burst' (a deny lets nothing pass that could be counted"),
        ("{deny: [{maxRequestsPerMinute: 9}]}", "a rate belongs to a rule of 'rules'"),
        ("{rateLimits: {whenStoreFails: allow}}", "spec.rateLimits.whenStoreFails must be 'deny' or 'local'"),
        ("{rateLimits: }", "spec.rateLimits must be a mapping"),
        ("{targets: []}", "spec.targets: is empty"),
        ("{deny: []}", "spec.deny: is empty"),
        ("{rules: []}", "spec.rules: is empty"),
        ("{rules: [{to: []}]}", "spec.rules[0].to: is empty"),
        ("{rules: [{from: []}]}", "spec.rules[0].from: is empty"),
        ("{rules: [{roles: []}]}", "spec.rules[0].roles: is empty"),
        ("{authentication: {providers: []}}", "providers: is empty"),
        ("{rules: [{to: [{}]}]}", "spec.rules[0].to[0]: is an empty entry"),
        ("{rules: [{to: [{notPaths: []}]}]}", "spec.rules[0].to[0]: is an empty entry"),
        ("{rules: [{from: [{}]}]}", "spec.rules[0].from[0]: is an empty entry"),
        ("{targets: [{}]}", "spec.targets[0]: is an empty entry"),
        ("{targets: [{context: {}}]}", "spec.targets[0]: is an empty entry"),
        ("{rules: [{to: [{paths: []}]}]}", "paths: is empty"),
        ("{rules: [{from: [{principals: []}]}]}", "principals: is empty"),
        ("{rules: [{role: }]}", "spec.rules[0].role must be a string"),
        ("{rules: [{role: ''}]}", "spec.rules[0].role: a role must have"),
        ("{rules: [{when: }]}", "spec.rules[0].when must be a string"),
        ("{rules: [{when: ''}]}", "the expression is empty"),
        ("{rules: [{when: true}]}", "spec.rules[0].when must be a string"),
        ("{rules: }", "spec.rules must be a list"),
        ("{rules: [null]}", "spec.rules[0] must be a mapping"),
        ("{rules: [{role: a, roles: [b]}]}", "both 'role' and 'roles'"),
        ("{rules: [{role: 7}]}", "spec.rules[0].role must be a string"),
        ("{rules: [{roles: user}]}", "spec.rules[0].roles must be a list"),
        ("{rules: [{name: a}, {name: a}]}", "rule name 'a' is already used at a.yaml:4:23"),
        ("{deny: [{name: a}], rules: [{name: a}]}", "rule name 'a' is already used at a.yaml:4:22"),
        ('{rules: [{name: "a\\nb"}]}', "is no rule name"),
        ("{rules: [{to: [{hosts: ['a:80']}]}]}", "write 'a'"),
        ("{rules: [{to: [{ports: [0]}]}]}", "0 is not a port"),
        ("{rules: [{from: [{ipBlocks: ['10.0.0.1/8']}]}]}", "write '10.0.0.0/8'"),
        ("{rules: [{from: [{ipBlocks: ['x']}]}]}", "neither an address nor"),
        ("{rules: [{from: [{principals: ['a*b']}]}]}", "no wildcard"),
        (
            "{authentication: {providers: [google]}}",
            "'google' is not a configured provider (configured: corporate, mesh, partner)",
        ),
        ("{authentication: {optional: 'yes'}}", "optional must be true or false"),
        ("{authentication: {preflight: maybe}}", "spec.authentication.preflight"),
        ("{response: {headers: {x-user: identity.subject}}}", "headers.allowed: x-auth-*, authorization, cookie"),
        ("{response: {headers: {X-Auth-User: identity.subject}}}", "write 'x-auth-user'"),
        ("{response: {headers: {':path': identity.subject}}}", "no header that a policy may set"),
        ("{response: {headers: {host: identity.subject}}}", "no header that a policy may set"),
        ("{response: {headers: {x-auth-a: [identity.subject]}}}", "must be a string"),
        ("{response: {headers: {x-auth-a: claims}}}", "a header must be a string"),
        ("{response: {removeHeaders: [x-envoy-attempt-count]}}", "no header that a policy may set"),
        ("{response: {removeHeaders: [x-request-id]}}", "no header that a policy may set"),
        ("{response: {removeHeaders: []}}", "removeHeaders: is empty"),
        ("{targets: [{context: {app: 7}}]}", "spec.targets[0].context.app must be a string"),
        ("[]", "spec must be a mapping"),
        ("{unknown: 1}", "unknown key 'spec.unknown'"),
    ],
)
def test_what_a_policy_can_not_say_is_refused(settings: PolicySettings, spec: str, words: str) -> None:
    """Each with one problem, on its line, that says what is wrong."""
    (told,) = problems(settings, HEAD + f"spec: {spec}\n")
    assert told.startswith("a.yaml:4:")
    assert words in told


_MANY = ", ".join(["a"] * 10_001)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (f"{{rules: [{{to: [{{hosts: [{_MANY}]}}]}}]}}", "hosts: has 10001 entries, and may have 10000"),
        (f"{{rules: [{{to: [{{notHosts: [{_MANY}]}}]}}]}}", "notHosts: has 10001 entries, and may have 10000"),
        (f"{{rules: [{{roles: [{_MANY[:3003]}]}}]}}", "roles: has 1001 entries, and may have 1000"),
        (f"{{response: {{removeHeaders: [{', '.join(['cookie'] * 101)}]}}}}", "removeHeaders: has 101 entries"),
        (f"{{targets: [{{context: {{{', '.join(f'k{n}: v' for n in range(101))}}}}}]}}", "context: has 101 entries"),
        (f"{{targets: [{{context: {{a: {'x' * 4097}}}}}]}}", "has 4097 characters, and may have 4096"),
        (f"{{rules: [{{role: {'x' * 257}}}]}}", "a role must have 1 to 256 characters"),
        (f"{{rules: [{{name: {'x' * 129}}}]}}", "at most 128 characters"),
        (f"{{rules: [{{to: [{{paths: [/{'x' * 4096}]}}]}}]}}", "has 4097 characters, and may have 4096"),
        (f"{{rules: [{{from: [{{principals: [CN={'x' * 2048}]}}]}}]}}", "has 2051 characters, and may have 2048"),
        (f"{{rules: [{{maxRequestsPerMinute: 9, per: 'claim:{'x' * 129}'}}]}}", "is nothing to count by"),
        (f"{{rules: [{{when: \"'{'x' * 4096}' == ''\"}}]}}", "characters, and may have 4096"),
    ],
    ids=lambda value: value[-40:],
)
def test_everything_has_a_bound(settings: PolicySettings, spec: str, words: str) -> None:
    """A policy may come from somebody who may write policies for one host alone."""
    (told,) = problems(settings, HEAD + f"spec: {spec}\n")
    assert words in told


def test_mistakes_of_every_kind_are_told_in_order(settings: PolicySettings) -> None:
    """Form, patterns, rates, conditions and names: one problem each, by line."""
    text = HEAD + (
        "spec:\n"
        "  mode: shadow\n"
        "  deny:\n"
        "  - {name: a, burst: 3}\n"
        "  rules:\n"
        "  - {name: a, role: x, shadow: 1}\n"
        "  - {role: x, maxRequestsPerMinute: 5, burst: 6}\n"
        "  - {to: [{hosts: ['*x']}], from: [{notIpBlocks: [10.0.0.1/8]}]}\n"
        "  - when: inCidr(source.address, '10.0.0.0/33')\n"
        "  rateLimits: {whenStoreFails: allow}\n"
    )
    told = [line.split(": ")[0].split(":")[1] for line in problems(settings, text)]
    assert told == ["5", "7", "9", "9", "10", "11", "11", "12", "13"]


def test_wide_header_lists_never_reach_the_headers_that_frame_a_message(settings: PolicySettings) -> None:
    """Whatever headers.allowed says: pseudo headers, hop-by-hop headers and Envoy's own are not ours to set."""
    wide = PolicySettings(providers=settings.providers, allowed_headers=("*",))
    for name in ("content-length", "transfer-encoding", "connection", "host", "x-envoy-x", "x-forwarded-for", "te"):
        (told,) = problems(wide, HEAD + f"spec: {{response: {{headers: {{{name}: identity.subject}}}}}}")
        assert "no header that a policy may set" in told
    text = HEAD + "spec: {response: {headers: {x-any: identity.subject}}}"
    assert load([PolicyText("a", text)], wide, 1).owned_headers == ("x-any",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 1\n", "a.yaml:1:1: a policy document must be a mapping"),
        ("kind: ConfigMap\nspec: {nonsense: 1}\n", "a.yaml:1:7: unknown kind 'ConfigMap'"),
        (HEAD.replace("AuthPolicy", "") + "spec: {}\n", "a.yaml:2:"),
        (HEAD.replace("AuthPolicy", "[AuthPolicy]") + "spec: {}\n", "a.yaml:2:7: unknown kind"),
        (HEAD.replace("AuthPolicy", "7") + "spec: {}\n", "a.yaml:2:7: unknown kind"),
        (HEAD.replace("security.example.com/v1", "[x]") + "spec: {}\n", "apiVersion must be a string"),
        (HEAD.replace("/v1", "/v2") + "spec: {}\n", "a.yaml:1:13: unknown apiVersion 'security.example.com/v2'"),
        (HEAD, "'spec' is required"),
        (HEAD.replace("name: p", "name: Orders") + "spec: {}\n", "'Orders' is no object name"),
        (HEAD.replace("name: p", "name: p, namespace: a.b") + "spec: {}\n", "'a.b' is no namespace"),
        (HEAD.replace("name: p", "") + "spec: {}\n", "'metadata.name' is required"),
        (HEAD + "spec: {}}\n", "not valid YAML"),
        (HEAD + "spec: {}\nspec: {}\n", "a.yaml:5:1: key 'spec' is already given on line 4"),
        (HEAD + "spec: {rules: [&a {role: x}, *a]}\n", "anchors and aliases are not allowed"),
        ("apiVersion: security.example.com/v1\nmetadata: {name: p}\nspec: {}\n", "'kind' is required"),
    ],
)
def test_what_is_no_policy_document_is_refused(settings: PolicySettings, text: str, words: str) -> None:
    """YAML mistakes, other kinds, other versions and missing parts are told like any other problem."""
    assert any(words in told for told in problems(settings, text))


def test_the_api_group_is_a_setting(settings: PolicySettings) -> None:
    """With another group, the default one is refused."""
    other = PolicySettings(group="authz.example.org")
    text = HEAD.replace("security.example.com", "authz.example.org") + "spec: {}"
    assert len(load([PolicyText("a", text)], other, 1).policies) == 1
    assert "write authz.example.org/v1" in problems(other, HEAD + "spec: {}")[0]


def test_a_name_that_is_given_twice_names_both_places(settings: PolicySettings) -> None:
    """In one file or in two, by namespace and name."""
    text = HEAD + "spec: {}\n"
    assert problems(settings, text, text) == [
        "b.yaml:3:18: policy 'p' is already defined at a.yaml:3:18 (give one of them another name)"
    ]
    assert "a.yaml:8:18: policy 'p' is already defined at a.yaml:3:18" in problems(settings, text + "---\n" + text)[0]
    spaced = text.replace("name: p", "name: p, namespace: shop")
    assert len(load([PolicyText("a", text), PolicyText("b", spaced)], settings, 1).policies) == 2


def test_problems_of_all_files_and_kinds_come_together(settings: PolicySettings) -> None:
    """Syntax in one file, form in the next, expressions in a third, and what is wrong between two more."""
    told = problems(
        settings,
        "{",
        HEAD.replace("name: p", "name: b") + "spec: {rulez: []}\n",
        HEAD.replace("name: p", "name: c") + "spec: {rules: [{when: foo}]}\n",
        HEAD.replace("name: p", "name: d") + "spec: {response: {headers: {x-auth-a: identity.subject}}}\n",
        HEAD.replace("name: p", "name: e") + "spec: {response: {headers: {x-auth-a: identity.issuer}}}\n",
    )
    assert [line[:1] for line in told] == ["a", "b", "c", "e"]


def writes(spec: dict[str, Any], **response: Any) -> dict[str, Any]:
    return spec | {"response": response}


ORDERS = {"targets": [{"hosts": ["orders.example.com"]}]}
SHOPS = {"targets": [{"hosts": ["*.example.com"], "context": {"app": "shop"}}]}
CARTS = {"targets": [{"hosts": ["*.example.com"], "context": {"app": "cart"}}]}
OTHERS = {"targets": [{"hosts": ["a.example.org"]}, {"hosts": ["b.example.org"], "context": {"app": "shop"}}]}


@pytest.mark.parametrize(
    ("one", "other", "overlapping"),
    [
        ({}, {}, True),
        ({}, OTHERS, True),
        (ORDERS, ORDERS, True),
        (ORDERS, SHOPS, True),
        (SHOPS, CARTS, False),
        (ORDERS, OTHERS, False),
        (SHOPS, OTHERS, False),
        ({"targets": [{"context": {"app": "shop"}}]}, OTHERS, True),
        ({"targets": [{"context": {"app": "cart"}, "hosts": ["b.example.org"]}]}, OTHERS, False),
    ],
)
def test_policies_that_can_match_together_must_agree_on_headers(
    load_specs: Callable[..., Snapshot], one: dict[str, Any], other: dict[str, Any], overlapping: bool
) -> None:
    """Two values, or set and removed, for one name are refused where some request is covered by both."""
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"headers": {"x-auth-a": "identity.subject"}}, {"headers": {"x-auth-a": "claims.sub"}}),
        ({"headers": {"x-auth-a": "identity.subject"}}, {"removeHeaders": ["x-auth-a"]}),
        ({"removeHeaders": ["x-auth-a"]}, {"headers": {"x-auth-a": "identity.subject"}}),
    ]
    for first, second in pairs:
        specs = {"a": writes(one, **first), "b": writes(other, **second)}
        if not overlapping:
            assert len(load_specs(specs).policies) == 2
            continue
        with pytest.raises(PolicyError, match="both can cover one request") as caught:
            load_specs(specs)
        (problem,) = caught.value.problems
        assert {name for name in ("a.yaml", "b.yaml") if name in str(problem)} == {"a.yaml", "b.yaml"}
    same = {
        "a": writes(one, headers={"x-auth-a": "claims.sub"}),
        "b": writes(other, headers={"x-auth-a": "claims.sub "}),
    }
    assert len(load_specs(same).policies) == 2


def test_a_policy_can_not_set_and_remove_one_header(load_specs: Callable[..., Snapshot]) -> None:
    """A policy always matches together with itself."""
    with pytest.raises(PolicyError, match="is removed here and set by policy 'a'"):
        load_specs({"a": writes(ORDERS, headers={"x-auth-a": "identity.subject"}, removeHeaders=["x-auth-a"])})


@pytest.mark.parametrize(
    "written",
    [
        "when: true && bad",
        "when: 'true && bad'",
        "when: '''a'' == request.host && bad'",
        "when: 'request.host == \"é\" && bad'",
        'when: "true && bad"',
        'when: "\\"a\\" == request.host && bad"',
        'when: "\\u0061\\x2b\\U00000061 == 1 && bad"',
        'when: "true &&\\n\\tbad"',
        'when: "true &&\\\n      bad"',
        'when: "true\n      && bad"',
        "when: true &&\n      true &&\n      bad",
        "when: |\n      true &&\n        bad",
        "when: |2\n      true &&\n        bad",
        "when: >-\n\n      true\n      &&\n\n      bad",
        "when:\n      true && bad",
        "when:  bad",
    ],
)
def test_a_fault_in_an_expression_is_told_where_it_stands_in_the_file(settings: PolicySettings, written: str) -> None:
    """Plain, quoted with escapes, folded over lines, or in a block: line and column point at the token."""
    text = HEAD + "spec:\n  rules:\n  - " + written
    told = [line for line in problems(settings, text) if "'bad'" in line]
    assert [line.split(": ")[0] for line in told] == [place(text, "bad")]


def test_a_fault_at_the_end_of_an_expression_is_told_behind_its_last_character(settings: PolicySettings) -> None:
    """What is missing has no place of its own."""
    text = HEAD + "spec:\n  rules:\n  - when: true &&  # a comment\n    role: x\n"
    assert problems(settings, text)[0].startswith("a.yaml:6:18: not valid CEL")
