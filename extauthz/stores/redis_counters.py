"""Counters of rates in a Redis or Valkey: one script decides and counts, by the store's own clock.

A key holds the seconds of the last minute in which something was granted, each with how much: a short list, packed, in the
order of time. The script reads it, drops what is too old, and writes it back only if it grants, so what is refused costs no
write. There are never more than 61 seconds and those of a lease, so the work has a bound, and the key expires when none of
it counts any more.

What is asked within one turn of the event loop travels as one pipeline, and while all connections are busy more comes
together. A script that the store has forgotten is sent again. Who stops waiting leaves the others alone.
"""

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Final

from extauthz.limits import Counted, CountersError, Wanted
from extauthz.stores.client import CLUSTER_CONNECTIONS, close_client, end_if_cancelled, open_client, said
from extauthz.stores.redis_durability import MISPLACED, evicting, misplaced
from extauthz.stores.settings import StoreSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster

__all__ = ["RedisCounters"]

_COUNT: Final = """
local now = tonumber(redis.call('TIME')[1])
local per_minute, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, lease = tonumber(ARGV[3]), tonumber(ARGV[4])
local packed = redis.call('GET', KEYS[1])
local old = packed and cmsgpack.unpack(packed) or {}
local kept, total, recent, mended = {}, 0, 0, false
for i = 1, #old, 2 do
  local at, count = old[i], old[i + 1]
  if at > now + 60 then at = now mended = true end -- the store's clock was set back
  if at > now - 61 then
    kept[#kept + 1] = at
    kept[#kept + 1] = count
    total = total + count
    if at >= now - 1 then recent = recent + count end
  end
end
local room = per_minute - total
if burst >= 0 then room = math.min(room, burst - recent) end
local granted = math.max(math.min(wanted, room), 0)
if granted > 0 then
  local at, i = now + lease, #kept + 1
  while i > 1 and kept[i - 2] >= at do i = i - 2 end
  if kept[i] == at then
    kept[i + 1] = kept[i + 1] + granted
  else
    table.insert(kept, i, granted)
    table.insert(kept, i, at)
  end
end
if granted > 0 or mended then
  local last = math.max(kept[#kept - 1], now)
  redis.call('SET', KEYS[1], cmsgpack.pack(kept), 'EX', last - now + 62)
end
local wait = 0
if granted == 0 then
  local over, fast = total - per_minute, burst >= 0 and recent - burst or -1
  for i = 1, #kept, 2 do
    local at, count = kept[i], kept[i + 1]
    if over >= 0 then wait = math.max(wait, at + 61 - now) over = over - count end
    if fast >= 0 and at >= now - 1 then wait = math.max(wait, at + 2 - now) fast = fast - count end
  end
end
return {granted, math.max(room - granted, 0), #kept > 0 and kept[1] + 61 - now or 0, wait}
"""

_HEARTBEAT: Final = """
local now = tonumber(redis.call('TIME')[1])
-- Seen in the future: the store's clock was set back.
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do
  redis.call('ZADD', KEYS[1], now, name)
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 15)
redis.call('EXPIRE', KEYS[1], 60)
return redis.call('ZCARD', KEYS[1])
"""
_REPLICAS: Final = "extauthz:{replicas}"

_BEATS_BETWEEN_LOOKS: Final = 12

_STORE_DOWN: Final = (
    "BUSY ",
    "MISCONF ",
    "NOREPLICAS ",
    "UNKILLABLE ",
    "NOPROTO ",
    "DENIED ",
    "ERR max number of clients",
)
"""How errors begin that are not about one key, of those for which the library has no class."""


class RedisCounters:
    """Implements ``extauthz.limits.SharedCounters``."""

    def __init__(self, settings: StoreSettings) -> None:
        """Connect when first asked."""
        self._client: Redis | RedisCluster = open_client(settings)
        self._cluster = "+cluster:" in settings.url
        self._most = settings.connections
        self._free = asyncio.Semaphore(CLUSTER_CONNECTIONS)
        self._sha = _sha1(_COUNT)
        self._queue: list[tuple[Wanted, asyncio.Future[Counted]]] = []
        self._batches: set[asyncio.Task[None]] = set()
        self._flushing = False
        self._name = secrets.token_hex(8)
        self._beats = 0
        self.warning = ""
        """What people should know of the store although it works; empty: nothing."""

    def ask(self, wanted: Wanted) -> asyncio.Future[Counted]:
        """Count with the next pipeline. Raises CountersError when awaited."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Counted] = loop.create_future()
        self._queue.append((wanted, answer))
        if not self._flushing and len(self._batches) < self._most:
            self._flushing = True
            loop.call_soon(self._flush)
        return answer

    async def heartbeat(self) -> int:
        """Register this replica for fifteen seconds.

        Raises:
            CountersError: The store can't be reached or written to.
        """
        try:
            replicas = int(await self._client.eval(_HEARTBEAT, 1, _REPLICAS, self._name))
        except Exception as error:  # the library's faults have no root in common
            end_if_cancelled()
            raise CountersError(said(error)) from error
        if self._beats % _BEATS_BETWEEN_LOOKS == 0:
            # An account that may not ask is no fault.
            with contextlib.suppress(Exception):
                self.warning = await self._look()
        end_if_cancelled()
        self._beats += 1
        return replicas

    async def close(self) -> None:
        """Take this replica out, and close all connections."""
        for batch in list(self._batches):
            batch.cancel()
        await asyncio.gather(*self._batches, return_exceptions=True)
        with contextlib.suppress(Exception):
            await self._client.zrem(_REPLICAS, self._name)
        with contextlib.suppress(Exception):
            await close_client(self._client)

    async def _look(self) -> str:
        """What people should know of this store."""
        if not self._cluster and await misplaced(self._client):
            return MISPLACED
        policy = evicting(await self._client.info("memory"))
        # A key that is evicted gives back what was used of its rate.
        return (
            f"maxmemory-policy is {policy}: evicted keys give back what was used of a rate; set noeviction"
            if policy
            else ""
        )

    def _flush(self) -> None:
        self._flushing = False
        # Who has stopped waiting need not be charged.
        batch = [(wanted, answer) for wanted, answer in self._queue if not answer.done()]
        self._queue.clear()
        if batch:
            task = asyncio.get_running_loop().create_task(self._send(batch))
            self._batches.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        if self._queue and not self._flushing:
            self._flush()

    async def _send(self, batch: list[tuple[Wanted, asyncio.Future[Counted]]]) -> None:
        """Ask for all of these. Whatever happens, each has an answer in the end."""
        from redis.exceptions import NoScriptError

        try:
            replies = await self._run("EVALSHA", self._sha, batch)
            again = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if again:  # nothing was counted for these
                fresh = await self._run("EVAL", _COUNT, [batch[n] for n in again])
                for n, reply in zip(again, fresh, strict=True):
                    replies[n] = reply
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is left waiting
            replies = [error] * len(batch)
        except asyncio.CancelledError:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(CountersError("the connections were closed"))
            raise
        for (_, answer), reply in zip(batch, replies, strict=True):
            if answer.done():
                continue
            if isinstance(reply, Exception):
                answer.set_exception(_fault(reply))
            else:
                answer.set_result(Counted(*reply))

    async def _run(self, command: str, script: str, batch: list[tuple[Wanted, asyncio.Future[Counted]]]) -> list[Any]:
        asked = [_command(command, script, wanted) for wanted, _ in batch]
        if self._cluster:
            # The library's cluster pipelines take no scripts: it finds the node of each, once it knows them.
            await self._client.initialize()
            return await asyncio.gather(*(self._sent_alone(parts) for parts in asked), return_exceptions=True)
        pipeline = self._client.pipeline(transaction=False)
        for parts in asked:
            pipeline.execute_command(*parts)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies

    async def _sent_alone(self, parts: tuple[str | int | bytes, ...]) -> Any:
        async with self._free:
            return await self._client.execute_command(*parts)


def _command(command: str, script: str, wanted: Wanted) -> tuple[str | int | bytes, ...]:
    rate = wanted.rate
    # In a cluster the braces say what a key's place is chosen by.
    key = f"extauthz:rate:{{{wanted.key.hex()}}}"
    burst = -1 if rate.burst is None else rate.burst
    return (command, script, 1, key, rate.per_minute, burst, wanted.permits, wanted.lease)


def _sha1(script: str) -> str:
    import hashlib

    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _fault(error: Exception) -> CountersError:
    from redis.exceptions import (
        AuthenticationWrongNumberOfArgsError,
        ClusterDownError,
        NoPermissionError,
        OutOfMemoryError,
        ReadOnlyError,
        ResponseError,
        TryAgainError,
    )

    # The library has cut the code from the text of these. What is no answer of the server at all is no ResponseError.
    whole = (
        AuthenticationWrongNumberOfArgsError,
        ClusterDownError,
        NoPermissionError,
        OutOfMemoryError,
        ReadOnlyError,
        TryAgainError,
    )
    one = isinstance(error, ResponseError) and not isinstance(error, whole) and not str(error).startswith(_STORE_DOWN)
    return CountersError(said(error), only_this=one)
