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
local all = meters(plan, count)

local now = clock()
local hold = call("GET", KEYS[1])
local again = false
if hold then
  again = tonumber(string.match(hold, "^o %d+ (%d+) "))
  if not again then
    return { FINISHED }
  end
end

for i = 1, 4 * count, 4 do
  if all[i] == BUDGET and not again and (now < all[i + 2] or (all[i + 3] ~= 0 and now >= all[i + 3])) then
    return { STALE, now }
  end
end

local grant = want
local states = { unpack(KEYS, 3) }
for i = 1, count do
  local at, key = 4 * i - 3, states[i]
  local kind, a, c = all[at], all[at + 1], all[at + 3]
  local state
  if kind < PARALLEL then
    state = bucket(key, kind > 2, a, all[at + 2], c, now)
    local cost = kind % 2 == 0 and tokens or 1
    if not again and state[1] < cost then
      local wait = -1
      if cost <= a then
        wait = wait_for(cost, kind > 2, all[at + 2], c, state, now)
      end
      return { DENIED, i - 1, wait, state[1] }
    end
  elseif kind == PARALLEL then
    state = stored(call("HGET", key, "used"), 0)
    if not again and state >= a then
      return { DENIED, i - 1, -1, a - state }
    end
  else
    state = call("HMGET", key, "posted", "reserved")
    local posted, reserved = stored(state[1], 0), stored(state[2], 0)
    local left = a - posted - reserved
    local most = left > 0 and left or 0
    if not again and math.min(want, most) < minimum then
      return { DENIED, i - 1, c == 0 and -1 or c - now, left }
    end
    if most < grant then
      grant = most
    end
    state[2] = reserved
  end
  states[i] = state
end

-- The first of what is written: of another type, it fails here and not between two writes.
local expiry
if not again then
  expiry = format(WHOLE, now + expires_in)
  call("ZADD", KEYS[2], expiry, KEYS[1])
end
local answer = { unpack(all, 1, 2 * count + 3) }
answer[1], answer[2], answer[3] = ADMITTED, again or grant, now
for i = 1, count do
  local at, key, state = 4 * i - 3, KEYS[i + 2], states[i]
  local kind, a, c = all[at], all[at + 1], all[at + 3]
  local remaining, reset = 0, 0
  if kind < PARALLEL then
    if again then
      remaining, reset = state[1], wait_for(a, kind > 2, all[at + 2], c, state, now)
    else
      remaining = state[1] - (kind % 2 == 0 and tokens or 1)
      state[1] = remaining
      reset = write_bucket(key, kind > 2, a, all[at + 2], c, state, now)
    end
  elseif kind == PARALLEL then
    remaining = a - state
    if not again then
      remaining = remaining - 1
      call("HSET", key, "used", format(WHOLE, state + 1))
    end
  else
    local posted, reserved = stored(state[1], 0), state[2]
    remaining, reset = a - posted - reserved, c == 0 and 0 or c - now
    if not again then
      remaining = remaining - grant
      write_budget(key, posted, reserved + grant, c, not state[1])
    end
  end
  answer[2 * i + 2], answer[2 * i + 3] = remaining, reset
end

if not again then
  local header = format("o %s " .. WHOLE .. " " .. WHOLE .. " %d\n", expiry, grant, tokens, count)
  -- Whoever expires it needs to know no more than this.
  call("SET", KEYS[1], header .. table.concat(KEYS, "\n", 3) .. "\n" .. plan .. ARGV[3])
end
return answer
