-- Write a new job's record and index it; nothing happens if it is there already.
-- ARGV: prefix, job id, submission (a random word), lane, parent ('' = none),
-- seconds after which ended jobs leave the index, most open jobs of the user that the fields name
-- (0 = any number), field, value, …
-- Answers 'written', 'there', or 'many' if the user has as many open ones.
local id, submission, lane, parent = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local there = get('submission')
-- the same call again, after a reply that was lost on the way, counts as the first
if there or get('status') then return there == submission and 'written' or 'there' end
local moment = now()
redis.call('HSET', record, 'submission', submission, 'lane', lane, unpack(ARGV, 8))
local user = get('user')
if user then
  local theirs, most = prefix .. 'open:' .. user, tonumber(ARGV[7])
  if most > 0 and redis.call('ZCARD', theirs) >= most then
    redis.call('EXPIRE', record, 0) -- whoever submits may not delete
    return 'many'
  end
  redis.call('ZADD', theirs, moment, id)
end
local job_type = get('job_type') or ''
if not get('input_bytes') then
  redis.call('HSET', record, 'input_bytes', mean_bytes(lane, job_type))
end
redis.call('HINCRBY', prefix .. 'submitted', job_type, 1)
mirror_fields(record, {'job_id', id}) -- from now on it is known to be a job's
redis.call('ZADD', prefix .. 'open', moment, id)
wait_in(lane, id, moment)
if parent == '' then
  redis.call('ZADD', prefix .. 'jobs', moment, id)
  redis.call('ZREMRANGEBYSCORE', prefix .. 'jobs', '-inf', moment - ARGV[6])
else
  redis.call('HSET', record, 'parent', parent)
  redis.call('RPUSH', prefix .. 'children:' .. parent, id)
end
return 'written'
