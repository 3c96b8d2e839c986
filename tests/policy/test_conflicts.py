"""Headers on which policies that can cover one request disagree: found without comparing each policy with each."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.errors import PolicyError
from extauthz.policy import Snapshot

LoadSpecs = Callable[..., Snapshot]

_HOSTS = st.sampled_from(["*", "a", "b.a", "c.b.a", "*.a", "*.b.a", "*.c.b.a", "x", "*.x"])
_TARGET = st.fixed_dictionaries(
    {},
    optional={
        "hosts": st.lists(_HOSTS, min_size=1, max_size=2),
        "context": st.dictionaries(st.sampled_from("pq"), st.sampled_from("12"), min_size=1),
    },
).filter(bool)
_RESPONSE = st.sampled_from(
    [
        {"headers": {"x-auth-a": "identity.subject"}},
        {"headers": {"x-auth-a": "claims.sub"}},
        {"removeHeaders": ["x-auth-a"]},
    ]
)
_SPEC = st.builds(
    lambda targets, response: ({"targets": targets} if targets else {}) | {"response": response},
    st.lists(_TARGET, max_size=2),
    _RESPONSE,
)


@settings(max_examples=300, deadline=None)
@given(specs=st.lists(_SPEC, min_size=2, max_size=5))
def test_what_is_found_is_what_comparing_all_pairs_finds(load_specs: LoadSpecs, specs: list[dict[str, Any]]) -> None:
    """A set is refused if and only if two of its policies overlap and do different things to a header."""
    named = {f"p{number}": spec for number, spec in enumerate(specs)}
    alone = {name: load_specs({name: spec}).policies[0] for name, spec in named.items()}
    conflict = any(
        alone[one].overlaps(alone[other]) and named[one]["response"] != named[other]["response"]
        for one in named
        for other in named
    )
    try:
        load_specs(named)
    except PolicyError:
        assert conflict
    else:
        assert not conflict


def test_each_policy_is_told_once_and_names_the_first_before_it(load_specs: LoadSpecs) -> None:
    """Three that disagree are two problems, each at the later policy."""
    specs = {name: {"response": {"headers": {"x-auth-a": f"'{name}'"}}} for name in "abc"}
    with pytest.raises(PolicyError) as caught:
        load_specs(specs)
    told = [str(problem) for problem in caught.value.problems]
    assert [line[:6] for line in told] == ["b.yaml", "c.yaml"]
    assert ["from policy 'a' at a.yaml" in line for line in told] == [True, True]


def test_a_policy_in_shadow_mode_takes_no_part(load_specs: LoadSpecs) -> None:
    """It sets nothing, and may try what the policy in force does otherwise."""
    set_ = {"response": {"headers": {"x-auth-a": "identity.subject"}}}
    other = {"response": {"removeHeaders": ["x-auth-a"]}}
    assert len(load_specs({"a": set_, "b": other | {"mode": "Shadow"}}).policies) == 1
    assert len(load_specs({"a": set_ | {"mode": "Shadow"}, "b": other}).policies) == 1


@pytest.mark.parametrize("target", ["hosts", "context"])
def test_thousands_of_tenants_are_not_compared_pair_by_pair(load_specs: LoadSpecs, target: str) -> None:
    """Each sets the same header to its own value, for its own host or route. CPU counts, not waiting."""
    specs = {
        f"p{number}": {
            "targets": [
                {"hosts": [f"t{number}.example.com"]} if target == "hosts" else {"context": {"app": f"t{number}"}}
            ],
            "response": {"headers": {"x-auth-tenant": f"'t{number}'"}},
        }
        for number in range(3000)
    }
    begin = time.process_time()
    load_specs(specs)
    assert time.process_time() - begin < 4
