-- Give ARGV[4] tokens back to the bucket KEYS[1], which gains ARGV[1] tokens a second and holds ARGV[2], and take up to ARGV[3].
-- Returns the tokens taken, those left, and the milliseconds until there is one if none was taken.
local rate, capacity, wanted, unused = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bucket = redis.call("HMGET", KEYS[1], "tokens", "at")
local tokens, at = tonumber(bucket[1]) or capacity, tonumber(bucket[2]) or now
tokens = math.min(capacity, tokens + unused + math.max(now - at, 0) * rate / 1000)
local taken = math.min(wanted, math.floor(tokens))
tokens = tokens - taken
redis.call("HSET", KEYS[1], "tokens", tostring(tokens), "at", now)
redis.call("PEXPIRE", KEYS[1], math.ceil(capacity / rate * 1000) + 1000)
local wait = 0
if taken == 0 then
    wait = math.ceil((1 - tokens) * 1000 / rate)
end
return { taken, math.floor(tokens), wait }
