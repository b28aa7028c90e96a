"""What Redis does in one step. Each script names its keys, so that it runs in a cluster too."""

OWN = """
local rows = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4], ARGV[2])
local words, out = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}, {}
for i, row in ipairs(rows) do
  words[i + 5] = row[1]
  out[2 * i - 1] = row[1]
  out[2 * i] = row[4]
end
if #rows > 0 then
  words[#words + 1] = 'JUSTID'
  redis.call(unpack(words))
end
return out
"""
"""Of group, consumer, first id and count: the entries that are this consumer's, each with its deliveries. Their idle
time begins anew. In one step, so that nothing is refreshed which another consumer has claimed meanwhile."""

SET_ASIDE = """
if redis.call('XACK', KEYS[2], ARGV[1], ARGV[2]) == 0 then return '' end
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, 4))
"""
"""Of group, entry, most, fields: the entry is acknowledged and set aside; nothing where it was acknowledged before, so
that what was done and not answered is not done twice."""

TRIM = """
local least = ARGV[1]
local function before(one, other)
  local a, b = string.match(one, '(%d+)%-(%d+)')
  local c, d = string.match(other, '(%d+)%-(%d+)')
  if #a ~= #c then return #a < #c end
  if a ~= c then return a < c end
  if #b ~= #d then return #b < #d end
  return b < d
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
if #groups == 0 then return 0 end
for _, row in ipairs(groups) do
  local found = {}
  for i = 1, #row, 2 do found[row[i]] = row[i + 1] end
  local first = found['last-delivered-id']
  if found['pending'] > 0 then first = redis.call('XPENDING', KEYS[1], found['name'])[2] end
  if before(first, least) then least = first end
end
return redis.call('XTRIM', KEYS[1], 'MINID', least)
"""
"""Of the least id to keep: removes entries below it that every group has had and nobody still has to acknowledge. What
a group was delivered last is kept as well, which costs one entry and needs no arithmetic on ids."""

RETRY = """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return '' end
return redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
"""
"""Of a dead letter's id and the fields of an entry: the one goes, the other comes."""

FORGET_CONSUMERS = """
local gone = 0
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local found = {}
  for i = 1, #row, 2 do found[row[i]] = row[i + 1] end
  if found['pending'] == 0 and found['idle'] > tonumber(ARGV[3]) and found['name'] ~= ARGV[2] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], found['name'])
    gone = gone + 1
  end
end
return gone
"""
"""Of group, this consumer and milliseconds: consumers that hold nothing and have done nothing for so long are
forgotten. In one step, because what one holds would be forgotten with it."""

TAKE_OVER = """
local now = redis.call('TIME')
if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[6]) then return {'0-0', 0} end
local got = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
return {got[1], #got[2]}
"""
"""Of group, consumer, idle milliseconds, cursor, count and the latest instant: entries nobody has refreshed become this
consumer's. Answers the next cursor and how many. Nothing after that instant: what lay before a Redis that stood still
would be carried out when it goes on, before the owners of the entries could refresh them. As a script also because
clients differ in what they make of the command's own answer."""

FETCH = """
local out = {}
for i = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
    local row = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i])[1]
    out[#out + 1] = {ARGV[i], row and row[2] or {}}
  end
end
return out
"""
"""Of group, consumer and ids: those that are this consumer's still, with their fields; none where the entry is gone. It
counts as a delivery. In one step, because XCLAIM alone would take back what another consumer has claimed meanwhile."""

WHOSE = """
local out = {}
for i = 2, #ARGV do
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  if row then out[i - 1] = row[2]
  elseif #redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i], 'COUNT', 1) > 0 then out[i - 1] = '-'
  else out[i - 1] = '' end
end
return out
"""
"""Of group and ids: which consumer has each; '-': none, and the entry is there; '': it is not even there."""
