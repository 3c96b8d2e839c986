"""The JSON Schema for editors: made from the models, readable, and never stricter than the loader."""

import re
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from extauthz.documents import read_documents
from extauthz.errors import PolicyError
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.policy.schema import policy_schema, policy_schema_text
from tests.conftest import PROJECT

HEAD = "apiVersion: security.example.com/v1\nkind: AuthPolicy\nmetadata: {name: p}\n"
VALIDATOR = Draft202012Validator(policy_schema())


def written_policies() -> list[Any]:
    """Every AuthPolicy in the files of the mesh and of the tests, and in the pages of the documentation."""
    texts = [path.read_text() for top in ("mesh", "tests") for path in sorted((PROJECT / top).rglob("*.yaml"))]
    for page in [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]:
        texts += re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    documents = [
        document
        for text in texts
        if "kind: AuthPolicy" in text and "{{" not in text
        for document in read_documents(text, "x.yaml")[0]
    ]
    return [document.value for document in documents if document.value.get("kind") == "AuthPolicy"]


def is_valid(text: str) -> bool:
    (document,), problems = read_documents(text, "x.yaml")
    return not problems and bool(VALIDATOR.is_valid(document.value))


def loads(text: str, settings: PolicySettings) -> bool:
    try:
        load([PolicyText("x.yaml", text)], settings, 1)
    except PolicyError:
        return False
    return True


def test_the_published_schema_is_what_the_models_give() -> None:
    """`python -m extauthz.policy.schema` writes it."""
    published = files("extauthz.policy").joinpath("authpolicy.schema.json").read_text("utf-8")
    assert published == policy_schema_text()


def test_the_schema_is_a_schema_and_its_example_is_valid() -> None:
    """By the rules of its own dialect."""
    schema = policy_schema()
    Draft202012Validator.check_schema(schema)
    assert [VALIDATOR.is_valid(example) for example in schema["examples"]] == [True]


def test_each_key_is_described_and_no_other_key_is_taken() -> None:
    """What an editor shows while a person types."""
    schema = policy_schema()
    for model in (schema, *schema["$defs"].values()):
        assert model["additionalProperties"] is False
        assert model["description"]
        # Pydantic leaves a key's description out where it is that of the model.
        keys = model["properties"].items()
        assert [name for name, key in keys if not (key.get("description") or "$ref" in key)] == []


def test_each_example_of_a_key_is_valid(settings: PolicySettings) -> None:
    """It is what people copy."""
    for name, words in (("RuleForm", "rules"), ("DenyForm", "deny")):
        for key, schema in policy_schema()["$defs"][name]["properties"].items():
            for example in schema.get("examples", []):
                rate = {"maxRequestsPerMinute": 100} if key in ("burst", "per") else {}
                assert loads(HEAD + f"spec: {{{words}: [{rate | {key: example}}]}}", settings), key


def test_whatever_is_written_in_this_project_is_valid() -> None:
    """Policies of the mesh, of the documentation and of the tests."""
    policies = written_policies()
    assert len(policies) >= 5
    assert [list(VALIDATOR.iter_errors(policy)) for policy in policies] == [[]] * len(policies)


@pytest.mark.parametrize(
    "spec",
    [
        "{}",
        "{mode: Shadow, rules: [{role: a}]}",
        "{rules: [{maxRequestsPerMinute: 9, burst: 3, per: 'claim:a.b', rateShadow: true}]}",
        "{rules: [{to: [{ports: ['443', 443], notPaths: []}]}], rateLimits: {whenStoreFails: local}}",
        "{deny: [{from: [{notIpBlocks: [10.0.0.0/8]}], shadow: true, when: 'true'}]}",
        "{targets: [{context: {a: b}}], authentication: {optional: true, preflight: allow}}",
    ],
)
def test_what_loads_is_valid(settings: PolicySettings, spec: str) -> None:
    """An editor never complains about a policy that is right."""
    assert loads(HEAD + f"spec: {spec}", settings)
    assert is_valid(HEAD + f"spec: {spec}")


@pytest.mark.parametrize(
    "spec",
    [
        "[]",
        "{rulez: []}",
        "{mode: Off}",
        "{rules: []}",
        "{rules: [{rolle: x}]}",
        "{rules: [{role: x, roles: [y]}]}",
        "{rules: [{role: }]}",
        "{rules: [{when: ''}]}",
        "{rules: [{to: [{}]}]}",
        "{rules: [{to: [{paths: []}]}]}",
        "{rules: [{to: [{ports: [0]}]}]}",
        "{rules: [{maxRequestsPerMinute: 0}]}",
        "{rules: [{maxRequestsPerMinute: }]}",
        "{rules: [{burst: 3}]}",
        "{rules: [{per: role}]}",
        "{rules: [{maxRequestsPerMinute: 3, per: user}]}",
        "{deny: [{maxRequestsPerMinute: 3}]}",
        "{rateLimits: {whenStoreFails: allow}}",
        "{authentication: {optional: 'yes'}}",
        "{targets: [{context: {a: 7}}]}",
    ],
)
def test_slips_that_a_schema_can_see_are_seen_in_the_editor(settings: PolicySettings, spec: str) -> None:
    """As the loader sees them."""
    assert not loads(HEAD + f"spec: {spec}", settings)
    assert not is_valid(HEAD + f"spec: {spec}")


_SCALARS: st.SearchStrategy[Any] = st.sampled_from(
    ["x", "/x", "GET", "10.0.0.0/8", "*", "claim:a", "role", 7, 0, True, None, [], {}, ["x"], ["/x"]]
)
_RULES = st.dictionaries(
    st.sampled_from(["name", "role", "roles", "when", "shadow", "maxRequestsPerMinute", "burst", "per", "rateShadow"]),
    _SCALARS,
    max_size=4,
)
_ENTRIES = st.dictionaries(
    st.sampled_from(["hosts", "notHosts", "ports", "notPorts", "methods", "notMethods", "paths", "notPaths"]),
    _SCALARS,
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(rule=_RULES, entry=st.none() | _ENTRIES, words=st.sampled_from(["rules", "deny"]))
def test_the_schema_is_never_stricter_than_the_loader(
    settings: PolicySettings, rule: dict[str, Any], entry: dict[str, Any] | None, words: str
) -> None:
    """Of any document that loads."""
    spec = {words: [rule | ({} if entry is None else {"to": [entry]})]}
    text = HEAD + f"spec: {spec}".replace("None", "null").replace("True", "true")
    if loads(text, settings):
        assert is_valid(text)
