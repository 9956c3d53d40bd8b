-- What the other scripts share; it is put before each of them.
--
-- Lua's numbers are doubles: they count exactly up to 2^53. Hence whole numbers only. Where a from 0 and b from 1 are below
-- it, a / b is further from the next whole number than it is rounded by: a % b, and a quotient made with it, are exact.
--
-- A request waits for this, and all nodes share the thread that does it. Hence what several meters need is unpacked and
-- looked up once, and a table is as long as it will be from the start, or one that is there already.
--
-- A meter is four numbers in the plan: kind, then
--   1 to 4  bucket     capacity, amount, period    odd kinds count requests, even ones tokens; from 3 on by interval
--   5       parallel   capacity
--   6       budget     cap, start, end (0: none)

local LIMIT = 9007199254740992 -- 2^53
local FORGET_MS = 120000 -- a settled or released hold
local FORGET_EXPIRED_MS = 86400000
local PARALLEL, BUDGET = 5, 6
local KEYS, ARGV = KEYS, ARGV
local call, unpack_struct, format = redis.call, struct.unpack, string.format
-- "%d" is a C long: where that has 64 bits it is exact, and more than twice as fast.
local WHOLE = format("%d", LIMIT) == "9007199254740992" and "%d" or "%.0f"

local function checked(n, what)
  if n and n < LIMIT and n > -LIMIT and n % 1 == 0 then
    return n
  end
  error("tollhouse: " .. what .. " is not a whole number below 2^53")
end

-- A stored number, or the default where there is none. What is no number at all cannot be added to.
local function stored(value, default)
  if not value then
    return default
  end
  local n = value + 0
  if n < LIMIT and n > -LIMIT and n % 1 == 0 then
    return n
  end
  error("tollhouse: a stored number is not a whole number below 2^53")
end

local function ceiling(a, b)
  local rest = a % b
  if rest == 0 then
    return a / b
  end
  return (a - rest) / b + 1
end

local function clock()
  local time = call("TIME")
  local us = time[2]
  return time[1] * 1000 + (us - us % 1000) / 1000
end

-- The numbers of all meters, four of each, and one more that says nothing.
local function meters(plan, count)
  if #plan ~= 32 * count then
    error("tollhouse: the plan does not fit its keys")
  end
  local all = { unpack_struct("<" .. string.rep("I8I8I8I8", count), plan) }
  for i = 1, 4 * count, 4 do
    local kind = all[i]
    if kind < 1 or kind > 6 or all[i + 1] >= LIMIT or all[i + 2] >= LIMIT or all[i + 3] >= LIMIT then
      error("tollhouse: a meter of the plan is malformed")
    end
  end
  return all
end

-- The least level of a bucket: some 2^52 parts below 0.
local function deepest(period)
  return (4503599627370496 % period - 4503599627370496) / period
end

-- A bucket at `now`, in a table: level, rem, last, when its key expires, and what is leased of it: that much less is its
-- level when it is full, for what nodes may still give away must not be filled up before. Its own time never goes back: it
-- is `now`, or `last` if that is later.
local function bucket(key, by_interval, capacity, amount, period, now)
  local state = call("HMGET", key, "level", "rem", "last", "expires", "leased")
  local last, leased = stored(state[3], now), stored(state[5], 0)
  if last > now then
    now = last
  end
  capacity = capacity - leased
  local level, rem = stored(state[1], capacity), stored(state[2], 0) % period
  state[4], state[5] = stored(state[4], 0), leased
  if level > capacity then
    level = capacity
  elseif level < 0 then
    level = math.min(capacity, math.max(level, deepest(period)))
  end
  local passed, need = now - last, capacity - level
  local is_full = false
  if by_interval then
    rem = 0
    if passed >= period then
      local periods = (passed - passed % period) / period
      is_full = periods >= ceiling(need, amount)
      level, last = level + periods * amount, last + periods * period
    end
  else
    last = now
    -- The second test keeps the product of the third below 2^53.
    is_full = need == 0 or passed > need * period / amount or passed * amount + rem >= need * period
    if not is_full then
      local gained = passed * amount + rem
      rem = gained % period
      level = level + (gained - rem) / period
    end
  end
  if is_full then
    level, rem, last = capacity, 0, now
  end
  state[1], state[2], state[3] = level, rem, last
  return state
end

-- Milliseconds until a bucket's level is `goal`.
local function wait_for(goal, by_interval, amount, period, state, now)
  local missing = goal - state[1]
  if missing <= 0 then
    return 0
  end
  if by_interval then
    local last = state[3]
    return ceiling(missing, amount) * period - (now > last and now - last or 0)
  end
  return ceiling(missing * period - state[2], amount)
end

-- A key that is gone is a full bucket whose next window starts when it is asked again: it may go once that is true.
-- The expiry is set rarely, for it costs a command. Answers the milliseconds until it is full.
local function write_bucket(key, by_interval, capacity, amount, period, state, now)
  local level, rem, last, expires = state[1], state[2], state[3], state[4]
  if last > now then
    now = last
  end
  local reset = wait_for(capacity, by_interval, amount, period, state, now)
  local needed = reset
  if by_interval and needed < last + period - now then
    needed = last + period - now
  end
  if expires < now + needed + 60000 then
    expires = format(WHOLE, now + 60000 + math.max(2 * needed, 3600000))
    call("HSET", key, "level", format(WHOLE, level), "rem", format(WHOLE, rem), "last", format(WHOLE, last), "expires", expires)
    call("PEXPIREAT", key, expires)
  else
    call("HSET", key, "level", format(WHOLE, level), "rem", rem == 0 and "0" or format(WHOLE, rem), "last", format(WHOLE, last))
  end
  return reset
end

-- Also makes the key anew if it was lost; one whose time is over vanishes at once.
local function write_budget(key, posted, reserved, ends, is_new)
  call("HSET", key, "posted", format(WHOLE, posted), "reserved", format(WHOLE, reserved))
  if is_new and ends ~= 0 then
    call("PEXPIREAT", key, format(WHOLE, ends + 172800000))
  end
end
