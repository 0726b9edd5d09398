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

-- Wakes as many idle workers of a level as there are new jobs.
local function rouse(level, jobs)
  local wakes = {}
  for i = 1, math.min(jobs, MOST_WAKES - redis.call('LLEN', WAKE .. level)) do
    wakes[i] = ''
  end
  if #wakes > 0 then
    redis.call('RPUSH', WAKE .. level, unpack(wakes))
  end
end

local function level_and_owner(known)
  if known then
    return known:sub(1, 1), known:sub(2)
  end
end

local function told(id)
  return level_and_owner(redis.call('HGET', JOBS, id))
end

local function line_of(level, owner)
  return LINE .. level .. ':' .. owner
end

local function may_have_more(owner)
  return LIMIT == 0 or tonumber(redis.call('HGET', BUSY, owner) or 0) < LIMIT
end

local function join_ring(level, owner, jobs)
  redis.call('ZADD', RING .. level, 'NX', redis.call('HINCRBY', TURNS, 'ring', 1), owner)
  rouse(level, jobs)
end

-- Puts jobs into one line; `scored` are their times and ids in turns.
local function line_up(level, owner, scored)
  redis.call('ZADD', line_of(level, owner), unpack(scored))
  if may_have_more(owner) then
    join_ring(level, owner, #scored / 2)
  end
end

local function leave_line(id, level, owner)
  local line = line_of(level, owner)
  if redis.call('ZREM', line, id) == 1 and redis.call('EXISTS', line) == 0 then
    redis.call('ZREM', RING .. level, owner)
  end
end

-- `scored` and `leased` are ids after the end of the lease and before the worker, as the commands want them; `counts` are jobs by owner.
local function hold(scored, leased, counts)
  redis.call('ZADD', QUEUE, unpack(scored))
  redis.call('ZADD', TIMERS, unpack(scored))
  redis.call('HSET', LEASE, unpack(leased))
  for owner, count in pairs(counts) do
    redis.call('HINCRBY', BUSY, owner, count)
  end
end

local function let_go(ids, owners, holders)
  local freed = {}
  for i, owner in pairs(owners) do
    freed[owner] = holders[i] and (freed[owner] or 0) + 1 or freed[owner]
  end
  redis.call('HDEL', LEASE, unpack(ids))
  for owner, count in pairs(freed) do
    if redis.call('HINCRBY', BUSY, owner, -count) <= 0 then
      redis.call('HDEL', BUSY, owner)
    end
    if LIMIT > 0 and may_have_more(owner) then
      for _, level in ipairs(LEVELS) do
        if redis.call('EXISTS', line_of(level, owner)) == 1 then
          join_ring(level, owner, count)
        end
      end
    end
  end
end

-- Removes jobs, given with who holds each; none may be there twice.
local function remove(ids, holders)
  local known, owners, payloads = redis.call('HMGET', JOBS, unpack(ids)), {}, {}
  local in_line = redis.call('ZREM', TIMERS, unpack(ids)) < #ids
  for i, id in ipairs(ids) do
    local level, owner = level_and_owner(known[i])
    if level and in_line then
      leave_line(id, level, owner)
    end
    owners[i], payloads[i] = owner, PAYLOAD .. id
  end
  let_go(ids, owners, holders)
  redis.call('HDEL', JOBS, unpack(ids))
  if redis.call('EXISTS', LOST) == 1 then
    redis.call('HDEL', LOST, unpack(ids))
  end
  redis.call('DEL', unpack(payloads))
  return redis.call('ZREM', QUEUE, unpack(ids))
end

-- What has come due stands in line; a job whose lease has run out stands first.
local function come_due()
  local found = redis.call('ZRANGEBYSCORE', TIMERS, '-inf', now, 'WITHSCORES', 'LIMIT', 0, BATCH)
  for i = 1, #found, 2 do
    local id = found[i]
    local level, owner = told(id)
    local holder = redis.call('HGET', LEASE, id)
    if level then
      redis.call('ZREM', TIMERS, id)
      let_go({id}, {owner}, {holder})
      if holder then
        redis.call('HINCRBY', LOST, id, 1)
      end
      line_up(level, owner, {holder and 0 or found[i + 1], id})
    else
      remove({id}, {holder})
    end
  end
end

-- A sorted set that is read in order, so many members at a time.
local function reading(key, chunk)
  return {key = key, chunk = chunk, found = {}, at = 1, read = 0}
end

-- The member that is next, and its score; nil at the end.
local function peek(set)
  if set.at > #set.found and not set.ended then
    set.found, set.at = redis.call('ZRANGE', set.key, set.read, set.read + set.chunk - 1, 'WITHSCORES'), 1
    set.read = set.read + #set.found / 2
    set.ended = #set.found < 2 * set.chunk
  end
  return set.found[set.at], tonumber(set.found[set.at + 1])
end

-- Claims up to so many jobs. While it chooses, it only reads, many members at a time; what it took is written at the end, in a call or two
-- for each set.
local function claim(most, levels, worker, lease_ms)
  local rings, lines, busy, counts, ids, scored, leased = {}, {}, {}, {}, {}, {}, {}
  local turn = tonumber(redis.call('HGET', TURNS, 'claim') or 0)
  local candidates = {}
  for level in levels:gmatch('.') do
    candidates[#candidates + 1] = level
    rings[level] = {waiting = reading(RING .. level, most + 1), served = {}, at = 1, gone = {}}
  end

  local function has_room(owner)
    if LIMIT == 0 then
      return true
    end
    busy[owner] = busy[owner] or tonumber(redis.call('HGET', BUSY, owner) or 0)
    return busy[owner] + (counts[owner] or 0) < LIMIT
  end

  local function next_owner(ring)
    return peek(ring.waiting) or ring.served[ring.at]
  end

  local function pass(ring)
    if peek(ring.waiting) then
      ring.waiting.at = ring.waiting.at + 2
    else
      ring.at = ring.at + 1
    end
  end

  local function line_for(level, owner)
    local key = line_of(level, owner)
    lines[key] = lines[key] or reading(key, math.ceil(most / rings[level].waiting.read) + 1)
    return lines[key]
  end

  -- The owner whose turn it is on a level, his longest waiting job, and since when it waits.
  local function head(level)
    local ring = rings[level]
    local owner = next_owner(ring)
    while owner do
      local id, since = peek(line_for(level, owner))
      if id and has_room(owner) then
        return owner, id, since
      end
      ring.gone[#ring.gone + 1] = owner
      pass(ring)
      owner = next_owner(ring)
    end
  end

  while #ids < most do
    -- Every other turn is the most urgent level's, however long others have waited.
    local best, level, owner, id
    for _, candidate in ipairs(candidates) do
      local its_owner, its_id, since = head(candidate)
      if its_id and (not best or since + HEAD_START[candidate] < best) then
        best, level, owner, id = since + HEAD_START[candidate], candidate, its_owner, its_id
        if candidate == '0' and turn % 2 == 0 then
          break
        end
      end
    end
    if not id then
      break
    end
    local ring, line = rings[level], line_for(level, owner)
    pass(ring)
    ring.served[#ring.served + 1] = owner
    line.at, line.taken = line.at + 2, (line.taken or 0) + 1
    counts[owner] = (counts[owner] or 0) + 1
    turn = turn + 1
    ids[#ids + 1] = id
    scored[#scored + 1], scored[#scored + 2] = now + lease_ms, id
    leased[#leased + 1], leased[#leased + 2] = id, worker
  end

  for level, ring in pairs(rings) do
    local staying = {}
    for i = ring.at, #ring.served do
      local owner = ring.served[i]
      local into = peek(line_for(level, owner)) and has_room(owner) and staying or ring.gone
      into[#into + 1] = owner
    end
    if #ring.gone > 0 then
      redis.call('ZREM', RING .. level, unpack(ring.gone))
    end
    if #staying > 0 and ring.waiting.read > 1 then
      local first, turns = redis.call('HINCRBY', TURNS, 'ring', #staying) - #staying, {}
      for i, owner in ipairs(staying) do
        turns[2 * i - 1], turns[2 * i] = first + i, owner
      end
      redis.call('ZADD', RING .. level, unpack(turns))
    end
  end
  if #ids == 0 then
    return {}
  end
  for key, line in pairs(lines) do
    if line.taken then
      redis.call('ZREMRANGEBYRANK', key, 0, line.taken - 1)
    end
  end
  redis.call('HSET', TURNS, 'claim', turn)
  hold(scored, leased, counts)
  local payloads = {}
  for i, id in ipairs(ids) do
    payloads[i] = PAYLOAD .. id
  end
  return {ids, redis.call('MGET', unpack(payloads)), redis.call('HMGET', LOST, unpack(ids))}
end

if verb == 'enqueue' then
  -- life of a payload in ms, then (id, level and owner, payload, delay) for each job; ids that are there stay as they are
  local ids, fresh, kinds, seen, lines = {}, {}, {}, {}, {}
  for i = 4, #ARGV, 4 do
    ids[#ids + 1] = ARGV[i]
  end
  local there = redis.call('ZMSCORE', QUEUE, unpack(ids))
  for i, id in ipairs(ids) do
    local at = 4 * i
    local known, delay = ARGV[at + 1], tonumber(ARGV[at + 3])
    if not there[i] and not seen[id] then
      seen[id] = true
      kinds[#kinds + 1], kinds[#kinds + 2] = id, known
      fresh[#fresh + 1], fresh[#fresh + 2] = now + delay, id
      redis.call('SET', PAYLOAD .. id, ARGV[at + 2], 'PX', ARGV[3] + delay)
      if delay > 0 then
        redis.call('ZADD', TIMERS, now + delay, id)
        rouse(known:sub(1, 1), 1)
      else
        local line = lines[known] or {}
        lines[known] = line
        line[#line + 1], line[#line + 2] = now, id
      end
    end
  end
  if #fresh > 0 then
    redis.call('ZADD', QUEUE, unpack(fresh))
    redis.call('HSET', JOBS, unpack(kinds))
  end
  for known, line in pairs(lines) do
    line_up(known:sub(1, 1), known:sub(2), line)
  end
  return #fresh / 2

elseif verb == 'exchange' then
  -- worker, lease in ms, at most so many, levels, then ids that it has done with
  -- -> ids, payloads and lost leases of jobs that are now its own; or milliseconds until there may be some (-1: nothing is queued)
  if #ARGV > 6 then
    local mine, holders, seen = {}, {}, {}
    for i, holder in ipairs(redis.call('HMGET', LEASE, unpack(ARGV, 7))) do
      local id = ARGV[i + 6]
      if not seen[id] and (not holder or holder == ARGV[3]) then
        seen[id], mine[#mine + 1], holders[#mine + 1] = true, id, holder
      end
    end
    if #mine > 0 then
      remove(mine, holders)
    end
  end
  local most, levels = tonumber(ARGV[5]), ARGV[6]
  if most == 0 then
    return {}
  end
  come_due()
  if redis.call('EXISTS', PAUSED) == 0 then
    local claimed = claim(most, levels, ARGV[3], tonumber(ARGV[4]))
    if #claimed > 0 then
      return claimed
    end
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
      hold({now + ARGV[4], id}, {id, ARGV[3]}, holder and {} or {[owner] = 1})
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
  let_go({id}, {owner}, {ARGV[3]})
  redis.call('ZADD', QUEUE, now + delay, id)
  redis.call('ZADD', TIMERS, now + delay, id)
  rouse(level, 1)
  return 1

elseif verb == 'drop' then
  -- id, unless a worker has it
  return redis.call('HEXISTS', LEASE, ARGV[3]) == 0 and remove({ARGV[3]}, {false}) or 0

elseif verb == 'pause' then
  return redis.call('SET', PAUSED, now)

elseif verb == 'resume' then
  for _, level in ipairs(LEVELS) do
    rouse(level, redis.call('EXISTS', RING .. level) * MOST_WAKES)
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
