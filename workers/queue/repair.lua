-- The fourth part of the script: commands that find and put right what the queue has lost, in any of its keys. They are called in this order,
-- with `enqueue` after `missing`. A call handles some hundred jobs, so that it does not block the server for long.

local MAX_OWNERS = 2000

-- Id, then priority and owner, of each job -> ids of the jobs that are not in the queue, or have lost a part of their entry.
function commands.missing()
  local ids, payloads, missing = {}, {}, {}
  for i = 3, #ARGV, 2 do
    ids[#ids + 1], payloads[#payloads + 1] = ARGV[i], PAYLOAD .. ARGV[i]
  end
  local queued, jobs = redis.call('ZMSCORE', QUEUE, unpack(ids)), redis.call('HMGET', JOBS, unpack(ids))
  local all_payloads = redis.call('EXISTS', unpack(payloads)) == #ids
  for i, id in ipairs(ids) do
    local has_payload = all_payloads or redis.call('EXISTS', payloads[i]) == 1
    if not (queued[i] and jobs[i] == ARGV[2 * i + 2] and has_payload) then
      missing[#missing + 1] = id
    end
  end
  return missing
end

-- Lease in ms -> number of leases that had lost their end. Also counts the running jobs of each owner again: a count that is too high would
-- keep an owner with a limit from running anything.
function commands.check_leases()
  local leases, counts, owners, changed, repaired = redis.call('HKEYS', LEASES), {}, {}, {}, 0
  for start = 1, #leases, BATCH do
    local stop = math.min(start + BATCH - 1, #leases)
    local jobs = redis.call('HMGET', JOBS, unpack(leases, start, stop))
    local timers = redis.call('ZMSCORE', TIMERS, unpack(leases, start, stop))
    local queued = redis.call('ZMSCORE', QUEUE, unpack(leases, start, stop))
    for i = 1, stop - start + 1 do
      local id, _, owner = leases[start + i - 1], split(jobs[i])
      if owner then
        counts[owner] = (counts[owner] or 0) + 1
      end
      if not (timers[i] and queued[i]) then
        local due = tonumber(timers[i] or queued[i] or 0)
        due = due > now and due or now + ARGV[3]
        redis.call('ZADD', QUEUE, due, id)
        redis.call('ZADD', TIMERS, due, id)
        repaired = repaired + 1
      end
    end
  end
  local running = redis.call('HGETALL', RUNNING)
  for i = 1, #running, 2 do
    owners[running[i]] = tonumber(running[i + 1])
    if not counts[running[i]] then
      redis.call('HDEL', RUNNING, running[i])
      changed[running[i]] = 1
    end
  end
  for owner, count in pairs(counts) do
    if owners[owner] ~= count then
      redis.call('HSET', RUNNING, owner, count)
      changed[owner] = 1
    end
  end
  local turn = tonumber(redis.call('HGET', COUNTERS, 'turn') or 0)
  for _, priority in ipairs(PRIORITIES) do
    -- Owners who come later must not go before those who wait.
    local last = redis.call('ZRANGE', OWNERS .. priority, -1, -1, 'WITHSCORES')
    if last[2] and tonumber(last[2]) > turn then
      turn = tonumber(last[2])
      redis.call('HSET', COUNTERS, 'turn', turn)
    end
  end
  for owner in pairs(changed) do
    for _, priority in ipairs(PRIORITIES) do
      if below_limit(owner) and redis.call('EXISTS', ready_key(priority, owner)) == 1 then
        queue_owner(priority, owner, 1)
      end
    end
  end
  return repaired
end

-- Whether as many jobs are ready as those who take turns, or run something, have waiting. False, too, if these are too many to ask.
local function are_all_placed()
  local owners, found = redis.call('HLEN', RUNNING), 0
  for _, priority in ipairs(PRIORITIES) do
    owners = owners + redis.call('ZCARD', OWNERS .. priority)
  end
  if owners > MAX_OWNERS then
    return false
  end
  for _, priority in ipairs(PRIORITIES) do
    local seen = {}
    for _, key in ipairs({redis.call('HKEYS', RUNNING), redis.call('ZRANGE', OWNERS .. priority, 0, -1)}) do
      for _, owner in ipairs(key) do
        if not seen[owner] then
          seen[owner] = true
          found = found + redis.call('ZCARD', ready_key(priority, owner))
        end
      end
    end
  end
  return found == redis.call('ZCARD', QUEUE) - redis.call('ZCARD', TIMERS)
end

-- Cursor, 0 at first -> next cursor, 0 at the end, and the number of jobs that no worker would have found. Every job in the queue is leased,
-- delayed, or ready with its owner among those who take turns.
function commands.place()
  if ARGV[3] == '0' and are_all_placed() then
    return {'0', 0}
  end
  local scan = redis.call('ZSCAN', QUEUE, ARGV[3], 'COUNT', BATCH)
  local ids, due, groups, placed = {}, {}, {}, 0
  for i = 1, #scan[2], 2 do
    ids[#ids + 1], due[#due + 1] = scan[2][i], scan[2][i + 1]
  end
  if #ids == 0 then
    return {scan[1], 0}
  end
  local timers, holders = redis.call('ZMSCORE', TIMERS, unpack(ids)), redis.call('HMGET', LEASES, unpack(ids))
  local jobs = redis.call('HMGET', JOBS, unpack(ids))
  for i, id in ipairs(ids) do
    local is_timed = timers[i] or holders[i]
    if not is_timed and not jobs[i] then
      -- Nobody knows whose it is. If its run is unfinished, it is missing from now on, and sent again.
      redis.call('ZREM', QUEUE, id)
    elseif not is_timed and tonumber(due[i]) > now then
      redis.call('ZADD', TIMERS, due[i], id)
      placed = placed + 1
    elseif not is_timed then
      local group = groups[jobs[i]] or {ids = {}, due = {}}
      groups[jobs[i]] = group
      group.ids[#group.ids + 1], group.due[#group.due + 1] = id, due[i]
    end
  end
  for job, group in pairs(groups) do
    local priority, owner = split(job)
    local ready, lost = redis.call('ZMSCORE', ready_key(priority, owner), unpack(group.ids)), {}
    for i, id in ipairs(group.ids) do
      if not ready[i] then
        lost[#lost + 1], lost[#lost + 2] = group.due[i], id
      end
    end
    if #lost > 0 then
      add_ready(priority, owner, lost)
      placed = placed + #lost / 2
    elseif below_limit(owner) and not redis.call('ZSCORE', OWNERS .. priority, owner) then
      queue_owner(priority, owner, #group.ids)
      placed = placed + #group.ids
    end
  end
  return {scan[1], placed}
end

-- `jobs` or `expired`, and a cursor, 0 at first -> next cursor, 0 at the end. Deletes what is left of jobs that have ended.
function commands.prune()
  local key = ARGV[3] == 'jobs' and JOBS or EXPIRED
  if key == JOBS and redis.call('HLEN', JOBS) <= redis.call('ZCARD', QUEUE) then
    return '0'
  end
  local scan, ids, ended = redis.call('HSCAN', key, ARGV[4], 'COUNT', BATCH), {}, {}
  for i = 1, #scan[2], 2 do
    ids[#ids + 1] = scan[2][i]
  end
  if #ids > 0 then
    local queued, timers = redis.call('ZMSCORE', QUEUE, unpack(ids)), redis.call('ZMSCORE', TIMERS, unpack(ids))
    local holders = redis.call('HMGET', LEASES, unpack(ids))
    for i, id in ipairs(ids) do
      if not (queued[i] or timers[i] or holders[i]) then
        ended[#ended + 1] = id
      end
    end
  end
  if #ended > 0 then
    redis.call('HDEL', key, unpack(ended))
  end
  return scan[1]
end

return commands[command]()
