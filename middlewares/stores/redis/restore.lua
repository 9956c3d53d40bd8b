-- Takes for a hold again what a server has lost of it, whatever the limits say: the request is under way.
--
-- KEYS: hold, expiries, then the key of each meter.
-- ARGV: plan; what was granted, tokens, expiry as little-endian 64-bit numbers; meta.
-- Answers 1, or 0 if nothing was lost. Buckets are left as they are.

local plan = ARGV[1]
local count = #KEYS - 2
local granted, tokens, expiry = unpack_struct("<I8I8I8", ARGV[2])
checked(granted, "granted")
checked(tokens, "tokens")
checked(expiry, "expiry")
local all = meters(plan, count)
if call("EXISTS", KEYS[1]) == 1 then
  return 0
end
call("ZCARD", KEYS[2])

local firsts, seconds, fresh = {}, {}, {}
for i = 1, count do
  local kind = all[4 * i - 3]
  if kind == BUDGET then
    local found = call("HMGET", KEYS[i + 2], "posted", "reserved")
    firsts[i], seconds[i] = stored(found[1], 0), checked(stored(found[2], 0) + granted, "what a budget has reserved")
    fresh[i] = not found[1]
  elseif kind == PARALLEL then
    firsts[i] = stored(call("HGET", KEYS[i + 2], "used"), 0) + 1
  end
end

for i = 1, count do
  if seconds[i] then
    write_budget(KEYS[i + 2], firsts[i], seconds[i], all[4 * i], fresh[i])
  elseif firsts[i] then
    call("HSET", KEYS[i + 2], "used", format(WHOLE, firsts[i]))
  end
end
expiry = format(WHOLE, expiry)
local header = format("o %s " .. WHOLE .. " " .. WHOLE .. " %d\n", expiry, granted, tokens, count)
call("SET", KEYS[1], header .. table.concat(KEYS, "\n", 3) .. "\n" .. plan .. ARGV[3])
call("ZADD", KEYS[2], expiry, KEYS[1])
return 1
