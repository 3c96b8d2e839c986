"""``store`` and ``limits``: where records are kept and rates are counted, and what is true of all rates.

Rates themselves are in policies. What is set here is whether they hold for one process or for all replicas together: the
counters are in memory, or in a Redis or Valkey that the replicas share. A rate that would be another one than it says,
because several processes count for themselves, is refused unless somebody says that it is meant. SQLite keeps the token
service's records and counts nothing: a wait for the disk is too much for a Check.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from extauthz.config.durations import Duration
from extauthz.config.faults import Fault
from extauthz.config.fields import FilePath, Section, Text, located, within
from extauthz.documents import FieldError

if TYPE_CHECKING:
    from extauthz.config.configuration import Config

__all__ = ["Limits", "Store", "limit_faults"]

_MEMORY = "memory:"
_SCHEMES = ("redis", "rediss", "redis+unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_SQLITE = "sqlite:"
_FORMS = (
    "memory: | sqlite:///var/lib/extauthz/state.db | redis://host:6379/0 | rediss://... | redis+unix:///path | "
    "redis+sentinel://a,b/main | redis+cluster://a,b"
)


def _url(url: str) -> str:
    if url == _MEMORY:
        return url
    if url.startswith(_SQLITE):
        return _file(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise FieldError("is not a URL of a store", _FORMS) from None
    if parts.scheme not in _SCHEMES:
        raise FieldError("is not a URL of a store that this version knows", _FORMS)
    if parts.password is not None:
        raise FieldError("must not hold a password, which would be seen wherever the URL is", "use passwordFile")
    if not _placed(parts):
        raise FieldError("does not say where the store is", _FORMS)
    return url


def _file(url: str) -> str:
    path = url.removeprefix(_SQLITE)
    if path == ":memory:":
        raise FieldError("would keep nothing", "write memory:")
    if path.startswith("//") or not path or path.endswith(("/", "/.", "/..")) or set(path) & set("?#"):
        raise FieldError(
            "does not name a file", "sqlite:///var/lib/extauthz/state.db, or sqlite:state.db relative to this file"
        )
    return url


def _joined(value: Any, info: ValidationInfo) -> Any:
    """Join the path of a database to the folder of the file that names it, as any other path."""
    if isinstance(value, str) and value.startswith(_SQLITE):
        path = re.sub(r"\A///+", "/", value.removeprefix(_SQLITE))
        if path and not path.startswith(("//", ":")) and not path.endswith("/"):
            return _SQLITE + located(type(value)(path), info)
    return value


def _placed(parts: SplitResult) -> bool:
    if parts.scheme == "redis+unix":
        return not parts.netloc and len(parts.path) > 1
    hosts = parts.netloc.rpartition("@")[2].split(",")
    named = not parts.scheme.endswith("+sentinel") or len(parts.path) > 1
    return all(hosts) and named


class Store(Section):
    """Where the token service keeps its records, and what replicas share."""

    url: Annotated[Text, AfterValidator(_url), BeforeValidator(_joined)] = _MEMORY
    """`memory:` for one process by itself; `sqlite:///path` or `sqlite:path` for the token service's records in a file that
    the processes of one machine share, while rates are counted in memory; `redis://host:6379/0` (also Valkey), `rediss://`
    with TLS, `redis+unix:///path`, `redis+sentinel://host1,host2/name` or `redis+cluster://host1,host2` for replicas
    together."""
    username: Text | None = None
    """An ACL user of the store."""
    username_file: FilePath | None = None
    """A file with the ACL user, read again with the password: for users that come and go (`vault:database/creds/...`)."""
    password_file: FilePath | None = None
    """A file with the password; read again for each connection."""
    ca_file: FilePath | None = None
    """Authorities to trust instead of the system's, PEM."""
    cert_file: FilePath | None = None
    """The certificate that is shown to the store, PEM."""
    key_file: FilePath | None = None
    """The key of that certificate."""

    @property
    def shared(self) -> bool:
        """Whether replicas count there together: a Redis or Valkey."""
        return self.url != _MEMORY and self.file is None

    @property
    def file(self) -> str | None:
        """The path of a SQLite database; None: the store is no file."""
        return self.url.removeprefix(_SQLITE) if self.url.startswith(_SQLITE) else None

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.url.startswith("rediss")


class Limits(Section):
    """How rates are counted. The rates themselves are in policies."""

    mode: Literal["exact", "leased"] = "exact"
    """With a shared store. exact: each request with a rate asks it. leased: each replica takes some permits ahead and
    answers by itself; never more than the rate in sum, but what a replica leaves unused is lost for some seconds."""
    timeout: Annotated[float, Duration(0.001, 5)] = 0.05
    """The most time that a request waits for the shared store; beyond it the policy's `whenStoreFails` holds."""
    max_keys: Annotated[int, within(1000, 100_000_000)] = 1_000_000
    """Callers that are counted in memory at a time; one takes up to 400 bytes. What is idle is forgotten first."""
    denied_per_address: Annotated[int, within(1, 1_000_000)] | None = None
    """Denied requests of one client address in any 60 seconds, counted by each process; beyond it they get 429, and no
    other server is asked about their credentials. Callers whose credentials can be verified here are not affected. Set it
    well above what honest clients behind one address need. Absent: no limit."""
    per_process: bool = False
    """true: with `workers` above 1 and no shared store, each process counts for itself, so a rate is up to `workers` times
    what it says."""


def limit_faults(config: "Config", *, workers: int) -> Iterator[Fault]:
    """What does not fit together about the store and the rates."""
    yield from _store_faults(config.store)
    yield from _rate_faults(config.store, config.limits, workers=workers)


def _store_faults(store: Store) -> Iterator[Fault]:
    if (store.cert_file is None) != (store.key_file is None):
        missing = "keyFile" if store.key_file is None else "certFile"
        yield Fault(
            ("store", "certFile"), f"a certificate is shown with its key: {missing} is missing", "set both or none"
        )
    if not store.tls:
        for name, value in (("caFile", store.ca_file), ("certFile", store.cert_file)):
            if value is not None:
                yield Fault(("store", name), "is for TLS, and the URL is without", "write rediss:// in store.url")
    if store.file is not None:
        for name, value in (
            ("username", store.username),
            ("usernameFile", store.username_file),
            ("passwordFile", store.password_file),
        ):
            if value is not None:
                yield Fault(("store", name), "is for a server, and the store is a file", "leave it out")
    elif store.username is not None and store.username_file is not None:
        yield Fault(("store", "usernameFile"), "the user is in username or in usernameFile", "keep one of them")
    elif store.username_file is not None and store.password_file is None:
        yield Fault(("store", "usernameFile"), "a user needs a password", "set store.passwordFile")


def _rate_faults(store: Store, limits: Limits, *, workers: int) -> Iterator[Fault]:
    if not store.shared and limits.mode == "leased":
        yield Fault(
            ("limits", "mode"), "leases are taken from a shared store, and there is none", "set store.url to redis://"
        )
    if workers > 1 and not store.shared and not limits.per_process:
        memory = "memory" if store.file is None else "memory, for SQLite counts none"
        yield Fault(
            ("limits", "perProcess"),
            f"{workers} workers count rates in {memory}, each for itself: a rate would be up to {workers} times what it says",
            "set store.url to a redis:// store, or say that it is meant with limits.perProcess: true",
        )
