-- End a job, once. KEYS: record, set of open jobs.
-- ARGV: token ('' = whoever holds it), job id, seconds to keep the record, field, value, …
-- Answers 'written', 'lost', or the terminal status that was there before.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return 'lost' end
if status == 'done' or status == 'failed' or status == 'cancelled' then return status end
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 'lost' end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('HDEL', KEYS[1], 'token')
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 'written'
