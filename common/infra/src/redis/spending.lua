-- What parties have spent: a hash each, which ends with its period.
-- KEYS: the parties. ARGV: whether all are held to what they may, tokens, money, and for each party
-- its most tokens and money, -1 for any, and its period in milliseconds, 0 for none. With the word
-- `look` alone nothing changes: for each party whether it is known, tokens, money, its most of both, and
-- how long that goes on, 0 where that does not end by time.
if ARGV[1] == 'look' then
  local all = {}
  for _, key in ipairs(KEYS) do
    local held = redis.call('HMGET', key, 'tokens', 'money', 'most:tokens', 'most:money', 'per')
    table.insert(all, redis.call('EXISTS', key))
    table.insert(all, tonumber(held[1] or 0))
    table.insert(all, tonumber(held[2] or 0))
    table.insert(all, tonumber(held[3] or -1))
    table.insert(all, tonumber(held[4] or -1))
    table.insert(all, tonumber(held[5] or 0) > 0 and math.max(redis.call('PTTL', key), 0) or 0)
  end
  return all
end

local held_to = ARGV[1] == 'reserve'
local tokens, money = tonumber(ARGV[2]), tonumber(ARGV[3])
local WEEK = 604800000

for i, key in ipairs(KEYS) do
  local most, most_money = tonumber(ARGV[1 + i * 3]), tonumber(ARGV[2 + i * 3])
  local spent = tonumber(redis.call('HGET', key, 'tokens') or 0)
  local spent_money = tonumber(redis.call('HGET', key, 'money') or 0)
  local over = most >= 0 and spent + tokens > most
  over = over or most_money >= 0 and spent_money + money > most_money
  if held_to and over then return {i, spent, spent_money} end
end
for i, key in ipairs(KEYS) do
  local per = tonumber(ARGV[3 + i * 3])
  local begins = redis.call('EXISTS', key) == 0
  for name, change in pairs({tokens = tokens, money = money}) do
    if redis.call('HINCRBY', key, name, string.format('%.0f', change)) < 0 then redis.call('HSET', key, name, 0) end
  end
  redis.call('HSET', key, 'most:tokens', ARGV[1 + i * 3], 'most:money', ARGV[2 + i * 3], 'per', per)
  if per == 0 then
    redis.call('PEXPIRE', key, WEEK)
  elseif begins then
    redis.call('PEXPIRE', key, per)
  end
end
return {0, 0, 0}
