"""What the store of tokens in a Redis or Valkey does, as scripts: each is one step for all replicas.

All keys have one hash tag, so that a cluster keeps them on one node, where a script may change several of them:

=================== ========= ====================================================================================
``about``           hash      schema, epoch, ``last`` place of a revocation, how many records there must be, and
                              the last runs of the server with the place at which each began
``clients``         hash      a client's record by its id
``family:<id>``     string    a family, packed
``ends``            sorted    families by when they end unless they are used before
``of-client:<id>``  set       the client's families that are not revoked; ``of-subject:<sub>`` likewise
``revoked``         hash      ``before`` and ``until`` of a revocation by its kind and value
``log``             sorted    revocations by their place
``forget``          sorted    revocations by ``until``
``names``           sorted    names that are used, by until when
=================== ========= ====================================================================================

Nothing expires by the server's clock, which nobody has compared with that of the replicas. A store that is empty makes
itself an epoch. It makes another one when records are missing that it must have, evicted or deleted by somebody, and when a
replica was told of a place that it has not reached, because a copy that lagged behind took over or an old backup was
restored. Numbers travel as text, for Lua's own have fewer digits when it writes them.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

__all__ = ["ABOUT", "BASE", "CLIENT", "CLIENTS", "PUT_CLIENT", "REMOVE_CLIENT", "SCHEMA", "Script"]

SCHEMA: Final = 1
ABOUT: Final = "extauthz:{tokens}:about"
"""The one key that is named to the server: it tells a cluster which node has all of them."""

BASE: Final = """
local at = 'extauthz:{tokens}:'
local about = redis.call('HMGET', at .. 'about', 'schema', 'epoch', 'count')
if not about[1] then
  about = {'1', ARGV[1], false}
  local last = redis.call('ZREVRANGE', at .. 'log', 0, 0, 'WITHSCORES')[2] or '0' -- if only this was taken away
  redis.call('HSET', at .. 'about', 'schema', about[1], 'epoch', about[2], 'last', last)
end
if about[1] ~= '1' then return redis.error_reply('SCHEMA ' .. about[1]) end
local epoch = about[2]
"""
"""``ARGV[1]`` is what a store that has no epoch takes."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the digest by which a server that has it is asked for it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


CLIENT: Final = Script(BASE + "return redis.call('HGET', at .. 'clients', ARGV[2])")
CLIENTS: Final = Script(BASE + "return redis.call('HGETALL', at .. 'clients')")
PUT_CLIENT: Final = Script(
    BASE
    + """
if redis.call('HEXISTS', at .. 'clients', ARGV[2]) ~= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', at .. 'clients', ARGV[2], ARGV[3])
return 1
"""
)
REMOVE_CLIENT: Final = Script(BASE + "return redis.call('HDEL', at .. 'clients', ARGV[2])")
