-- Count all open jobs anew if the counts are wrong: workers of the release before this one, which
-- may run beside ours while one takes the other's place, did not keep them.
-- ARGV: prefix, most open jobs to look at: nobody else is answered meanwhile.
-- Answers 'right', 'counted', or 'many'. No one job's record is meant by KEYS[1].
local lanes, names, of_queue, waiting, running = redis.call('SMEMBERS', prefix .. 'lanes'), {}, {}, 0, 0
for _, lane in ipairs(lanes) do
  local queue = queue_of(lane)
  waiting = waiting + redis.call('ZCARD', prefix .. 'waiting:' .. lane)
  if not of_queue[queue] then
    names[#names + 1], of_queue[queue] = queue, {}
    running = running + redis.call('ZCARD', prefix .. 'running:' .. queue)
  end
end
local leased, counted = redis.call('ZCARD', prefix .. 'leases'), 0
local load = redis.call('HGETALL', prefix .. 'load')
for i = 1, #load, 2 do
  if string.match(load[i], '|jobs$') then counted = counted + tonumber(load[i + 1]) end
end
if running == leased and counted == waiting + leased then return 'right' end
if redis.call('ZCARD', prefix .. 'open') > tonumber(ARGV[2]) then return 'many' end

local sums = {}
for _, id in ipairs(redis.call('ZRANGE', prefix .. 'open', 0, -1)) do
  local its = prefix .. 'job:' .. id
  local row = redis.call('HMGET', its, 'lane', 'job_type', 'input_bytes', 'counted')
  local lane, as = row[1], row[4]
  if not lane then -- the record was removed by hand: there is no job any more
    redis.call('ZREM', prefix .. 'open', id)
    redis.call('ZREM', prefix .. 'leases', id)
    for _, one in ipairs(lanes) do redis.call('ZREM', prefix .. 'waiting:' .. one, id) end
  else
    local runs, now_as = redis.call('ZSCORE', prefix .. 'leases', id), false
    if runs or redis.call('ZSCORE', prefix .. 'waiting:' .. lane, id) then
      now_as = queue_of(lane) .. '|' .. (row[2] or '')
      sums[now_as .. '|jobs'] = (sums[now_as .. '|jobs'] or 0) + 1
      sums[now_as .. '|bytes'] = (sums[now_as .. '|bytes'] or 0) + (row[3] or 0)
    end
    if runs then -- it is in one place only
      redis.call('ZREM', prefix .. 'waiting:' .. lane, id)
      if of_queue[queue_of(lane)] then of_queue[queue_of(lane)][id] = true end
    end
    if now_as and now_as ~= as then redis.call('HSET', its, 'counted', now_as) end
    if as and not now_as then redis.call('HDEL', its, 'counted') end -- it waits for its children
  end
end
for i = 1, #load, 2 do
  if not sums[load[i]] then redis.call('HDEL', prefix .. 'load', load[i]) end
end
for name, sum in pairs(sums) do redis.call('HSET', prefix .. 'load', name, sum) end
for _, queue in ipairs(names) do
  local key, moment = prefix .. 'running:' .. queue, now()
  for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    if not of_queue[queue][id] then redis.call('ZREM', key, id) end
  end
  for id in pairs(of_queue[queue]) do redis.call('ZADD', key, 'NX', moment, id) end
end
return 'counted'
