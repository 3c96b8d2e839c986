"""``store`` and ``limits``: where records are kept and rates are counted."""

from collections.abc import Callable
from typing import Any

import pytest

from extauthz.config.limits import limit_faults

Load = Callable[..., Any]
Problems = Callable[..., list[str]]


def test_rates_are_counted_in_memory_by_default(load: Load) -> None:
    """And denied requests not at all."""
    config = load("")
    assert not config.store.shared
    assert (config.limits.mode, config.limits.timeout, config.limits.max_keys) == ("exact", 0.05, 1_000_000)
    assert config.limits.denied_per_address is None
    assert not config.responses.rate_limits


@pytest.mark.parametrize(
    "url",
    [
        "redis://valkey:6379/0",
        "redis://app@valkey",
        "rediss://valkey:6380",
        "redis+unix:///run/valkey.sock",
        "redis+sentinel://a:26379,b:26379/main",
        "rediss+sentinel://a/main",
        "redis+cluster://a:6379,b:6379",
    ],
)
def test_replicas_share_a_store(load: Load, url: str) -> None:
    """Redis and Valkey, alone, watched over, or many."""
    store = load(f"store: {{url: '{url}'}}").store
    assert (store.url, store.shared, store.tls) == (url, True, url.startswith("rediss"))


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///var/lib/extauthz/state.db", "/var/lib/extauthz/state.db"),
        ("sqlite:////var/lib/state.db", "/var/lib/state.db"),
        ("sqlite:/var/lib/state.db", "/var/lib/state.db"),
        ("sqlite:///a b/100%25.db", "/a b/100%25.db"),
    ],
)
def test_records_are_kept_in_a_file(load: Load, url: str, file: str) -> None:
    """Of this machine: replicas share no file, and no rates are counted in it."""
    store = load(f"store: {{url: '{url}'}}").store
    assert (store.url, store.file, store.shared, store.tls) == (f"sqlite:{file}", file, False, False)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("valkey:6379", "is not a URL of a store"),
        ("http://valkey", "is not a URL of a store"),
        ("sqlite3:///x.db", "is not a URL of a store"),
        ("sqlite:", "does not name a file"),
        ("sqlite:///", "does not name a file"),
        ("sqlite://state.db", "does not name a file"),
        ("sqlite:state/", "does not name a file"),
        ("sqlite:///x/..", "does not name a file"),
        ("sqlite:///x.db?mode=ro", "does not name a file"),
        ("sqlite::memory:", "would keep nothing (write memory:)"),
        ("redis://", "does not say where the store is"),
        ("redis+unix://run/x", "does not say where the store is"),
        ("redis+sentinel://a,b", "does not say where the store is"),
        ("redis+cluster://a,,b", "does not say where the store is"),
        ("redis://[::1", "is not a URL of a store"),
        ("redis://:hunter2@valkey", "must not hold a password"),
    ],
)
def test_what_is_no_store_is_refused(problems: Problems, url: str, told: str) -> None:
    """With the forms that there are; a password is never repeated."""
    (problem,) = problems(f"store: {{url: '{url}'}}")
    assert told in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{store: {url: 'redis://a', caFile: ca.pem}}", "store.caFile: is for TLS"),
        ("{store: {url: 'rediss://a', certFile: c.pem}}", "keyFile is missing"),
        ("{store: {url: 'sqlite:///x', certFile: c.pem, keyFile: k.pem}}", "store.certFile: is for TLS"),
        ("{store: {url: 'sqlite:///x', passwordFile: p}}", "store.passwordFile: is for a server"),
        ("{store: {url: 'sqlite:///x', username: u}}", "store.username: is for a server"),
        ("{store: {url: 'sqlite:///x', usernameFile: u}}", "store.usernameFile: is for a server"),
        ("{store: {url: 'sqlite:///x'}, limits: {mode: leased}}", "leases are taken from a shared store"),
        ("{limits: {mode: leased}}", "leases are taken from a shared store"),
        ("{limits: {deniedPerAddress: 0}}", "must be from 1 to"),
        ("{limits: {maxKeys: 1}}", "must be from 1000 to"),
        ("{limits: {timeout: 1m}}", "limits.timeout"),
    ],
)
def test_what_does_not_fit_together_is_refused(problems: Problems, text: str, told: str) -> None:
    """At start, with its place."""
    (problem,) = problems(text)
    assert told in problem


def test_a_rate_that_several_processes_would_count_for_themselves_must_be_meant(load: Load) -> None:
    """Else 100 a minute would be 400 with four workers."""
    memory, shared = load(""), load("store: {url: 'redis://a'}")
    assert [fault.path for fault in limit_faults(memory, workers=4)] == [("limits", "perProcess")]
    assert not list(limit_faults(memory, workers=1))
    assert not list(limit_faults(shared, workers=4))
    assert not list(limit_faults(load("limits: {perProcess: true}"), workers=4))


def test_a_file_counts_no_rates_for_several_processes(load: Load) -> None:
    """Whoever set a store is told why that is not enough."""
    [fault] = limit_faults(load("store: {url: 'sqlite:///x'}"), workers=2)
    assert fault.path == ("limits", "perProcess")
    assert "2 workers count rates in memory, for SQLite counts none" in fault.message
