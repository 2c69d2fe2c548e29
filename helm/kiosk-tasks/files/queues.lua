-- For redis_exporter (`-script`, also known as oliver006/redis_exporter): what each queue has to do,
-- as `redis_script_values{key="…"}`. Needs the user `kiosk-exporter` of `kiosk acl`, on the ledger's
-- server and database; names of keys begin with KIOSK_KEY_PREFIX, here the default:
local prefix = 'kiosk:'
-- The queues are those that a job was ever sent to; nothing is to be listed here.
--
--   <queue>                        open jobs: what the old Kiosk's script gave, for its rules
--   <queue>:queued                 jobs that no worker has taken
--   <queue>:inflight               jobs that a worker has
--   <queue>:oldest_inflight_ts     since when the oldest of those runs, seconds since 1970; 0 if none
--   <queue>:oldest_queued_ts       since when the oldest of the waiting ones waits, likewise
--   submitted, ended               jobs that have ever been, and those that are over
--   ledger_time                    the moment of all these numbers, by the server's clock
--
-- The cost does not grow with the number of jobs: one command or two for each list.

local function first(key)
  return tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or '0')
end

local function sum(key)
  local all = 0
  for _, count in ipairs(redis.call('HVALS', key)) do all = all + tonumber(count) end
  return all
end

local queued, oldest, names = {}, {}, {}
for _, lane in ipairs(redis.call('SMEMBERS', prefix .. 'lanes')) do
  local queue = string.gsub(lane, ':%d+$', '') -- the rest is a priority
  if not queued[queue] then
    names[#names + 1] = queue
    queued[queue], oldest[queue] = 0, 0
  end
  local key = prefix .. 'waiting:' .. lane
  local count, since = redis.call('ZCARD', key), first(key)
  queued[queue] = queued[queue] + count
  if count > 0 and (oldest[queue] == 0 or since < oldest[queue]) then oldest[queue] = since end
end

local found = {}
local function tell(name, value)
  found[#found + 1] = name
  found[#found + 1] = string.format('%.17g', value)
end

for _, queue in ipairs(names) do
  local key = prefix .. 'running:' .. queue
  local held = redis.call('ZCARD', key)
  tell(queue, queued[queue] + held)
  tell(queue .. ':queued', queued[queue])
  tell(queue .. ':inflight', held)
  tell(queue .. ':oldest_inflight_ts', first(key))
  tell(queue .. ':oldest_queued_ts', oldest[queue])
end
tell('submitted', sum(prefix .. 'submitted'))
tell('ended', sum(prefix .. 'ended'))
local clock = redis.call('TIME')
tell('ledger_time', tonumber(clock[1]) + tonumber(clock[2]) / 1e6)
return found
