-- Every change to the queue that must be all or nothing. Times are the server's, so that workers' clocks don't matter.
-- No verb looks at more jobs than it is asked for (and at BATCH that have come due), however many are queued.
--
-- queue: sorted set of all job ids by the millisecond from which they may be claimed; a claimed job stands at the end of its lease.
-- timers: those of them whose time is to come.   jobs: hash of job id to its level (0: most urgent) and owner, as one string.
-- lease: hash of job id to the worker that holds it.   busy: hash of owner to how many of his jobs are held.
-- line:<level>:<owner>: sorted set of his ready jobs, longest waiting first.
-- ring:<level>: sorted set of the owners who have ready jobs there and may have one more running, by whose turn it is.
-- wake:<level>: list that idle workers block on.   turns: counts what rings and shares go by.   paused: is there while nothing may be claimed.
-- lost: hash of job id to how many leases of it have run out.
local QUEUE, TIMERS, JOBS, LEASE, LOST, BUSY, TURNS, PAUSED, LINE, RING, WAKE, PAYLOAD = unpack(KEYS)
local verb, LIMIT = ARGV[1], tonumber(ARGV[2])
local LEVELS = {'0', '1', '2'}
-- What a job waits before it is as urgent as one of the highest level that has just come.
local HEAD_START = {['0'] = 0, ['1'] = 30000, ['2'] = 300000}
local MOST_WAKES, BATCH = 256, 500
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function rouse(level)
  if redis.call('LLEN', WAKE .. level) < MOST_WAKES then
    redis.call('RPUSH', WAKE .. level, '')
  end
end

local function told(id)
  local known = redis.call('HGET', JOBS, id)
  if known then
    return known:sub(1, 1), known:sub(2)
  end
end

local function line_of(level, owner)
  return LINE .. level .. ':' .. owner
end

local function may_have_more(owner)
  return LIMIT == 0 or tonumber(redis.call('HGET', BUSY, owner) or 0) < LIMIT
end

local function join_ring(level, owner)
  redis.call('ZADD', RING .. level, 'NX', redis.call('HINCRBY', TURNS, 'ring', 1), owner)
  rouse(level)
end

local function line_up(id, level, owner, since)
  redis.call('ZADD', line_of(level, owner), since, id)
  if may_have_more(owner) then
    join_ring(level, owner)
  end
end

local function leave_line(id, level, owner)
  local line = line_of(level, owner)
  if redis.call('ZREM', line, id) == 1 and redis.call('EXISTS', line) == 0 then
    redis.call('ZREM', RING .. level, owner)
  end
end

local function hold(id, owner, worker, lease_ms)
  if redis.call('HSET', LEASE, id, worker) == 1 then
    redis.call('HINCRBY', BUSY, owner, 1)
  end
  redis.call('ZADD', QUEUE, now + lease_ms, id)
  redis.call('ZADD', TIMERS, now + lease_ms, id)
end

local function let_go(id, owner)
  if redis.call('HDEL', LEASE, id) == 0 then
    return
  end
  if redis.call('HINCRBY', BUSY, owner, -1) <= 0 then
    redis.call('HDEL', BUSY, owner)
  end
  if LIMIT > 0 and may_have_more(owner) then
    for _, level in ipairs(LEVELS) do
      if redis.call('EXISTS', line_of(level, owner)) == 1 then
        join_ring(level, owner)
      end
    end
  end
end

local function remove(id)
  local level, owner = told(id)
  local there = redis.call('ZREM', QUEUE, id)
  if redis.call('ZREM', TIMERS, id) == 0 and level then
    leave_line(id, level, owner)
  end
  if level then
    let_go(id, owner)
    redis.call('HDEL', JOBS, id)
  end
  redis.call('HDEL', LOST, id)
  redis.call('DEL', PAYLOAD .. id)
  return there
end

-- What has come due stands in line; a job whose lease has run out stands first.
local function come_due()
  local found = redis.call('ZRANGEBYSCORE', TIMERS, '-inf', now, 'WITHSCORES', 'LIMIT', 0, BATCH)
  for i = 1, #found, 2 do
    local id = found[i]
    local level, owner = told(id)
    if level then
      local held = redis.call('HEXISTS', LEASE, id) == 1
      redis.call('ZREM', TIMERS, id)
      let_go(id, owner)
      if held then
        redis.call('HINCRBY', LOST, id, 1)
      end
      line_up(id, level, owner, held and 0 or found[i + 1])
    else
      remove(id)
    end
  end
end

-- The owner whose turn it is on a level, his longest waiting job, and since when it waits. What is empty stays so during a call.
local empty = {}
local function head(level)
  while not empty[level] do
    local owner = redis.call('ZRANGE', RING .. level, 0, 0)[1]
    if not owner then
      empty[level] = true
      return nil
    end
    local first = redis.call('ZRANGE', line_of(level, owner), 0, 0, 'WITHSCORES')
    if first[1] and may_have_more(owner) then
      return owner, first[1], tonumber(first[2])
    end
    redis.call('ZREM', RING .. level, owner)
  end
end

-- Takes the next job of these levels out of its line. Every other turn is the most urgent level's, however long others have waited.
local function next_job(levels, urgent_first)
  local best, level, owner, id
  for i = 1, #levels do
    local candidate = levels:sub(i, i)
    local its_owner, its_id, since = head(candidate)
    if its_id and (not best or since + HEAD_START[candidate] < best) then
      best, level, owner, id = since + HEAD_START[candidate], candidate, its_owner, its_id
      if candidate == '0' and urgent_first then
        break
      end
    end
  end
  if not id then
    return nil
  end
  leave_line(id, level, owner)
  if redis.call('ZCARD', RING .. level) > 1 and redis.call('ZSCORE', RING .. level, owner) then
    redis.call('ZADD', RING .. level, redis.call('HINCRBY', TURNS, 'ring', 1), owner)
  end
  return id, owner
end

if verb == 'enqueue' then
  -- life of a payload in ms, then (id, level and owner, payload, delay) for each job; ids that are there stay as they are
  local added = 0
  for i = 4, #ARGV, 4 do
    local id, known, delay = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 3])
    if redis.call('ZADD', QUEUE, 'NX', now + delay, id) == 1 then
      redis.call('SET', PAYLOAD .. id, ARGV[i + 2], 'PX', ARGV[3] + delay)
      redis.call('HSET', JOBS, id, known)
      if delay > 0 then
        redis.call('ZADD', TIMERS, now + delay, id)
        rouse(known:sub(1, 1))
      else
        line_up(id, known:sub(1, 1), known:sub(2), now)
      end
      added = added + 1
    end
  end
  return added

elseif verb == 'exchange' then
  -- worker, lease in ms, at most so many, levels, then ids that it has done with
  -- -> ids, payloads and lost leases of jobs that are now its own; or milliseconds until there may be some (-1: nothing is queued)
  for i = 7, #ARGV do
    local holder = redis.call('HGET', LEASE, ARGV[i])
    if not holder or holder == ARGV[3] then
      remove(ARGV[i])
    end
  end
  local most, levels, claimed = tonumber(ARGV[5]), ARGV[6], {}
  if most == 0 then
    return claimed
  end
  come_due()
  if redis.call('EXISTS', PAUSED) == 0 then
    local turn = tonumber(redis.call('HGET', TURNS, 'claim') or 0)
    for _ = 1, most do
      local id, owner = next_job(levels, turn % 2 == 0)
      if not id then
        break
      end
      turn = turn + 1
      hold(id, owner, ARGV[3], ARGV[4])
      claimed[#claimed + 1] = id
      claimed[#claimed + 1] = redis.call('GET', PAYLOAD .. id)
      claimed[#claimed + 1] = tonumber(redis.call('HGET', LOST, id) or 0)
    end
    redis.call('HSET', TURNS, 'claim', turn)
  end
  if #claimed > 0 then
    return claimed
  end
  if redis.call('EXISTS', QUEUE) == 0 then
    redis.call('DEL', TURNS)
  end
  for i = 1, #levels do
    redis.call('DEL', WAKE .. levels:sub(i, i))
  end
  local next = redis.call('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')
  return next[2] and math.max(next[2] - now, 0) or -1

elseif verb == 'renew' then
  -- worker, lease in ms, then ids -> those that another worker has; what the server lost is taken anew
  local lost = {}
  for i = 5, #ARGV do
    local id = ARGV[i]
    local holder = redis.call('HGET', LEASE, id)
    if holder and holder ~= ARGV[3] then
      lost[#lost + 1] = id
    else
      redis.call('HSETNX', JOBS, id, '1')
      local level, owner = told(id)
      leave_line(id, level, owner)
      hold(id, owner, ARGV[3], ARGV[4])
    end
  end
  return lost

elseif verb == 'release' then
  -- worker, id, delay: let any worker have it after the delay
  local id, delay = ARGV[4], tonumber(ARGV[5])
  if redis.call('HGET', LEASE, id) ~= ARGV[3] then
    return 0
  end
  local level, owner = told(id)
  let_go(id, owner)
  redis.call('ZADD', QUEUE, now + delay, id)
  redis.call('ZADD', TIMERS, now + delay, id)
  rouse(level)
  return 1

elseif verb == 'drop' then
  -- id, unless a worker has it
  return redis.call('HEXISTS', LEASE, ARGV[3]) == 0 and remove(ARGV[3]) or 0

elseif verb == 'pause' then
  return redis.call('SET', PAUSED, now)

elseif verb == 'resume' then
  for _, level in ipairs(LEVELS) do
    for _ = 1, math.min(redis.call('ZCARD', RING .. level), 1) * MOST_WAKES do
      rouse(level)
    end
  end
  return redis.call('DEL', PAUSED)

elseif verb == 'figures' then
  -- ready, waiting for their time, held by workers, age of the oldest ready in ms (-1: none), whether paused, levels that can be claimed from
  come_due()
  local all, timed, held = redis.call('ZCARD', QUEUE), redis.call('ZCARD', TIMERS), redis.call('HLEN', LEASE)
  local oldest = redis.call('ZRANGE', QUEUE, 0, 0, 'WITHSCORES')
  local age = all > timed and math.max(now - oldest[2], 0) or -1
  local open = ''
  for _, level in ipairs(LEVELS) do
    open = redis.call('EXISTS', RING .. level) == 1 and open .. level or open
  end
  return {all - timed, timed - held, held, age, redis.call('EXISTS', PAUSED), open}
end

return redis.error_reply('no such verb: ' .. tostring(verb))
