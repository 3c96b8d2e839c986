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

__all__ = [
    "ABOUT",
    "BEGIN",
    "CLAIM",
    "CLIENT",
    "CLIENTS",
    "END_FAMILIES",
    "END_FAMILY",
    "FAMILY",
    "FORGET_FAMILIES",
    "FORGET_NAMES",
    "FORGET_REVOCATIONS",
    "PUT_CLIENT",
    "READ",
    "REMOVE_CLIENT",
    "REVOKE",
    "ROTATE",
    "SCHEMA",
    "Script",
]

SCHEMA: Final = 1
ABOUT: Final = "extauthz:{tokens}:about"
"""The one key that is named to the server: it tells a cluster which node has all of them."""

_BASE: Final = """
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

_COUNTED: Final = """
local function count()
  return redis.call('HLEN', at .. 'revoked') .. ' ' .. redis.call('ZCARD', at .. 'log') .. ' '
    .. redis.call('ZCARD', at .. 'forget') .. ' ' .. redis.call('ZCARD', at .. 'names')
end
local function counted() redis.call('HSET', at .. 'about', 'count', count()) end
local function lost()
  epoch = ARGV[1]
  redis.call('HSET', at .. 'about', 'epoch', epoch)
  counted()
end
if count() ~= (about[3] or '0 0 0 0') then lost() end
"""

_RUNS: Final = """
local function this_run() -- a copy that takes over, and a server that starts, tell by themselves how far they have come
  local fine, server = pcall(redis.call, 'INFO', 'server')
  local name = fine and type(server) == 'string' and string.match(server, 'run_id:(%w+)') or ''
  local runs = redis.call('HGET', at .. 'about', 'runs') or ''
  if string.match(runs, '(%w*):%d+$') ~= name then
    local list = {}
    for one in string.gmatch(runs, '%S+') do list[#list + 1] = one end
    list[#list + 1] = name .. ':' .. redis.call('HGET', at .. 'about', 'last')
    while #list > 20 do table.remove(list, 1) end
    runs = table.concat(list, ' ')
    redis.call('HSET', at .. 'about', 'runs', runs)
  end
  return name, runs
end
"""

_FAMILIES: Final = """
local KEY, CLIENT, SUBJECT, GRANT, CREATED, EXPIRES, IDLE = 1, 2, 3, 4, 5, 6, 7
local CURRENT, PREVIOUS, SEALED, ROTATED, GENERATION, REVOKED = 8, 9, 10, 11, 12, 13
local function read(id)
  local packed = redis.call('GET', at .. 'family:' .. id)
  if not packed then return nil end
  local fine, family = pcall(cmsgpack.unpack, packed)
  if not fine or type(family) ~= 'table' or #family ~= 13 then return nil, true end
  return family
end
local function write(id, family) redis.call('SET', at .. 'family:' .. id, cmsgpack.pack(family)) end
local function ends(id, family)
  local expires, idle = family[EXPIRES], family[IDLE]
  redis.call('ZADD', at .. 'ends', tonumber(idle) < tonumber(expires) and idle or expires, id)
end
local function unlist(id, family)
  redis.call('SREM', at .. 'of-client:' .. family[CLIENT], id)
  redis.call('SREM', at .. 'of-subject:' .. family[SUBJECT], id)
end
local function revoke(id, family)
  family[REVOKED] = '1'
  write(id, family)
  unlist(id, family)
end
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the digest by which a server that has it is asked for it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


CLIENT: Final = Script(_BASE + "return redis.call('HGET', at .. 'clients', ARGV[2])")
CLIENTS: Final = Script(_BASE + "return redis.call('HGETALL', at .. 'clients')")
PUT_CLIENT: Final = Script(
    _BASE
    + """
if redis.call('HEXISTS', at .. 'clients', ARGV[2]) ~= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', at .. 'clients', ARGV[2], ARGV[3])
return 1
"""
)
REMOVE_CLIENT: Final = Script(_BASE + "return redis.call('HDEL', at .. 'clients', ARGV[2])")

FAMILY: Final = Script(
    _BASE
    + _FAMILIES
    + """
local family, damaged = read(ARGV[2])
if damaged then return redis.error_reply('DAMAGED') end
return family or false
"""
)
BEGIN: Final = Script(
    _BASE
    + _FAMILIES
    + """
local id = ARGV[2]
if redis.call('EXISTS', at .. 'family:' .. id) == 1 then return 0 end
local family = {}
for n = 1, 13 do family[n] = ARGV[2 + n] end
write(id, family)
ends(id, family)
if family[REVOKED] == '0' then
  redis.call('SADD', at .. 'of-client:' .. family[CLIENT], id)
  redis.call('SADD', at .. 'of-subject:' .. family[SUBJECT], id)
end
return 1
"""
)
ROTATE: Final = Script(
    _BASE
    + _FAMILIES
    + """
local id, presented, successor, sealed = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local now, grace = tonumber(ARGV[6]), tonumber(ARGV[7])
local family, damaged = read(id)
if damaged then return redis.error_reply('DAMAGED') end
if not family then return {'unknown'} end
if family[REVOKED] == '1' or now >= tonumber(family[EXPIRES]) or now >= tonumber(family[IDLE]) then
  return {'ended', family}
end
if presented == family[CURRENT] then
  family[CURRENT], family[PREVIOUS], family[SEALED] = successor, presented, sealed
  family[ROTATED], family[IDLE] = ARGV[6], ARGV[8]
  family[GENERATION] = string.format('%d', family[GENERATION] + 1)
  write(id, family)
  ends(id, family)
  return {'rotated', family}
end
local replaced = family[GENERATION] ~= '0' and presented == family[PREVIOUS]
if replaced and grace > 0 and math.abs(now - tonumber(family[ROTATED])) <= grace then return {'repeated', family} end
revoke(id, family)
return {'reused', family}
"""
)
END_FAMILY: Final = Script(
    _BASE
    + _FAMILIES
    + """
local family, damaged = read(ARGV[2])
if damaged then return redis.error_reply('DAMAGED') end
if not family then return false end
if family[REVOKED] == '0' then revoke(ARGV[2], family) end
return family
"""
)
END_FAMILIES: Final = Script(
    _BASE
    + _FAMILIES
    + """
local most, lists, ids = tonumber(ARGV[2]), {}, nil
for n = 3, #ARGV do lists[#lists + 1] = at .. ARGV[n] end
if #lists == 1 then
  ids = redis.call('SRANDMEMBER', lists[1], most)
else
  ids = redis.call('SINTER', unpack(lists))
end
local ended = 0
for n = 1, math.min(#ids, most) do
  local family = read(ids[n])
  if family then
    revoke(ids[n], family)
    ended = ended + 1
  end
  for _, list in ipairs(lists) do redis.call('SREM', list, ids[n]) end -- what is damaged is dead as it is
end
return {ended, #ids >= most and 1 or 0}
"""
)

REVOKE: Final = Script(
    _BASE
    + _COUNTED
    + _RUNS
    + """
this_run()
for n = 2, #ARGV, 3 do
  local what, before, to = ARGV[n], ARGV[n + 1], ARGV[n + 2]
  local old = redis.call('HGET', at .. 'revoked', what)
  local news = not old
  if old then
    local old_before, old_to = string.match(old, '^(%S+) (%S+)$')
    news = tonumber(before) > tonumber(old_before) or tonumber(to) > tonumber(old_to)
    if tonumber(old_before) > tonumber(before) then before = old_before end
    if tonumber(old_to) > tonumber(to) then to = old_to end
  end
  if news then
    local place = redis.call('HINCRBY', at .. 'about', 'last', 1)
    redis.call('HSET', at .. 'revoked', what, before .. ' ' .. to)
    redis.call('ZADD', at .. 'log', place, what)
    redis.call('ZADD', at .. 'forget', to, what)
  end
end
counted()
return 1
"""
)
READ: Final = Script(
    _BASE
    + _COUNTED
    + _RUNS
    + """
local known, place, run, most = ARGV[2] == epoch, tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local last = tonumber(redis.call('HGET', at .. 'about', 'last'))
local name, runs = this_run()
local seen, least = false, last
for one, began in string.gmatch(runs, '(%w*):(%d+)') do
  if seen then least = math.min(least, tonumber(began)) end
  seen = seen or one == run
end
if known and place > least then -- a later run began without what an earlier one had told
  lost()
  known = false
end
local whole = not known or run ~= name or place == 0
local found = redis.call('ZRANGEBYSCORE', at .. 'log', whole and '-inf' or '(' .. ARGV[3], '+inf',
  'WITHSCORES', 'LIMIT', 0, most)
local names, more = {}, #found == 2 * most
for n = 1, #found, 2 do names[#names + 1] = found[n] end
if more then last = found[#found] end
local values = #names > 0 and redis.call('HMGET', at .. 'revoked', unpack(names)) or {}
return {epoch, name, last, whole and 1 or 0, more and 1 or 0, names, values}
"""
)

CLAIM: Final = Script(
    _BASE
    + _COUNTED
    + """
local known = redis.call('ZSCORE', at .. 'names', ARGV[2])
if known and tonumber(known) > tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', at .. 'names', ARGV[3], ARGV[2])
counted()
return 1
"""
)

FORGET_FAMILIES: Final = Script(
    _BASE
    + _FAMILIES
    + """
local ids = redis.call('ZRANGEBYSCORE', at .. 'ends', '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  local family = read(id)
  if family then unlist(id, family) end
  redis.call('DEL', at .. 'family:' .. id)
  redis.call('ZREM', at .. 'ends', id)
end
return #ids
"""
)
FORGET_REVOCATIONS: Final = Script(
    _BASE
    + _COUNTED
    + """
local names = redis.call('ZRANGEBYSCORE', at .. 'forget', '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
if #names > 0 then
  redis.call('ZREM', at .. 'forget', unpack(names))
  redis.call('ZREM', at .. 'log', unpack(names))
  redis.call('HDEL', at .. 'revoked', unpack(names))
  counted()
end
return #names
"""
)
FORGET_NAMES: Final = Script(
    _BASE
    + _COUNTED
    + """
local names = redis.call('ZRANGEBYSCORE', at .. 'names', '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
if #names > 0 then
  redis.call('ZREM', at .. 'names', unpack(names))
  counted()
end
return #names
"""
)
