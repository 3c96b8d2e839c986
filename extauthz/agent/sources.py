"""Where tokens come from: one question to the token service for each way of getting one.

Every secret is read from its file for each question, so that what Kubernetes or a person puts there counts at once. What a
question costs is bounded by who posts it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from extauthz.agent.answers import Issued, Refused, Unanswered, read_answer
from extauthz.agent.files import Room, StateFile
from extauthz.agent.settings import Grant, Purpose
from extauthz.errors import KeySetError, UpstreamError
from extauthz.identity.client_authentication import ClientAuthentication
from extauthz.identity.fetching import FetchSettings, Posted

__all__ = ["Answer", "Poster", "TokenSource", "token_source"]

Answer = Issued | Refused | Unanswered

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_MOST = 65_536


class ServiceAnswer(Posted, Protocol):
    """What the token service answered."""

    @property
    def retry_after(self) -> float | None:
        """Seconds after which it wants to be asked again; None if it did not say so."""
        ...


class Poster(Protocol):
    """Posts to the token service, within a bounded time and size. ``extauthz.fetch.HttpFetcher`` is the real one."""

    async def post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str], settings: FetchSettings
    ) -> ServiceAnswer:
        """The answer to a form. Raises UpstreamError, whose text holds nothing of form and headers."""
        ...

    async def post_json(self, url: str, value: Mapping[str, str], settings: FetchSettings) -> ServiceAnswer:
        """The answer to a JSON object. Raises UpstreamError, whose text holds nothing of it."""
        ...


class TokenSource(Protocol):
    """One way of getting tokens."""

    async def get(self, before: str) -> Answer:
        """A new token; ``before`` is the one in force, empty without one."""
        ...

    async def settle(self) -> str:
        """Write down what could not be written when it came; gives why it still can't be, empty if nothing is left."""
        ...


def token_source(
    grant: Grant,
    service: str,
    poster: Poster,
    reach: FetchSettings,
    *,
    client: ClientAuthentication | None,
    purpose: Purpose,
    file: str = "",
    subject_type: str = "",
    now: Callable[[], float] = time.time,
) -> TokenSource:
    """The source for a grant. ``service`` is the URL of the token service; ``file`` has the subject token to exchange, the
    refresh token, or the token to begin with.
    """
    base = service.rstrip("/")
    if grant == "renew":
        return _Renewal(f"{base}/refresh", poster, reach, Path(file), now)
    if client is None:
        message = f"{grant} without a client"
        raise ValueError(message)
    endpoint = _Endpoint(f"{base}/oauth2/token", poster, reach, client, now)
    if grant == "client-credentials":
        return _ClientCredentials(endpoint, purpose)
    if grant == "token-exchange":
        return _Exchange(endpoint, purpose, Path(file), subject_type)
    return _Refresh(endpoint, purpose, StateFile(file))


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """The token endpoint, and how we prove who we are there."""

    url: str
    poster: Poster
    reach: FetchSettings
    client: ClientAuthentication
    now: Callable[[], float]

    async def ask(self, form: Mapping[str, str]) -> Answer:
        """The answer to a grant."""
        try:
            proof = await asyncio.to_thread(self.client.prove, self.now())
            posted = await self.poster.post(self.url, {**form, **proof.form}, proof.headers, self.reach)
        except (UpstreamError, KeySetError) as error:
            return Unanswered(str(error))
        return _read_answer(posted, self.now(), "access_token")


@dataclass(frozen=True, slots=True)
class _ClientCredentials:
    """RFC 6749 section 4.4."""

    endpoint: _Endpoint
    purpose: Purpose

    async def get(self, before: str) -> Answer:  # noqa: ARG002 - the same question each time
        return await self.endpoint.ask({"grant_type": "client_credentials", **self.purpose.form()})

    async def settle(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """RFC 8693: for the token in a file, which Kubernetes replaces every hour."""

    endpoint: _Endpoint
    purpose: Purpose
    file: Path
    subject_type: str

    async def get(self, before: str) -> Answer:  # noqa: ARG002 - the file says whose token it is
        try:
            subject = await asyncio.to_thread(_read, self.file)
        except UpstreamError as error:
            return Unanswered(str(error))
        form = {"grant_type": _EXCHANGE, "subject_token": subject, "subject_token_type": self.subject_type}
        return await self.endpoint.ask({**form, **self.purpose.form()})

    async def settle(self) -> str:
        return ""


@dataclass(slots=True)
class _Refresh:
    """RFC 6749 section 6 with rotation: each refresh token is good once, and its successor is on disk before anything else
    is done. If we are killed before that, the old one is shown again, and the service gives the same answer within its grace.
    """

    endpoint: _Endpoint
    purpose: Purpose
    file: StateFile
    unwritten: str = field(default="", repr=False)
    """A successor for which the disk had no room after all."""

    async def get(self, before: str) -> Answer:  # noqa: ARG002 - the file says what to come with
        try:
            return await self._get()
        except OSError as error:
            return Unanswered(f"{self.file.path}: {error.strerror}")

    async def _get(self) -> Answer:
        held: str | None = await asyncio.to_thread(self.file.read)
        shown = self.unwritten or held
        if not shown:
            return Unanswered(f"{self.file.path}: there is no refresh token in it")
        room = await asyncio.to_thread(self.file.room)
        try:
            asked = {"grant_type": "refresh_token", "refresh_token": shown, **self.purpose.form()}
            answer = await self.endpoint.ask(asked)
            if isinstance(answer, Issued) and answer.refresh_token:
                self.unwritten = answer.refresh_token
                await asyncio.to_thread(self._fill, room)
        finally:
            await asyncio.to_thread(room.release)
        return answer

    def _fill(self, room: Room) -> None:
        # If it fails, the token goes on in memory, and ``settle`` tries again.
        with suppress(OSError):
            room.fill(self.unwritten)
            self.unwritten = ""

    async def settle(self) -> str:
        if self.unwritten:
            try:
                await asyncio.to_thread(self.file.write, self.unwritten)
            except OSError as error:
                return f"{self.file.path}: the new refresh token can't be written: {error.strerror}"
            self.unwritten = ""
        return ""


@dataclass(frozen=True, slots=True)
class _Renewal:
    """``POST /refresh``: the token before is what the next one is given for; the first one is in a file."""

    url: str
    poster: Poster
    reach: FetchSettings
    first: Path
    now: Callable[[], float]

    async def get(self, before: str) -> Answer:
        try:
            shown = before or await asyncio.to_thread(_read, self.first)
            posted = await self.poster.post_json(self.url, {"token": shown}, self.reach)
        except UpstreamError as error:
            return Unanswered(str(error))
        return _read_answer(posted, self.now(), "token")

    async def settle(self) -> str:
        return ""


def _read_answer(posted: ServiceAnswer, now: float, name: str) -> Answer:
    return read_answer(posted.status, posted.body, now, name=name, retry_after=posted.retry_after)


def _read(file: Path) -> str:
    """A token that somebody else keeps in a file. Raises UpstreamError."""
    try:
        with file.open("rb") as opened:
            token = opened.read(_MOST).decode("ascii").strip()
    except OSError as error:
        raise UpstreamError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token or any(character.isspace() for character in token):
        raise UpstreamError(f"{file}: there is no token in it")
    return token
