"""When the process gets traffic."""

from hypothesis import given
from hypothesis import strategies as st

from extauthz.serving.readiness import Readiness


def test_ready_means_listeners_policies_and_providers() -> None:
    """Readiness waits for the listeners, the first set of policies and the first word of each provider."""
    readiness = Readiness(["a", "b"])
    changes: list[bool] = []
    readiness.on_change(changes.append)
    readiness.listening("check 127.0.0.1:9000")
    readiness.policies_loaded(1)
    readiness.provider_told("a", ok=True, text="4 keys")
    assert changes == []
    readiness.provider_told("b", ok=False, text="connection refused")
    assert readiness.ready
    assert changes == [True]


def test_a_silent_provider_is_waited_for_only_so_long() -> None:
    """When the time is over, a provider without a word harms only its own callers; policies are still waited for."""
    readiness = Readiness(["slow"])
    readiness.stop_waiting()
    readiness.listening("x")
    assert readiness.report()[-1] == "not ready"
    readiness.policies_loaded(1)
    assert readiness.ready
    assert "[-] provider slow: not yet" in readiness.report()


def test_a_failed_load_changes_the_report_alone() -> None:
    """A broken set of policies leaves readiness as it was and is told, each problem on its line."""
    readiness = Readiness()
    readiness.listening("x")
    readiness.policies_loaded(3)
    readiness.policies_failed(3, "a.yaml:1:2: wrong\nb.yaml:3: also")
    assert readiness.ready
    assert readiness.report() == [
        "[+] listeners: x",
        "[-] policies: generation 3 stays in force; the last load failed: a.yaml:1:2: wrong\n    b.yaml:3: also",
        "ready",
    ]
    readiness.policies_loaded(4)
    assert "[+] policies: generation 4" in readiness.report()


STEPS = {
    "listening": lambda one: one.listening("x"),
    "loaded": lambda one: one.policies_loaded(1),
    "failed": lambda one: one.policies_failed(1, "x"),
    "told": lambda one: one.provider_told("a", ok=True, text="x"),
    "timeout": lambda one: one.stop_waiting(),
    "certificates": lambda one: one.certificates_told("listen.check", ok=False, text="x"),
    "drain": lambda one: one.drain(),
}


@given(st.lists(st.sampled_from(sorted(STEPS))))
def test_readiness_follows_its_definition(steps: list[str]) -> None:
    """Whatever happens in whatever order, ready is what its definition says, and each change is told once."""
    readiness = Readiness(["a"])
    changes: list[bool] = []
    readiness.on_change(changes.append)
    for number, step in enumerate(steps, start=1):
        STEPS[step](readiness)
        done = set(steps[:number])
        expected = {"listening", "loaded"} <= done and bool(done & {"told", "timeout"}) and "drain" not in done
        assert readiness.ready is expected
        assert readiness.report()[-1] == ("ready" if expected else "not ready")
    assert changes in ([], [True], [True, False])


def test_other_parts_that_are_waited_for() -> None:
    """Those that are named at the beginning: their first word, good or bad. Others are told and change nothing."""
    readiness = Readiness(parts=["signing keys"])
    readiness.listening("x")
    readiness.policies_loaded(1)
    readiness.part_told("vault", ok=True, text="logged in")
    seen = [readiness.ready]
    assert readiness.report()[-1] == "not ready"
    readiness.part_told("signing keys", ok=False, text="permission denied")
    seen.append(readiness.ready)
    readiness.part_told("vault", ok=False, text="sealed")
    seen.append(readiness.ready)
    assert seen == [False, True, True]
