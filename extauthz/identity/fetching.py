"""What the room asks of the network: documents and answers to forms, fetched by somebody else within limits.

``extauthz.fetch`` implements it and ``extauthz.app`` plugs it in; nothing here opens a connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["STRICT_FETCH", "FetchSettings", "Fetched", "Fetcher", "Posted"]


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """How a provider's keys and endpoints may be reached. The defaults are the strict ones."""

    ca_file: str | None = None
    """PEM certificates that replace the system's trust store; None: the system's."""
    token_file: str | None = None
    """A bearer token, read anew for each fetch (Kubernetes API server). It goes to the origin that the provider names
    itself, over TLS, and nowhere else."""
    allow_private_addresses: bool = False
    """Private, loopback and shared addresses may be dialled."""
    allow_http: bool = False
    """Plain HTTP may be spoken."""


STRICT_FETCH = FetchSettings()


class Fetched(Protocol):
    """What a fetch brought."""

    @property
    def body(self) -> bytes:
        """The body, not decoded."""
        ...

    @property
    def max_age(self) -> float | None:
        """Seconds that the server calls the answer fresh for; None if it does not say."""
        ...


class Posted(Protocol):
    """What a server answered to a form."""

    @property
    def status(self) -> int:
        """The HTTP status, whichever it is."""
        ...

    @property
    def media_type(self) -> str:
        """In lower case, without parameters; empty if the answer does not say."""
        ...

    @property
    def body(self) -> bytes:
        """The body, not decoded."""
        ...


class Fetcher(Protocol):
    """Gets a document over HTTP. ``extauthz.fetch.HttpFetcher`` is the real one."""

    async def get(self, url: str, settings: FetchSettings) -> Fetched:
        """The document at a URL, within a bounded time and size.

        Raises:
            UpstreamError: There is no such document, or it may not be reached.
        """
        ...

    async def post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str], settings: FetchSettings
    ) -> Posted:
        """The answer to a form, within a bounded time and size. No redirect is followed: the form may hold credentials.

        Raises:
            UpstreamError: There is no answer, or the URL may not be reached. The text holds nothing of form and headers.
        """
        ...
