-- Write a new job's record and index it; nothing happens if it is there already.
-- KEYS: record, set of open jobs, set of all jobs (both by submission time).
-- ARGV: job id, submission time (s), seconds after which ended jobs leave the index, field, value, …
if redis.call('EXISTS', KEYS[1]) == 1 then return 'there' end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[2] - ARGV[3])
return 'written'
