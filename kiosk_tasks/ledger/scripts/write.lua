-- Write fields, if the caller still holds the claim. ARGV: prefix, token, field, value, …
-- Answers 'written', 'lost' (another run holds the claim), or the terminal status.
local no = refusal(ARGV[2])
if no then return no end
put(record, {unpack(ARGV, 3)})
return 'written'
