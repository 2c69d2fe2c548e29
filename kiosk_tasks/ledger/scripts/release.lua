-- End a run in order while the job goes on; its message is sent after this.
-- ARGV: prefix, job id, token, how, lane, index of the next link's first stage, field, value, …
--   how 'next': the job waits for its next link
--   how 'again': the same link is to be run once more; this run does not count as an attempt
--   how 'children': the job waits until its children have ended
-- Answers 'written'; 'ready' if all children have ended before; or why not, as for a write.
local id, token, how, lane, start = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local no = refusal(token)
if no then
  -- the same call again, after a reply that was lost on the way
  if no == 'lost' and get('released') == token then return 'written' end
  return no
end
put(record, {unpack(ARGV, 7)})
if how ~= 'again' then learn_pace() end
forget_place(id)
redis.call('HDEL', record, 'token')
redis.call('HSET', record, 'released', token, 'lane', lane, 'stage_index', start)
if how == 'again' then
  redis.call('HINCRBY', record, 'attempts', -1)
  redis.call('HINCRBY', record, 'retries', 1)
else
  redis.call('HSET', record, 'attempts', 0, 'retries', 0)
end
if how == 'children' then
  put(record, {'status', 'waiting'})
  if open_children(id) then return 'written' end
  wait_in(lane, id, now())
  return 'ready'
end
wait_in(lane, id, now())
return 'written'
