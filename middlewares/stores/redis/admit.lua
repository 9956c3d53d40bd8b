-- Takes from every meter of a plan, or from none.
--
-- KEYS: hold, expiries, then the key of each meter.
-- ARGV: plan; tokens, want, minimum, expires_in as little-endian 64-bit numbers; meta.
-- Answers {1, granted, now, remaining and reset of each meter ...}, {0, index, wait or -1, remaining},
-- {2, now} if a budget's window does not hold now, {3} if the hold has ended already.

local ADMITTED, DENIED, STALE, FINISHED = 1, 0, 2, 3
local plan = ARGV[1]
local count = #KEYS - 2
local tokens, want, minimum, expires_in = unpack_struct("<I8I8I8I8", ARGV[2])
checked(tokens, "tokens")
checked(want, "want")
checked(minimum, "minimum")
checked(expires_in, "expires_in")
if #plan ~= 32 * count then
  error("tollhouse: the plan does not fit its keys")
end

local now = clock()
local hold = call("GET", KEYS[1])
local again = false
if hold then
  again = tonumber(string.match(hold, "^o %d+ (%d+) "))
  if not again then
    return { FINISHED }
  end
end
call("ZCARD", KEYS[2]) -- of another type, it fails here and not between two writes

local kinds, as, bs, cs = {}, {}, {}, {}
for i = 1, count do
  local kind, a, b, c = meter(plan, i)
  if kind == BUDGET and not again and (now < b or (c ~= 0 and now >= c)) then
    return { STALE, now }
  end
  kinds[i], as[i], bs[i], cs[i] = kind, a, b, c
end

local grant = want
local levels, rems, lasts, nows, expiries = {}, {}, {}, {}, {}
for i = 1, count do
  local kind, a, b, c = kinds[i], as[i], bs[i], cs[i]
  local key = KEYS[i + 2]
  if kind < PARALLEL then
    local level, rem, last, at, expires = bucket(key, kind > 2, a, b, c, now)
    local cost = kind % 2 == 0 and tokens or 1
    if not again and level < cost then
      local wait = -1
      if cost <= a then
        wait = wait_for(cost, kind > 2, b, c, level, rem, last, at)
      end
      return { DENIED, i - 1, wait, level }
    end
    levels[i], rems[i], lasts[i], nows[i], expiries[i] = level, rem, last, at, expires
  elseif kind == PARALLEL then
    local used = stored(call("HGET", key, "used"), 0)
    if not again and used >= a then
      return { DENIED, i - 1, -1, a - used }
    end
    levels[i] = used
  else
    local found = call("HMGET", key, "posted", "reserved")
    local posted, reserved = stored(found[1], 0), stored(found[2], 0)
    local left = a - posted - reserved
    local most = left > 0 and left or 0
    if not again and math.min(want, most) < minimum then
      return { DENIED, i - 1, c == 0 and -1 or c - now, left }
    end
    if most < grant then
      grant = most
    end
    levels[i], rems[i], lasts[i], expiries[i] = posted, reserved, left, not found[1]
  end
end

local answer = { ADMITTED, again or grant, now }
for i = 1, count do
  local kind, a, b, c = kinds[i], as[i], bs[i], cs[i]
  local key = KEYS[i + 2]
  local remaining, reset = 0, 0
  if kind < PARALLEL then
    remaining = levels[i]
    if again then
      reset = wait_for(a, kind > 2, b, c, remaining, rems[i], lasts[i], nows[i])
    else
      remaining = remaining - (kind % 2 == 0 and tokens or 1)
      reset = write_bucket(key, kind > 2, a, b, c, remaining, rems[i], lasts[i], nows[i], expiries[i])
    end
  elseif kind == PARALLEL then
    local used = levels[i]
    if not again then
      used = used + 1
      call("HSET", key, "used", text(used))
    end
    remaining = a - used
  else
    remaining, reset = lasts[i], c == 0 and 0 or c - now
    if not again then
      remaining = remaining - grant
      write_budget(key, levels[i], rems[i] + grant, c, expiries[i])
    end
  end
  answer[2 * i + 2], answer[2 * i + 3] = remaining, reset
end

if not again then
  local expiry = text(now + expires_in)
  local header = "o " .. expiry .. " " .. text(grant) .. " " .. text(tokens) .. " " .. count .. "\n"
  -- Whoever expires it needs to know no more than this.
  call("SET", KEYS[1], header .. table.concat(KEYS, "\n", 3) .. "\n" .. plan .. ARGV[3])
  call("ZADD", KEYS[2], expiry, KEYS[1])
end
return answer
