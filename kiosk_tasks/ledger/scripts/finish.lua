-- End a job, once. ARGV: prefix, job id, token ('' = whoever holds it), seconds to keep the record,
-- seconds until what it may have left is removed, field, value, …
-- Answers {'written' or why not, id of the parent if this was its last child}.
-- The list of its children stays until what they have left is removed (`LostJobs.tidied`).
local id, token, keep, sweep_s = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local status = get('status')
if not status then return {'lost', ''} end
if ended(status) then
  -- the same call again, after a reply that was lost on the way; a run that is done and then fails
  -- at something else makes another call, and what it has done stands
  local asked
  for i = 6, #ARGV, 2 do
    if ARGV[i] == 'status' then asked = ARGV[i + 1] end
  end
  if token ~= '' and get('ended_by') == token and asked == status then
    return {'written', get('ended_parent') or ''}
  end
  return {status, ''}
end
if token ~= '' and get('token') ~= token then return {'lost', ''} end
local untidy = get('artifact') or tonumber(get('attempts')) > 1 or get('total_jobs')
  or redis.call('EXISTS', prefix .. 'children:' .. id) == 1
put(record, {unpack(ARGV, 6)})
if get('status') == 'done' then learn_pace() end
forget_place(id)
redis.call('HINCRBY', prefix .. 'ended', (get('job_type') or '') .. '|' .. get('status'), 1)
redis.call('HDEL', record, 'token')
redis.call('HSET', record, 'ended_by', token)
redis.call('ZREM', prefix .. 'open', id)
local user = get('user')
if user then redis.call('ZREM', prefix .. 'open:' .. user, id) end
local moment = now()
if untidy or get('status') ~= 'done' then
  redis.call('ZADD', prefix .. 'sweep', moment + sweep_s, id)
end
-- its children were kept for it; those that run on set their own time
for _, child in ipairs(redis.call('SMEMBERS', prefix .. 'ended:' .. id)) do
  redis.call('EXPIRE', prefix .. 'job:' .. child, keep)
end
redis.call('EXPIRE', prefix .. 'ended:' .. id, keep)
local mirror = get('mirror')
if mirror then redis.call('EXPIRE', mirror, keep, 'NX') end -- unless the client has said when

local parent = get('parent')
local its_record, its_ended = prefix .. 'job:' .. (parent or id), prefix .. 'ended:' .. (parent or id)
local its = redis.call('HMGET', its_record, 'status', 'total_jobs', 'lane')
if not its[1] or ended(its[1]) then
  redis.call('EXPIRE', record, keep)
  return {'written', ''}
end
-- The parent will read the record, however late. A child that did many files counts as many.
if redis.call('SADD', its_ended, id) == 1 then
  redis.call('HINCRBY', its_record, 'files_ended', get('files') or 1)
end
if its[1] ~= 'waiting' then return {'written', ''} end
local count, total = redis.call('HGET', its_record, 'files_ended') or 0, tonumber(its[2])
put(its_record, {'progress', math.floor(100 * count / total), 'units_done', count, 'units_total', total})
if open_children(parent) then return {'written', ''} end
wait_in(its[3], parent, moment)
redis.call('HSET', record, 'ended_parent', parent)
return {'written', parent}
