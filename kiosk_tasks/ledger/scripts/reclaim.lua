-- Take a job from a run that gives no sign of life; its message is sent after this.
-- ARGV: prefix, job id. Answers 'taken', or 'alive' if there is no such run (any more).
local id = ARGV[2]
local lease = tonumber(redis.call('ZSCORE', prefix .. 'leases', id))
local moment = now()
if not lease or lease > moment then return 'alive' end
redis.call('ZREM', prefix .. 'leases', id)
local status = get('status')
if not status or ended(status) then return 'alive' end
redis.call('HDEL', record, 'token')
wait_in(get('lane'), id, moment)
return 'taken'
