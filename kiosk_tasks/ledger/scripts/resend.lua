-- Take the right to send a waiting job's message once more: of many that find it lost, one gets it.
-- ARGV: prefix, job id, lane, the time since which it was seen to wait.
-- Answers 'taken', or 'gone' if it no longer waits since then.
local id, lane = ARGV[2], ARGV[3]
local since = redis.call('ZSCORE', prefix .. 'waiting:' .. lane, id)
if not since or tonumber(since) ~= tonumber(ARGV[4]) then return 'gone' end
local status = get('status')
if not status or ended(status) then
  redis.call('ZREM', prefix .. 'waiting:' .. lane, id)
  return 'gone'
end
wait_in(lane, id, now())
redis.call('HINCRBY', record, 'sent_again', 1)
return 'taken'
