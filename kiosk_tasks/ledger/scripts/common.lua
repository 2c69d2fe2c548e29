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

-- The job's message is on its way: it waits in `lane`, which names a list of the broker.
local function wait_in(lane, id, since)
  redis.call('ZADD', prefix .. 'waiting:' .. lane, since, id)
  redis.call('SADD', prefix .. 'lanes', lane)
end

-- Nobody runs the job, and no message of it is awaited.
local function forget_place(id)
  redis.call('ZREM', prefix .. 'leases', id)
  local lane = get('lane')
  if lane then redis.call('ZREM', prefix .. 'waiting:' .. lane, id) end
end

-- Whether the caller still holds the claim: nil if so, else why not.
local function refusal(token)
  local status = get('status')
  if not status then return 'lost' end
  if ended(status) then return status end
  if get('token') ~= token then return 'lost' end
  return nil
end
