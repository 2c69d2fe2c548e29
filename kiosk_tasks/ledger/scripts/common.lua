-- What every script begins with. KEYS[1]: a job's record. ARGV[1]: prefix of all keys.
-- All times are the server's: the clocks of workers may differ.
local record, prefix = KEYS[1], ARGV[1]

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1e6
end

local function get(field) return redis.call('HGET', record, field) end

local function ended(status)
  return status == 'done' or status == 'failed' or status == 'cancelled'
end

-- Write fields into the hash that an older client polls, if there is one still: the client lets it
-- expire, and it must not come back in pieces. Of the words for a job's end it knows `done` and
-- `failed`, and waits on at any other.
local function mirror_fields(key, fields)
  local mirror = redis.call('HGET', key, 'mirror')
  if mirror and redis.call('HEXISTS', mirror, 'status') == 1 then
    redis.call('HSET', mirror, unpack(fields))
    if redis.call('HGET', mirror, 'status') == 'cancelled' then
      redis.call('HSET', mirror, 'status', 'failed')
    end
  end
end

-- Write fields of a record, there and in its mirror.
local function put(key, fields)
  if #fields == 0 then return end
  redis.call('HSET', key, unpack(fields))
  mirror_fields(key, fields)
end

-- How many jobs, and how many bytes, are open on each queue: the hash `load`, by queue and type.
-- A job says in its record as what it is counted, so that it is counted out as what it was.
local function count_out(id)
  local its = prefix .. 'job:' .. id
  local as = redis.call('HGET', its, 'counted')
  if not as then return end
  local bytes = redis.call('HGET', its, 'input_bytes') or '0'
  redis.call('HINCRBY', prefix .. 'load', as .. '|jobs', -1)
  redis.call('HINCRBY', prefix .. 'load', as .. '|bytes', -bytes)
  redis.call('ZREM', prefix .. 'running:' .. string.match(as, '^[^|]*'), id)
  redis.call('HDEL', its, 'counted')
end

local function count_in(id, queue)
  count_out(id)
  local its = prefix .. 'job:' .. id
  local as = queue .. '|' .. (redis.call('HGET', its, 'job_type') or '')
  local bytes = redis.call('HGET', its, 'input_bytes') or '0'
  redis.call('HINCRBY', prefix .. 'load', as .. '|jobs', 1)
  redis.call('HINCRBY', prefix .. 'load', as .. '|bytes', bytes)
  redis.call('HSET', its, 'counted', as)
end

-- The queue whose list a lane is: without the priority.
local function queue_of(lane) return (string.gsub(lane, ':%d+$', '')) end

-- The job's message is on its way: it waits in `lane`, which names a list of the broker.
local function wait_in(lane, id, since)
  redis.call('ZADD', prefix .. 'waiting:' .. lane, since, id)
  redis.call('SADD', prefix .. 'lanes', lane)
  count_in(id, queue_of(lane))
end

-- A run has taken the job.
local function run_on(queue, id)
  count_in(id, queue)
  redis.call('ZADD', prefix .. 'running:' .. queue, now(), id)
end

-- Nobody runs the job, and no message of it is awaited.
local function forget_place(id)
  redis.call('ZREM', prefix .. 'leases', id)
  local lane = get('lane')
  if lane then redis.call('ZREM', prefix .. 'waiting:' .. lane, id) end
  count_out(id)
end

-- How long jobs take: the hash `pace`, by queue and type; see scaling/pace.py, which reads it.
-- Called when a run has done its part, before the job is counted out; `predicted` is the field
-- with the seconds of its predictions, which an earlier run may have written.
local function learn_pace()
  local as, since = get('counted'), get('claimed_at')
  if not as or not since then return end
  local key, megabytes = prefix .. 'pace', (get('input_bytes') or 0) / 1e6
  local seconds, model = math.max(0, now() - since), 0 -- another server's clock, after a failover
  local predicted = get('prediction_time')
  if predicted ~= get('predicted_before') then
    model = math.min(tonumber(predicted or '') or 0, seconds)
  end
  local sums, added = {}, {1, megabytes, seconds, megabytes ^ 2, megabytes * seconds, model}
  for sum in string.gmatch(redis.call('HGET', key, as) or '', '%S+') do
    sums[#sums + 1] = tonumber(sum)
  end
  for i, value in ipairs(added) do
    added[i] = string.format('%.9g', (sums[i] or 0) * 0.98 + value)
  end
  redis.call('HSET', key, as, table.concat(added, ' '))
end

-- What a job whose size nobody knows is taken to have: the mean of its kind.
local function mean_bytes(lane, job_type)
  local kept = redis.call('HGET', prefix .. 'pace', queue_of(lane) .. '|' .. job_type)
  local n, megabytes = string.match(kept or '', '^(%S+) (%S+)')
  return n and math.floor(1e6 * megabytes / n) or 0
end

-- Whether the caller still holds the claim: nil if so, else why not.
local function refusal(token)
  local status = get('status')
  if not status then return 'lost' end
  if ended(status) then return status end
  if get('token') ~= token then return 'lost' end
  return nil
end

-- Whether a job has children that have not ended.
local function open_children(id)
  return redis.call('SCARD', prefix .. 'ended:' .. id) < redis.call('LLEN', prefix .. 'children:' .. id)
end
