"""Families of refresh tokens in a Redis or Valkey: the scripts that begin, rotate, end and forget them.

A family is one string that ``cmsgpack`` packs from thirteen texts, which is half of what a hash takes. Its id is in the sets
of its client and of its subject as long as it is not revoked. ``extauthz.stores.families`` has the rule of rotation in Python.
"""

from typing import Final

from extauthz.stores.redis_scripts import BASE, Script

__all__ = ["BEGIN", "END_FAMILIES", "END_FAMILY", "FAMILY", "FORGET_FAMILIES", "ROTATE"]

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

FAMILY: Final = Script(
    BASE
    + _FAMILIES
    + """
local family, damaged = read(ARGV[2])
if damaged then return redis.error_reply('DAMAGED') end
return family or false
"""
)
BEGIN: Final = Script(
    BASE
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
    BASE
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
    BASE
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
    BASE
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
FORGET_FAMILIES: Final = Script(
    BASE
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
