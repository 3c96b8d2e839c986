"""A running server at a glance: what happened between two looks, and how that reads."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from extauthz.cli.terminal import harmless
from extauthz.workbench.top import Seen, screen, view


def samples(**values: float) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples by a short spelling: name__label_value."""
    return {(name, ()): value for name, value in values.items()}


def checks(allowed: float, denied: float, *, reason: str = "no-rule") -> Any:
    """What is counted of Checks, of which all took at most a millisecond."""
    whole = allowed + denied
    return {
        ("extauthz_check_total", (("reason", "allowed"), ("result", "allow"))): allowed,
        ("extauthz_check_total", (("reason", reason), ("result", "deny"))): denied,
        ("extauthz_check_duration_seconds_bucket", (("le", "0.0005"), ("result", "allow"))): whole * 0.9,
        ("extauthz_check_duration_seconds_bucket", (("le", "0.001"), ("result", "allow"))): whole,
        ("extauthz_check_duration_seconds_bucket", (("le", "+Inf"), ("result", "allow"))): whole,
    }


def activity(**rules: int) -> str:
    """What is told of rules, and one denial."""
    denial = {
        "time": "2026-01-02T03:04:05.678Z",
        "id": "d1",
        "decision": "deny",
        "reason": "no-rule",
        "method": "GET",
        "host": "a.example.com",
        "path": "/x\x1b[2J",
        "policy": "orders",
    }
    told = [{"policy": "orders", "rule": name, "checks": count} for name, count in rules.items()]
    return json.dumps({"rules": told, "denials": [denial]})


def seen(at: float, values: Any, report: tuple[str, ...] = ("ready",), told: str = "") -> Seen:
    """A look."""
    return Seen(at, values, report, told)


def test_rates_are_those_between_two_looks() -> None:
    """By result and by reason, with the totals beside them."""
    found = view(seen(10, checks(100, 10)), seen(12, checks(300, 20)))
    assert (found.allowed, found.denied) == (100, 5)
    assert [(count.name, count.per_second, count.total) for count in found.reasons] == [("no-rule", 5, 20)]
    assert (found.p50, found.p99) == (0.0005, 0.001)


def test_a_server_that_began_anew_is_counted_from_zero() -> None:
    """As Prometheus does it; never less than nothing."""
    found = view(seen(10, checks(1_000, 10)), seen(12, checks(100, 0)))
    assert (found.allowed, found.denied) == (50, 0)


def test_without_a_check_nothing_is_divided() -> None:
    """A server at rest has no latency and no cost of a Check."""
    found = view(seen(1, checks(5, 5)), seen(2, checks(5, 5)))
    assert (found.allowed, found.p50, found.p99, found.cpu, found.remembered) == (0, None, None, None, None)
    text = io.StringIO()
    Console(file=text, width=80, highlight=False, markup=False).print(screen(found, "127.0.0.1:8081", harmless))
    assert " within " not in text.getvalue()
    assert "0 denied  0 in flight" in text.getvalue()


def test_the_cpu_of_a_check_is_told() -> None:
    """Of all that the process did meanwhile."""
    before = checks(0, 0) | samples(process_cpu_seconds_total=1.0)
    now = checks(1_000, 0) | samples(process_cpu_seconds_total=1.05)
    assert view(seen(0, before), seen(1, now)).cpu == pytest.approx(5e-5)


def test_the_busiest_rules_come_first() -> None:
    """By what they did lately, not by what they ever did."""
    found = view(
        seen(0, checks(0, 0), told=activity(read=1_000, write=10)),
        seen(1, checks(0, 0), told=activity(read=1_001, write=15)),
    )
    assert [(count.name, count.per_second) for count in found.rules] == [("orders write", 5), ("orders read", 1)]
    assert found.denials[0]["reason"] == "no-rule"


def test_providers_are_told_with_the_age_of_their_keys() -> None:
    """Those that have keys."""
    values = checks(0, 0) | {
        ("extauthz_provider_usable", (("provider", "corporate"),)): 1.0,
        ("extauthz_provider_usable", (("provider", "keys"),)): 0.0,
        ("extauthz_jwks_age_seconds", (("provider", "corporate"),)): 90.0,
    }
    found = view(seen(0, values), seen(1, values))
    assert [(one.name, one.usable, one.keys_age) for one in found.providers] == [
        ("corporate", True, 90.0),
        ("keys", False, None),
    ]


def test_what_is_wrong_stands_out() -> None:
    """And nothing that a client sent drives the terminal."""
    found = view(
        seen(0, checks(0, 0), told=activity(read=1)),
        seen(1, checks(90, 10), ("[+] listeners: open", "[-] store: no answer", "not ready"), activity(read=91)),
    )
    assert (found.ready, found.troubles) == (False, ("[-] store: no answer",))
    text = io.StringIO()
    Console(file=text, width=120, highlight=False, markup=False).print(screen(found, "127.0.0.1:8081", harmless))
    told = text.getvalue()
    assert "not ready" in told
    assert "100 checks/s  90 allowed  10 denied (10%)" in told
    assert "half within 0.5 ms, 99 % within 1 ms" in told
    assert "03:04:05" in told
    assert "\x1b" not in told


def test_the_slowest_phase_comes_first() -> None:
    """Of the Checks that were timed between two looks; without any, nothing is told."""

    def phases(checks: int, **seconds: float) -> str:
        return json.dumps({"rules": [], "denials": [], "phases": {"checks": checks, "seconds": seconds}})

    before, now = phases(100, request=1.0, identity=1.0), phases(300, request=1.002, identity=1.006)
    found = view(seen(0, checks(0, 0), told=before), seen(1, checks(1, 0), told=now))
    assert [(one.name, round(one.seconds * 1e6), round(one.share, 2)) for one in found.phases] == [
        ("identity", 30, 0.75),
        ("request", 10, 0.25),
    ]
    text = io.StringIO()
    Console(file=text, width=120).print(screen(found, "x", harmless))
    assert "where the time goes  identity 30 us (75%)  request 10 us (25%)" in text.getvalue()
    assert view(seen(0, checks(0, 0), told=now), seen(1, checks(1, 0), told=now)).phases == ()
    again = view(seen(0, checks(0, 0), told=now), seen(1, checks(1, 0), told=phases(1, request=0.5)))
    assert [one.seconds for one in again.phases] == [0.5]


def test_a_server_that_tells_no_activity_says_so() -> None:
    """Where anybody could ask for it."""
    found = view(seen(0, checks(0, 0)), seen(1, checks(1, 0)))
    text = io.StringIO()
    Console(file=text, width=120).print(screen(found, "x", harmless))
    assert "on loopback, a unix socket or with client certificates only" in text.getvalue()
    assert json.loads(json.dumps(found.as_json()))["told"] is False


def issuing(issued: float, **more: float) -> Any:
    """What is counted of a token service that is well."""
    return (
        checks(0, 0)
        | samples(
            extauthz_signing_usable=1,
            extauthz_token_store_usable=1,
            extauthz_revocations_age_seconds=0.2,
            extauthz_signature_duration_seconds_count=issued,
            extauthz_signature_duration_seconds_sum=issued * 0.002,
        )
        | {
            ("extauthz_tokens_total", (("grant", "client_credentials"), ("outcome", "issued"))): issued,
            ("extauthz_tokens_total", (("grant", "refresh_token"), ("outcome", "issued"))): 0.0,
            ("extauthz_tokens_total", (("grant", "other"), ("outcome", "invalid_client"))): issued / 10,
            ("extauthz_tokens_total", (("grant", "refresh_token"), ("outcome", "invalid_client"))): 1.0,
            ("extauthz_revocations", (("kind", "token"),)): 3.0,
            ("extauthz_revocations", (("kind", "family"),)): 1.0,
            ("extauthz_signing_key_age_seconds", (("slot", "current"),)): 7200.0,
            ("extauthz_signing_key_age_seconds", (("slot", "next"),)): 30.0,
            ("extauthz_audit_total", (("outcome", "failed"),)): 0.0,
        }
        | samples(**more)
    )


def drawn(found: Any) -> str:
    """The screen, in one line."""
    text = io.StringIO()
    Console(file=text, width=400, highlight=False, markup=False).print(screen(found, "x", harmless))
    return " ".join(text.getvalue().split())


def test_a_token_service_has_a_line() -> None:
    """What is issued a second by grant, what is refused and why, keys with their ages, revocations, and no more."""
    found = view(seen(0, issuing(100)), seen(2, issuing(200)))
    tokens = found.tokens
    assert tokens is not None
    assert [(one.name, one.per_second, one.total) for one in tokens.issued] == [("client_credentials", 50, 200)]
    assert [(one.name, one.per_second, one.total) for one in tokens.refused] == [("invalid_client", 5, 21)]
    assert (tokens.revocations, dict(tokens.keys)) == (4, {"current": 7200, "next": 30})
    assert tokens.signature == pytest.approx(0.002)
    told = drawn(found)
    assert "tokens 50.0 issued/s 5.0 refused/s keys: current 2 h next 30 s a signature 2.0 ms" in told
    assert "4 revocations, read 0 s ago" in told
    for word in ("vault", "DOWN", "CAN'T", "twice", "AUDIT"):
        assert word not in told
    assert json.loads(json.dumps(found.as_json()))["tokens"]["keys"] == {"current": 7200, "next": 30}


def test_what_is_wrong_with_a_token_service_stands_out() -> None:
    """Keys that can't sign, a store and a Vault that are down, tokens that were stolen, events without a record."""
    wrong = issuing(
        1,
        extauthz_signing_usable=0,
        extauthz_token_store_usable=0,
        extauthz_vault_available=0,
        extauthz_refresh_tokens_reused_total=2,
    ) | {("extauthz_audit_total", (("outcome", "failed"),)): 3.0}
    told = drawn(view(seen(0, wrong), seen(1, wrong)))
    for words in ("CAN'T SIGN", "store DOWN", "vault DOWN", "2 refresh tokens used twice", "3 NOT IN THE AUDIT LOG"):
        assert words in told
    well = issuing(1, extauthz_vault_available=1, extauthz_vault_token_ttl_seconds=1200)
    assert "vault up, its token lasts 20 min" in drawn(view(seen(0, well), seen(1, well)))


def test_a_server_without_a_token_service_has_none() -> None:
    """And no line about it."""
    found = view(seen(0, checks(0, 0)), seen(1, checks(1, 0)))
    assert found.tokens is None
    assert "issued" not in drawn(found)
