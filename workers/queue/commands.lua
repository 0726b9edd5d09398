-- The third part of the script: the commands that `Queue` calls, with their arguments and results.
local commands = {}

-- Lifetime of payloads in ms, length of the stream of announcements and its lifetime in s, number of announcements and these, then id, priority
-- and owner, payload and delay of each job -> number of jobs that were added, or had lost a part of their entry. A job that a worker holds stays
-- with it, and a delayed one stays delayed.
function commands.enqueue()
  local ids, scored, jobs, seen, ready, added = {}, {}, {}, {}, {}, 0
  local first = 7 + tonumber(ARGV[6])
  for i = first, #ARGV, 4 do
    ids[#ids + 1] = ARGV[i]
  end
  local known = redis.call('ZMSCORE', QUEUE, unpack(ids))
  local timers = redis.call('ZMSCORE', TIMERS, unpack(ids))
  local holders = redis.call('HMGET', LEASES, unpack(ids))
  for i, id in ipairs(ids) do
    local at = first + 4 * (i - 1)
    local job, payload, delay = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    if known[i] and not seen[id] then
      added = added + restore_entry(id, job, payload, ARGV[3] + delay)
    elseif not seen[id] then
      local due = timers[i] or now + delay
      added = added + 1
      jobs[#jobs + 1], jobs[#jobs + 2] = id, job
      redis.call('SET', PAYLOAD .. id, payload, 'PX', ARGV[3] + delay)
      -- A held job without an end of its lease gets one from `check_leases`.
      if timers[i] or not holders[i] then
        scored[#scored + 1], scored[#scored + 2] = due, id
      end
      if not timers[i] and not holders[i] then
        if delay > 0 then
          redis.call('ZADD', TIMERS, due, id)
          wake_workers(job:sub(1, 1), 1)
        else
          local same = ready[job] or {}
          ready[job] = same
          same[#same + 1], same[#same + 2] = now, id
        end
      end
    end
    seen[id] = true
  end
  if #scored > 0 then
    redis.call('ZADD', QUEUE, unpack(scored))
  end
  if #jobs > 0 then
    redis.call('HSET', JOBS, unpack(jobs))
  end
  for job, same in pairs(ready) do
    add_ready(job:sub(1, 1), job:sub(2), same)
  end
  for i = 7, first - 1 do
    redis.call('XADD', ANNOUNCED, 'MAXLEN', '~', ARGV[4], '*', 'data', ARGV[i])
    redis.call('EXPIRE', ANNOUNCED, ARGV[5])
  end
  return added
end

-- Worker, lease in ms, limit, priorities, then ids that the worker has finished -> ids, payloads and expired leases of the claimed jobs; or
-- the time in ms until a job becomes due (-1: the queue is empty).
function commands.claim()
  local worker, lease_ms, limit, priorities = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
  if #ARGV > 6 then
    local ids, holders, seen = {}, {}, {}
    for i, holder in ipairs(redis.call('HMGET', LEASES, unpack(ARGV, 7))) do
      local id = ARGV[i + 6]
      if not seen[id] and (not holder or holder == worker) then
        seen[id], ids[#ids + 1], holders[#ids + 1] = true, id, holder
      end
    end
    if #ids > 0 then
      remove(ids, holders)
    end
  end
  if limit == 0 then
    return {}
  end
  make_due_ready()
  if redis.call('EXISTS', PAUSED) == 0 then
    local claimed = claim(limit, priorities, worker, lease_ms)
    if #claimed > 0 then
      return claimed
    end
  end
  if redis.call('EXISTS', QUEUE) == 0 then
    redis.call('DEL', COUNTERS)
  end
  for i = 1, #priorities do
    redis.call('DEL', WAKE .. priorities:sub(i, i))
  end
  local first = redis.call('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')
  return first[2] and math.max(first[2] - now, 0) or -1
end

-- Worker, lease in ms, then ids -> ids that another worker holds. A job that the server has lost is leased again.
function commands.renew()
  local lost = {}
  for i = 5, #ARGV do
    local id = ARGV[i]
    local holder = redis.call('HGET', LEASES, id)
    if holder and holder ~= ARGV[3] then
      lost[#lost + 1] = id
    else
      redis.call('HSETNX', JOBS, id, '1')
      local priority, owner = priority_and_owner(id)
      remove_ready(id, priority, owner)
      lease({now + ARGV[4], id}, {id, ARGV[3]}, holder and {} or {[owner] = 1})
    end
  end
  return lost
end

-- Worker, id, delay in ms -> 1 if the worker held the job.
function commands.release()
  local id, due = ARGV[4], now + ARGV[5]
  if redis.call('HGET', LEASES, id) ~= ARGV[3] then
    return 0
  end
  local priority, owner = priority_and_owner(id)
  end_leases({id}, {owner}, {ARGV[3]})
  redis.call('ZADD', QUEUE, due, id)
  redis.call('ZADD', TIMERS, due, id)
  wake_workers(priority, 1)
  return 1
end

-- Id -> 1 if the job was in the queue and no worker held it.
function commands.remove()
  return redis.call('HEXISTS', LEASES, ARGV[3]) == 0 and remove({ARGV[3]}, {false}) or 0
end

-- Fails whenever a write would. It changes nothing, because the key does not exist.
function commands.check_writable()
  redis.call('SET', PAYLOAD, '', 'XX')
end

function commands.pause()
  return redis.call('SET', PAUSED, now)
end

function commands.resume()
  for _, priority in ipairs(PRIORITIES) do
    wake_workers(priority, redis.call('EXISTS', OWNERS .. priority) * MAX_WAKES)
  end
  return redis.call('DEL', PAUSED)
end

-- -> jobs ready, delayed and leased, age of the oldest ready job in ms (-1: none), whether paused, priorities with claimable jobs
function commands.stats()
  make_due_ready()
  local all, timed, leased = redis.call('ZCARD', QUEUE), redis.call('ZCARD', TIMERS), redis.call('HLEN', LEASES)
  local oldest = redis.call('ZRANGE', QUEUE, 0, 0, 'WITHSCORES')
  local age = all > timed and math.max(now - oldest[2], 0) or -1
  local claimable = ''
  for _, priority in ipairs(PRIORITIES) do
    claimable = redis.call('EXISTS', OWNERS .. priority) == 1 and claimable .. priority or claimable
  end
  -- Not below 0 while the queue has lost some of its keys.
  return {math.max(all - timed, 0), math.max(timed - leased, 0), leased, age, redis.call('EXISTS', PAUSED), claimable}
end
