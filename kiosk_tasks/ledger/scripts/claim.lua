-- Claim a job for one link.
-- ARGV: prefix, job id, token, index of the link's first stage, ISO time, name of this machine,
-- seconds of the lease, '1' if the message was delivered before (its run died), most attempts.
-- Answers {'claimed', fields, seconds since its message was sent or ''}; or 'exhausted' in the place
-- of 'claimed' if as many runs as allowed have died: the claim is only good for ending the job; or
-- why not: 'missing', 'passed' (a later link has run), 'busy' (another run shows signs of life), or
-- the terminal status.
local id, token, first = ARGV[2], ARGV[3], tonumber(ARGV[4])
local status = get('status')
if not status then return 'missing' end
if ended(status) then return status end
local at = tonumber(get('stage_index') or '0')
if at > first then return 'passed' end
local holder, moment = get('token'), now()
local answer, waited = 'claimed', ''
if holder ~= token then
  local lease = tonumber(redis.call('ZSCORE', prefix .. 'leases', id) or '0')
  if holder and lease > moment and ARGV[8] ~= '1' then return 'busy' end
  -- attempts counts the runs of one link: a new link starts over
  local attempts = at < first and 0 or tonumber(get('attempts') or '0')
  local lane = get('lane')
  local sent = redis.call('ZSCORE', prefix .. 'waiting:' .. lane, id)
  if sent then waited = tostring(moment - sent) end
  forget_place(id)
  run_on(queue_of(lane), id)
  if attempts >= tonumber(ARGV[9]) then answer = 'exhausted' else attempts = attempts + 1 end
  -- by whom it is run, too: a short run writes nothing more until its end
  put(record, {'attempts', attempts, 'stage_index', first, 'updated_at', ARGV[5], 'updated_by', ARGV[6]})
  redis.call('HSET', record, 'token', token, 'claimed_at', tostring(moment))
  redis.call('HSET', record, 'predicted_before', get('prediction_time') or '')
  if status == 'new' then
    put(record, {'status', 'started', 'identity_started', ARGV[6], 'started_at', ARGV[5]})
  end
end
redis.call('ZADD', prefix .. 'leases', moment + tonumber(ARGV[7]), id)
return {answer, redis.call('HGETALL', record), waited}
