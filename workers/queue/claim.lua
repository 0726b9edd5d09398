-- The second part of the script: which jobs are claimed next.

-- Reads a sorted set in order, `chunk` members per call.
local function cursor(key, chunk)
  return {key = key, chunk = chunk, members = {}, at = 1, read = 0}
end

-- The next member and its score; nil at the end.
local function peek(set)
  if set.at > #set.members and not set.ended then
    set.members, set.at = redis.call('ZRANGE', set.key, set.read, set.read + set.chunk - 1, 'WITHSCORES'), 1
    set.read = set.read + #set.members / 2
    set.ended = #set.members < 2 * set.chunk
  end
  return set.members[set.at], tonumber(set.members[set.at + 1])
end

-- Claims up to `limit` jobs. Owners of a priority take turns, each with the job that has waited longest. Between priorities, the job that
-- has waited longest after its head start wins, but every second claim goes to the highest priority, however long others have waited.
-- The loop only reads, in chunks; all writes come at the end, a call or two for each set, since single commands dominate the cost.
local function claim(limit, priorities, worker, lease_ms)
  local rounds, ready, running, counts, ids, scored, leases = {}, {}, {}, {}, {}, {}, {}
  local claims = tonumber(redis.call('HGET', COUNTERS, 'claims') or 0)
  local candidates = {}
  for priority in priorities:gmatch('.') do
    candidates[#candidates + 1] = priority
    -- Owners served in this call queue up again behind the waiting ones; `at` is the next of them. `leaving` have no claimable job left.
    rounds[priority] = {waiting = cursor(OWNERS .. priority, limit + 1), served = {}, at = 1, leaving = {}}
  end

  local function has_room(owner)
    if OWNER_LIMIT == 0 then
      return true
    end
    running[owner] = running[owner] or tonumber(redis.call('HGET', RUNNING, owner) or 0)
    return running[owner] + (counts[owner] or 0) < OWNER_LIMIT
  end

  local function next_owner(round)
    return peek(round.waiting) or round.served[round.at]
  end

  local function advance(round)
    if peek(round.waiting) then
      round.waiting.at = round.waiting.at + 2
    else
      round.at = round.at + 1
    end
  end

  local function jobs_of(priority, owner)
    local key = ready_key(priority, owner)
    -- With many owners waiting, each is likely to be served only once.
    ready[key] = ready[key] or cursor(key, math.ceil(limit / rounds[priority].waiting.read) + 1)
    return ready[key]
  end

  -- The next owner, their first job, and the time since which it has waited.
  local function head(priority)
    local round = rounds[priority]
    local owner = next_owner(round)
    while owner do
      local id, since = peek(jobs_of(priority, owner))
      if id and has_room(owner) then
        return owner, id, since
      end
      round.leaving[#round.leaving + 1] = owner
      advance(round)
      owner = next_owner(round)
    end
  end

  while #ids < limit do
    local best, priority, owner, id
    for _, candidate in ipairs(candidates) do
      local its_owner, its_id, since = head(candidate)
      if its_id and (not best or since + HEAD_START[candidate] < best) then
        best, priority, owner, id = since + HEAD_START[candidate], candidate, its_owner, its_id
        if candidate == '0' and claims % 2 == 0 then
          break
        end
      end
    end
    if not id then
      break
    end
    local round, jobs = rounds[priority], jobs_of(priority, owner)
    advance(round)
    round.served[#round.served + 1] = owner
    jobs.at, jobs.claimed = jobs.at + 2, (jobs.claimed or 0) + 1
    counts[owner] = (counts[owner] or 0) + 1
    claims = claims + 1
    ids[#ids + 1] = id
    scored[#scored + 1], scored[#scored + 2] = now + lease_ms, id
    leases[#leases + 1], leases[#leases + 2] = id, worker
  end

  for priority, round in pairs(rounds) do
    local staying = {}
    for i = round.at, #round.served do
      local owner = round.served[i]
      local target = peek(jobs_of(priority, owner)) and has_room(owner) and staying or round.leaving
      target[#target + 1] = owner
    end
    if #round.leaving > 0 then
      redis.call('ZREM', OWNERS .. priority, unpack(round.leaving))
    end
    if #staying > 0 and round.waiting.read > 1 then
      local first, turns = redis.call('HINCRBY', COUNTERS, 'turn', #staying) - #staying, {}
      for i, owner in ipairs(staying) do
        turns[2 * i - 1], turns[2 * i] = first + i, owner
      end
      redis.call('ZADD', OWNERS .. priority, unpack(turns))
    end
  end
  if #ids == 0 then
    return {}
  end
  for key, jobs in pairs(ready) do
    if jobs.claimed then
      redis.call('ZREMRANGEBYRANK', key, 0, jobs.claimed - 1)
    end
  end
  redis.call('HSET', COUNTERS, 'claims', claims)
  lease(scored, leases, counts)
  local payloads = {}
  for i, id in ipairs(ids) do
    payloads[i] = PAYLOAD .. id
  end
  return {ids, redis.call('MGET', unpack(payloads)), redis.call('HMGET', EXPIRED, unpack(ids))}
end
