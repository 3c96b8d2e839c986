"""Revocations and names that are used once, in a Redis or Valkey: the scripts that keep, read and forget them.

Both are what must not be lost unseen, so each script counts first whether all are there that must be.
"""

from typing import Final

from extauthz.stores.redis_scripts import BASE, Script

__all__ = ["CLAIM", "FORGET_NAMES", "FORGET_REVOCATIONS", "READ", "REVOKE"]

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

REVOKE: Final = Script(
    BASE
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
    BASE
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
    BASE
    + _COUNTED
    + """
local known = redis.call('ZSCORE', at .. 'names', ARGV[2])
if known and tonumber(known) > tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', at .. 'names', ARGV[3], ARGV[2])
counted()
return 1
"""
)
FORGET_REVOCATIONS: Final = Script(
    BASE
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
    BASE
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
