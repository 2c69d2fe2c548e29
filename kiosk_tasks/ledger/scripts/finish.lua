-- End a job, once. ARGV: prefix, job id, token ('' = whoever holds it), seconds to keep the record,
-- seconds until what it may have left is removed, field, value, …
-- Answers {'written' or why not, id of the parent if this was its last child}.
local id, token, keep, sweep_s = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local status = get('status')
if not status then return {'lost', ''} end
if ended(status) then
  -- the same call again, after a reply that was lost on the way
  if token ~= '' and get('ended_by') == token then return {'written', get('ended_parent') or ''} end
  return {status, ''}
end
if token ~= '' and get('token') ~= token then return {'lost', ''} end
local untidy = get('artifact') or tonumber(get('attempts')) > 1 or get('total_jobs')
forget_place(id)
put(record, {unpack(ARGV, 6)})
redis.call('HDEL', record, 'token')
redis.call('HSET', record, 'ended_by', token)
redis.call('ZREM', prefix .. 'open', id)
local moment = now()
if untidy or get('status') ~= 'done' then
  redis.call('ZADD', prefix .. 'sweep', moment + sweep_s, id)
end
for _, key in ipairs({record, prefix .. 'children:' .. id, prefix .. 'ended:' .. id}) do
  redis.call('EXPIRE', key, keep)
end
local mirror = get('mirror')
if mirror then redis.call('EXPIRE', mirror, keep, 'NX') end -- unless the client has said when

local parent = get('parent')
if not parent then return {'written', ''} end
local its_record, its_ended = prefix .. 'job:' .. parent, prefix .. 'ended:' .. parent
local its = redis.call('HMGET', its_record, 'status', 'total_jobs', 'lane')
if not its[1] or ended(its[1]) then return {'written', ''} end
redis.call('SADD', its_ended, id)
if its[1] ~= 'waiting' then return {'written', ''} end
local count, total = redis.call('SCARD', its_ended), tonumber(its[2])
put(its_record, {'progress', math.floor(100 * count / total)})
if count < total then return {'written', ''} end
wait_in(its[3], parent, moment)
redis.call('HSET', record, 'ended_parent', parent)
return {'written', parent}
