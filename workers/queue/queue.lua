-- The changes of the queue that must be atomic: one script, in the files queue.lua, claim.lua, commands.lua and repair.lua. Times come from
-- the server, so that the clocks of workers don't matter. The cost of a call grows with the jobs it handles (and up to BATCH that have become due), not
-- with the length of the queue.
--
-- QUEUE     sorted set of all job ids by the time (ms) from which they may be claimed; for a claimed job, the end of its lease
-- TIMERS    sorted set of those that are not due yet: delayed and claimed jobs
-- JOBS      hash of job id to priority (a digit, 0 is the highest) and owner, in one string
-- LEASES    hash of job id to the worker that holds it
-- EXPIRED   hash of job id to the number of its expired leases
-- RUNNING   hash of owner to the number of claimed jobs
-- COUNTERS  hash: `turn` of the owner queued last, and `claims`
-- PAUSED    exists while nothing may be claimed
-- READY     <priority>:<owner>, sorted set of ready jobs by the time since which they wait
-- OWNERS    <priority>, sorted set of owners who have ready jobs and may run one more, by turn
-- WAKE      <priority>, list on which idle workers block
-- PAYLOAD   <job id>, the job in ARQ's format
-- ANNOUNCED stream of announcements about runs
local QUEUE, TIMERS, JOBS, LEASES, EXPIRED, RUNNING, COUNTERS, PAUSED, READY, OWNERS, WAKE, PAYLOAD, ANNOUNCED = unpack(KEYS)
local command, OWNER_LIMIT = ARGV[1], tonumber(ARGV[2])
local PRIORITIES = {'0', '1', '2'}
-- How long (ms) a job waits until it is as urgent as a new one of the highest priority.
local HEAD_START = {['0'] = 0, ['1'] = 30000, ['2'] = 300000}
local MAX_WAKES, BATCH = 256, 500
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function wake_workers(priority, jobs)
  local wakes = {}
  for i = 1, math.min(jobs, MAX_WAKES - redis.call('LLEN', WAKE .. priority)) do
    wakes[i] = ''
  end
  if #wakes > 0 then
    redis.call('RPUSH', WAKE .. priority, unpack(wakes))
  end
end

local function split(job)
  if job then
    return job:sub(1, 1), job:sub(2)
  end
end

local function priority_and_owner(id)
  return split(redis.call('HGET', JOBS, id))
end

local function ready_key(priority, owner)
  return READY .. priority .. ':' .. owner
end

local function below_limit(owner)
  return OWNER_LIMIT == 0 or tonumber(redis.call('HGET', RUNNING, owner) or 0) < OWNER_LIMIT
end

local function queue_owner(priority, owner, jobs)
  redis.call('ZADD', OWNERS .. priority, 'NX', redis.call('HINCRBY', COUNTERS, 'turn', 1), owner)
  wake_workers(priority, jobs)
end

-- `scored` alternates times and ids.
local function add_ready(priority, owner, scored)
  -- A job that is there already keeps the time since which it waits.
  redis.call('ZADD', ready_key(priority, owner), 'LT', unpack(scored))
  if below_limit(owner) then
    queue_owner(priority, owner, #scored / 2)
  end
end

local function remove_ready(id, priority, owner)
  local key = ready_key(priority, owner)
  if redis.call('ZREM', key, id) == 1 and redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', OWNERS .. priority, owner)
  end
end

-- Restores what a job in the queue has lost of its entry; returns 1 if it had lost something, else 0. A worker that renewed its lease meanwhile
-- could not know its owner; `place` makes it ready under the right one.
local function restore_entry(id, job, payload, payload_ms)
  local known = redis.call('HGET', JOBS, id)
  if known and known ~= job then
    remove_ready(id, split(known))
  end
  if known ~= job then
    redis.call('HSET', JOBS, id, job)
  end
  return (redis.call('SET', PAYLOAD .. id, payload, 'NX', 'PX', payload_ms) or known ~= job) and 1 or 0
end

-- `scored` alternates ends of leases and ids, `leases` ids and workers; `counts` are jobs by owner.
local function lease(scored, leases, counts)
  redis.call('ZADD', QUEUE, unpack(scored))
  redis.call('ZADD', TIMERS, unpack(scored))
  redis.call('HSET', LEASES, unpack(leases))
  for owner, count in pairs(counts) do
    redis.call('HINCRBY', RUNNING, owner, count)
  end
end

-- Deletes the leases of jobs; owners that fall below their limit queue again.
local function end_leases(ids, owners, holders)
  local ended = {}
  for i, owner in pairs(owners) do
    ended[owner] = holders[i] and (ended[owner] or 0) + 1 or ended[owner]
  end
  redis.call('HDEL', LEASES, unpack(ids))
  for owner, count in pairs(ended) do
    if redis.call('HINCRBY', RUNNING, owner, -count) <= 0 then
      redis.call('HDEL', RUNNING, owner)
    end
    if OWNER_LIMIT > 0 and below_limit(owner) then
      for _, priority in ipairs(PRIORITIES) do
        if redis.call('EXISTS', ready_key(priority, owner)) == 1 then
          queue_owner(priority, owner, count)
        end
      end
    end
  end
end

-- Removes distinct jobs; `holders` are the workers that hold them, or false.
local function remove(ids, holders)
  local jobs, owners, payloads = redis.call('HMGET', JOBS, unpack(ids)), {}, {}
  local some_ready = redis.call('ZREM', TIMERS, unpack(ids)) < #ids
  for i, id in ipairs(ids) do
    local priority, owner = split(jobs[i])
    if priority and some_ready then
      remove_ready(id, priority, owner)
    end
    owners[i], payloads[i] = owner, PAYLOAD .. id
  end
  end_leases(ids, owners, holders)
  redis.call('HDEL', JOBS, unpack(ids))
  if redis.call('EXISTS', EXPIRED) == 1 then
    redis.call('HDEL', EXPIRED, unpack(ids))
  end
  redis.call('DEL', unpack(payloads))
  return redis.call('ZREM', QUEUE, unpack(ids))
end

-- Makes due jobs ready; those whose lease has expired go first.
local function make_due_ready()
  local due = redis.call('ZRANGEBYSCORE', TIMERS, '-inf', now, 'WITHSCORES', 'LIMIT', 0, BATCH)
  for i = 1, #due, 2 do
    local id = due[i]
    local priority, owner = priority_and_owner(id)
    local holder = redis.call('HGET', LEASES, id)
    if priority then
      redis.call('ZREM', TIMERS, id)
      end_leases({id}, {owner}, {holder})
      if holder then
        redis.call('HINCRBY', EXPIRED, id, 1)
      end
      add_ready(priority, owner, {holder and 0 or due[i + 1], id})
    else
      remove({id}, {holder})
    end
  end
end
