-- Claim a job for one link.
-- KEYS: record. ARGV: token, index of the link's first stage, now (ISO), name of this machine.
-- Answers 'claimed', or why not: 'missing', 'passed' (a later link has run), or the terminal status.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return 'missing' end
if status == 'done' or status == 'failed' or status == 'cancelled' then return status end
local at = tonumber(redis.call('HGET', KEYS[1], 'stage_index') or '0')
local first = tonumber(ARGV[2])
if at > first then return 'passed' end
-- attempts counts the runs of one link: a new link starts over
if at < first then redis.call('HSET', KEYS[1], 'attempts', 0) end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'stage_index', ARGV[2], 'updated_at', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'attempts', 1)
if status == 'new' then
  redis.call('HSET', KEYS[1], 'status', 'started', 'identity_started', ARGV[4], 'started_at', ARGV[3])
end
return 'claimed'
