-- What the other scripts share; it is put before each of them.
--
-- Lua's numbers are doubles: they count exactly up to 2^53, and a quotient may be rounded up to the next whole number.
-- Hence whole numbers only, fmod (exact) before every division, and "%.0f" when one is written.
--
-- A meter is four numbers in the plan: kind, then
--   1 to 4  bucket     capacity, amount, period    odd kinds count requests, even ones tokens; from 3 on by interval
--   5       parallel   capacity
--   6       budget     cap, start, end (0: none)

local LIMIT = 9007199254740992 -- 2^53
local HALF = 4503599627370496 -- 2^52
local FORGET_MS = 120000 -- a settled or released hold
local FORGET_EXPIRED_MS = 86400000
local AFTERLIFE_MS = 172800000 -- of a budget's window
local PARALLEL, BUDGET = 5, 6
local call, fmod, unpack_struct = redis.call, math.fmod, struct.unpack

local function text(n)
  return string.format("%.0f", n)
end

local function checked(n, what)
  if not n or n ~= n or n >= LIMIT or n <= -LIMIT or fmod(n, 1) ~= 0 then
    error("tollhouse: " .. what .. " is not a whole number below 2^53")
  end
  return n
end

-- A stored number, or the default where there is none.
local function stored(value, default)
  if not value then
    return default
  end
  return checked(tonumber(value), "a stored number")
end

local function quotient(a, b)
  return (a - fmod(a, b)) / b
end

local function ceiling(a, b)
  local rest = fmod(a, b)
  if rest == 0 then
    return a / b
  end
  return (a - rest) / b + 1
end

local function clock()
  local time = call("TIME")
  return time[1] * 1000 + quotient(tonumber(time[2]), 1000)
end

local function meter(plan, i)
  local kind, a, b, c = unpack_struct("<I8I8I8I8", plan, 32 * i - 31)
  if kind < 1 or kind > 6 or a >= LIMIT or b >= LIMIT or c >= LIMIT then
    error("tollhouse: meter " .. i .. " of the plan is malformed")
  end
  return kind, a, b, c
end

-- A bucket at `now`: level, rem, last, its own time (it never goes back), when its key expires, and what is leased of it:
-- that much less is its level when it is full, for what nodes may still give away must not be filled up before.
local function bucket(key, by_interval, capacity, amount, period, now)
  local found = call("HMGET", key, "level", "rem", "last", "expires", "leased")
  local last = stored(found[3], now)
  if last > now then
    now = last
  end
  local leased = stored(found[5], 0)
  capacity = capacity - leased
  local level = stored(found[1], capacity)
  local rem = fmod(stored(found[2], 0), period)
  local expires = stored(found[4], 0)
  level = math.min(capacity, math.max(level, -quotient(HALF, period)))
  local passed, need = now - last, capacity - level
  if by_interval then
    local periods = quotient(passed, period)
    if periods >= 1 then
      if periods >= ceiling(need, amount) then
        return capacity, 0, now, now, expires, leased
      end
      level, last = level + periods * amount, last + periods * period
    end
    return level, 0, last, now, expires, leased
  end
  -- The first test keeps the product below 2^53.
  if need == 0 or passed > need * period / amount or passed * amount + rem >= need * period then
    return capacity, 0, now, now, expires, leased
  end
  local gained = passed * amount + rem
  rem = fmod(gained, period)
  return level + (gained - rem) / period, rem, now, now, expires, leased
end

-- Milliseconds until a bucket's level is `goal`.
local function wait_for(goal, by_interval, amount, period, level, rem, last, now)
  if level >= goal then
    return 0
  end
  if by_interval then
    return ceiling(goal - level, amount) * period - (now - last)
  end
  return ceiling((goal - level) * period - rem, amount)
end

-- A key that is gone is a full bucket whose next window starts when it is asked again: it may go once that is true.
-- The expiry is set rarely, for it costs a command.
local function write_bucket(key, by_interval, capacity, amount, period, level, rem, last, now, expires)
  local reset = wait_for(capacity, by_interval, amount, period, level, rem, last, now)
  local needed = reset
  if by_interval and needed < last + period - now then
    needed = last + period - now
  end
  local fresh = expires < now + needed + 60000
  if fresh then
    expires = now + 60000 + math.max(2 * needed, 3600000)
  end
  call("HSET", key, "level", text(level), "rem", text(rem), "last", text(last), "expires", text(expires))
  if fresh then
    call("PEXPIREAT", key, text(expires))
  end
  return reset
end

-- Also makes the key anew if it was lost; one whose time is over vanishes at once.
local function write_budget(key, posted, reserved, ends, is_new)
  call("HSET", key, "posted", text(posted), "reserved", text(reserved))
  if is_new and ends ~= 0 then
    call("PEXPIREAT", key, text(ends + AFTERLIFE_MS))
  end
end
