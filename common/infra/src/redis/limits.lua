-- One key after the other is a gauge: see Gauge of flowmill-services, which this does step by step.
-- KEYS: for each key its hash and its set of calls under way, and in the end the keys that are known.
-- The first word of ARGV says what.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local FOREVER = 3600000

local function number(hash, field, otherwise)
  return tonumber(redis.call('HGET', hash, field) or otherwise)
end

local function shape(most, parts)
  local room = math.max(math.floor(most / parts), 1)
  return room, (most - room + 1) / 60000
end

-- What a bucket holds now.
local function level(hash, name, most, parts)
  local room, rate = shape(most, parts)
  local at = redis.call('HGET', hash, name .. ':at')
  if not at then return room, room, rate end
  local held = number(hash, name, 0) + math.max(now - tonumber(at), 0) * rate
  return math.min(held, room), room, rate
end

local function lacks(held, room, rate, wanted)
  local missing = math.min(wanted, room) - held - 1e-9
  if missing <= 0 then return nil end
  return math.max(math.ceil(missing / rate), 1)
end

local function keep(hash, set)
  redis.call('PEXPIRE', hash, FOREVER)
  redis.call('PEXPIRE', set, FOREVER)
end

local verbs = {}

-- acquire: tokens, permit, lasts, then for each key: requests, tokens and calls at once, 0 for none
function verbs.acquire()
  local tokens, permit, lasts = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
  local held = {}
  for i = 1, #KEYS - 1, 2 do
    local hash, set = KEYS[i], KEYS[i + 1]
    local place = 5 + (i - 1) / 2 * 3
    local requests, per_minute = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
    local at_once = tonumber(ARGV[place + 2])
    redis.call('ZREMRANGEBYSCORE', set, '-inf', now)
    local shut, cool = number(hash, 'shut', 0), number(hash, 'cool', 0)
    if shut > now then return {'shut', shut - now} end
    if cool > now then return {'cooling', cool - now} end
    local most = at_once > 0 and at_once or math.huge
    local allowed = redis.call('HGET', hash, 'allowed')
    if allowed then most = math.min(most, math.floor(tonumber(allowed))) end
    if redis.call('ZCARD', set) >= most then return {'at_once', 40} end
    local mine = {}
    if requests > 0 then
      local there, room, rate = level(hash, 'requests', requests, 12)
      local wait = lacks(there, room, rate, 1)
      if wait then return {'requests', wait} end
      mine.requests = there - 1
    end
    if per_minute > 0 then
      local there, room, rate = level(hash, 'tokens', per_minute, 4)
      local wait = lacks(there, room, rate, tokens)
      if wait then return {'tokens', wait} end
      mine.tokens = there - tokens
    end
    held[i] = mine
  end
  for i = 1, #KEYS - 1, 2 do
    local hash, set = KEYS[i], KEYS[i + 1]
    for name, there in pairs(held[i]) do
      redis.call('HSET', hash, name, string.format('%.9f', there), name .. ':at', now)
    end
    redis.call('ZADD', set, now + lasts, permit)
    local place = 5 + (i - 1) / 2 * 3
    redis.call('HSET', hash, 'most:requests', ARGV[place], 'most:tokens', ARGV[place + 1],
      'most:at_once', ARGV[place + 2])
    redis.call('ZADD', KEYS[#KEYS], now, hash)
    if number(hash, 'failures', 0) >= 5 then redis.call('HSET', hash, 'shut', now + 5000) end
    keep(hash, set)
  end
  redis.call('PEXPIRE', KEYS[#KEYS], FOREVER)
  return {'granted', 0}
end

-- settle: permit, outcome, estimated tokens, tokens, milliseconds that the provider said or -1
function verbs.settle()
  local permit, outcome = ARGV[2], ARGV[3]
  local change, said = tonumber(ARGV[4]) - tonumber(ARGV[5]), tonumber(ARGV[6])
  for i = 1, #KEYS - 1, 2 do
    local hash, set = KEYS[i], KEYS[i + 1]
    local before = redis.call('ZCARD', set)
    local known = redis.call('ZREM', set, permit) == 1
    if known and redis.call('HEXISTS', hash, 'tokens') == 1 then
      redis.call('HINCRBYFLOAT', hash, 'tokens', change)
    end
    if outcome == 'answered' then
      redis.call('HDEL', hash, 'failures', 'shut', 'pauses', 'strikes')
      local allowed = redis.call('HGET', hash, 'allowed')
      if allowed then
        allowed = tonumber(allowed)
        local more = string.format('%.9f', allowed + 1 / math.max(allowed, 1))
        redis.call('HSET', hash, 'allowed', more)
      end
    elseif outcome == 'cooled' then
      local cool = number(hash, 'cool', 0)
      if now >= cool then
        redis.call('HSET', hash, 'strikes', math.min(number(hash, 'strikes', 0) + 1, 7))
        redis.call('HSET', hash, 'allowed', math.max(before / 2, 1))
      end
      local strikes = number(hash, 'strikes', 1)
      local wait = said > 0 and said or math.min(1000 * 2 ^ (strikes - 1), 60000)
      redis.call('HSET', hash, 'cool', math.max(cool, now + wait))
    elseif outcome == 'failed' then
      if redis.call('HINCRBY', hash, 'failures', 1) >= 5 then
        local pauses = number(hash, 'pauses', 0)
        local pause = math.min(5000 * 2 ^ math.min(pauses, 6), 60000)
        redis.call('HSET', hash, 'pauses', pauses + 1, 'shut', now + pause)
      end
    end
    keep(hash, set)
  end
  return {'settled', 0}
end

-- standing: calls under way, how many are allowed or -1, cooling, shut, failures of each key, and the
-- requests, tokens and calls at once that it takes, 0 for any
function verbs.standing()
  local all = {}
  for i = 1, #KEYS - 1, 2 do
    local hash, set = KEYS[i], KEYS[i + 1]
    table.insert(all, redis.call('ZCOUNT', set, '(' .. now, '+inf'))
    table.insert(all, math.floor(number(hash, 'allowed', -1)))
    table.insert(all, math.max(number(hash, 'cool', 0) - now, 0))
    table.insert(all, math.max(number(hash, 'shut', 0) - now, 0))
    table.insert(all, number(hash, 'failures', 0))
    for _, what in ipairs({'requests', 'tokens', 'at_once'}) do
      table.insert(all, number(hash, 'most:' .. what, 0))
    end
  end
  return all
end

-- known: milliseconds; the hashes of keys that somebody asked about within them
function verbs.known()
  redis.call('ZREMRANGEBYSCORE', KEYS[#KEYS], '-inf', now - tonumber(ARGV[2]))
  return redis.call('ZRANGE', KEYS[#KEYS], 0, -1)
end

return verbs[ARGV[1]]()
