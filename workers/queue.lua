-- Every change to the queue that must be all or nothing. Times are the server's, so that workers' clocks don't matter.
--
-- queue: sorted set of job ids by the millisecond from which they may be claimed; a claimed job stands at the end of its lease.
-- lease: hash of job id to the worker that holds it.   wake: list that idle workers block on.
local queue, lease, wake = KEYS[1], KEYS[2], KEYS[3]
local verb = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local MOST_WAKES = 256

local function rouse()
  if redis.call('LLEN', wake) < MOST_WAKES then
    redis.call('RPUSH', wake, '')
  end
end

if verb == 'enqueue' then
  -- ttl, then (payload key, id, payload, delay) for each job; ids that are there stay as they are
  local added = 0
  for i = 3, #ARGV, 4 do
    if redis.call('ZADD', queue, 'NX', now + ARGV[i + 3], ARGV[i + 1]) == 1 then
      redis.call('SET', ARGV[i], ARGV[i + 2], 'PX', ARGV[2] + ARGV[i + 3])
      rouse()
      added = added + 1
    end
  end
  return added

elseif verb == 'claim' then
  -- worker, lease in ms, at most so many -> ids; or, when there are none, milliseconds until the next is due (-1: the queue is empty)
  local ids = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, ARGV[4])
  for _, id in ipairs(ids) do
    redis.call('ZADD', queue, now + ARGV[3], id)
    redis.call('HSET', lease, id, ARGV[2])
  end
  if #ids > 0 then
    return ids
  end
  redis.call('DEL', wake)
  local next = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  return next[2] and math.max(next[2] - now, 0) or -1

elseif verb == 'renew' then
  -- worker, lease in ms, then ids -> those that another worker has; what the server lost is taken anew
  local lost = {}
  for i = 4, #ARGV do
    local holder = redis.call('HGET', lease, ARGV[i])
    if holder and holder ~= ARGV[2] then
      lost[#lost + 1] = ARGV[i]
    else
      redis.call('ZADD', queue, now + ARGV[3], ARGV[i])
      redis.call('HSET', lease, ARGV[i], ARGV[2])
    end
  end
  return lost

elseif verb == 'finish' then
  -- worker, id, and the keys that go with it; nothing happens when another worker has it
  local holder = redis.call('HGET', lease, ARGV[3])
  if holder and holder ~= ARGV[2] then
    return 0
  end
  redis.call('ZREM', queue, ARGV[3])
  redis.call('HDEL', lease, ARGV[3])
  redis.call('DEL', unpack(ARGV, 4))
  return 1

elseif verb == 'release' then
  -- worker, id, delay: let any worker have it after the delay
  if redis.call('HGET', lease, ARGV[3]) ~= ARGV[2] then
    return 0
  end
  redis.call('HDEL', lease, ARGV[3])
  redis.call('ZADD', queue, 'XX', now + ARGV[4], ARGV[3])
  rouse()
  return 1

elseif verb == 'drop' then
  -- id, and the keys that go with it, unless a worker has it
  if redis.call('HEXISTS', lease, ARGV[2]) == 1 then
    return 0
  end
  redis.call('DEL', unpack(ARGV, 3))
  return redis.call('ZREM', queue, ARGV[2])

elseif verb == 'figures' then
  -- ready, waiting for their time, held by workers, age of the oldest ready in ms (-1: none)
  local ready = redis.call('ZCOUNT', queue, '-inf', now)
  local held = 0
  for _, id in ipairs(redis.call('HKEYS', lease)) do
    local due = redis.call('ZSCORE', queue, id)
    if due and tonumber(due) > now then
      held = held + 1
    end
  end
  local oldest = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  return {ready, redis.call('ZCARD', queue) - ready - held, held, ready > 0 and now - oldest[2] or -1}
end

return redis.error_reply('no such verb: ' .. tostring(verb))
