"""How a Redis or Valkey is set up to keep what it has acknowledged, in words for whoever runs it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster

__all__ = ["MISPLACED", "durability", "evicting", "misplaced"]

MISPLACED: Final = "this is a node of a cluster, and other nodes hold most keys: write redis+cluster:// in store.url"


async def misplaced(client: "Redis | RedisCluster") -> bool:
    """Whether one node of a cluster is spoken to as if it were all of it."""
    return bool((await client.info("cluster")).get("cluster_enabled"))


def evicting(memory: Mapping[str, Any]) -> str:
    """The policy by which keys are evicted when the memory is full; empty: none is. Of a cluster, that of any node."""
    for node in _nodes(memory, "maxmemory"):
        policy = str(node.get("maxmemory_policy", "noeviction"))
        if node.get("maxmemory") and policy != "noeviction":
            return policy
    return ""


async def durability(client: "Redis | RedisCluster", *, cluster: bool) -> str:
    """What acknowledged records may be lost by, and how that is mended; empty: the server does what it can.

    Raises:
        Exception: This account may not ask.
    """
    if not cluster and await misplaced(client):
        return MISPLACED
    found = []
    policy = evicting(await client.info("memory"))
    if policy:
        found.append(
            f"maxmemory-policy is {policy}: evicted records are revoked tokens that are good again; set noeviction"
        )
    if not all(node.get("aof_enabled") for node in _nodes(await client.info("persistence"), "aof_enabled")):
        found.append(
            "appendonly is off: a crash forgets what was acknowledged; set appendonly yes and appendfsync always"
        )
    elif (await client.config_get("appendfsync")).get("appendfsync") != "always":
        found.append("appendfsync is not always: a loss of power forgets the last second; set appendfsync always")
    return "; ".join(found)


def _nodes(answer: Mapping[str, Any], named: str) -> list[Mapping[str, Any]]:
    """The answers of one server, or, as the library gives them for a cluster, of each node."""
    if named in answer:
        return [answer]
    return [node for node in answer.values() if isinstance(node, dict)]
