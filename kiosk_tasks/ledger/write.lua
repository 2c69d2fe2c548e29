-- Write fields, if the caller still holds the claim. KEYS: record. ARGV: token, field, value, …
-- Answers 'written', 'lost' (another run holds the claim), or the terminal status.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return 'lost' end
if status == 'done' or status == 'failed' or status == 'cancelled' then return status end
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 'lost' end
if #ARGV > 1 then redis.call('HSET', KEYS[1], unpack(ARGV, 2)) end
return 'written'
