-- Prolong the lease of a run that lives. ARGV: prefix, job id, token, seconds.
-- Answers 'written', 'lost', or the terminal status.
local no = refusal(ARGV[3])
if no then return no end
redis.call('ZADD', prefix .. 'leases', 'XX', now() + tonumber(ARGV[4]), ARGV[2])
return 'written'
