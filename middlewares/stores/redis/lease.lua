-- What one node has of each meter to give away by itself: it tells what became of it, gives back and takes more.
--
-- A lease is a hold on each meter alone: `out` units of it are the node's. Places and money that its own open holds have
-- are part of that; tokens and requests leave it when they are used.
--
-- KEYS: lease, leases, ledger, then the key of each meter.
-- ARGV: plan; verb; number of the report and milliseconds until the lease expires, as little-endian 64-bit numbers;
--   for each meter five of them: used (buckets), put back of what had been reported as used (buckets), held, goal, least;
--   then for each line of the ledger: hold, status, cost, indices of its budgets (16 bits each), entry.
-- What of a budget was spent is the sum of its lines, so counter and ledger cannot differ.
-- Verbs: report, and expire, which charges everything that is out in full. That one is given all of the lease's meters.
-- Answers {1, now, out, left, reset, limit of each meter ...}; {2, now}: the lease has expired, what was told corrects
-- what was charged; {3, number}: a report is missing, the last that is known is this one. Of expire: expired, early,
-- duplicate, or changed if those are not all of its meters.

local SHARE = 8 -- of what is left, divided among the nodes, a node may have as much as one part in so many
local OPEN, EXPIRED, MISSING = 1, 2, 3
local plan, verb, lines = ARGV[1], ARGV[2], 5
local count = #KEYS - 3
local number, lasts_ms = unpack_struct("<I8I8", ARGV[3])
checked(number, "number")
checked(lasts_ms, "lasts_ms")
local all = meters(plan, count)
if #ARGV[4] ~= 40 * count or (#ARGV - 4) % 5 ~= 0 then
  error("tollhouse: the plan does not fit its keys")
end
if verb ~= "report" and verb ~= "expire" then
  error("tollhouse: no such verb")
end

local now = clock()
local fields = { "state", "number" }
for i = 1, count do
  fields[i + 2] = KEYS[i + 3]
end
local known = call("HMGET", KEYS[1], unpack(fields))
local state, last = known[1], stored(known[2], 0)
local expires = stored(call("ZSCORE", KEYS[2], KEYS[1]), 0)
local nodes = call("ZCARD", KEYS[2]) + (expires == 0 and 1 or 0)
call("XLEN", KEYS[3])
local outs = {}
for i = 1, count do
  -- The meter as the plan has it comes first: whoever expires the lease needs it.
  outs[i] = stored(known[i + 2] and string.sub(known[i + 2], 33), 0)
end

local is_repeated = false
if verb == "expire" then
  if state ~= "o" or expires == 0 then
    call("ZREM", KEYS[2], KEYS[1])
    return "duplicate"
  elseif now < expires then
    return "early"
  elseif call("HLEN", KEYS[1]) ~= count + 2 then
    return "changed"
  end
  for i = 1, count do
    if not known[i + 2] then
      return "changed"
    end
  end
else
  if not state then
    -- A lease begins with its first report; one that was lost is as if it had expired and nothing had been charged.
    state = number == 1 and "o" or "x"
  end
  is_repeated = number <= last
  if state == "o" and number > last + 1 then
    return { MISSING, last }
  elseif state == "x" and is_repeated then
    return { EXPIRED, now }
  end
end

-- The lines, and what they come to for each budget.
local spent, records = {}, {}
local function record(hold, status, cost, indices, entry)
  local names = {}
  for at = 1, #indices, 2 do
    local i = unpack_struct("<H", indices, at)
    if i < 1 or i > count then
      error("tollhouse: a line names a meter that is not there")
    end
    names[#names + 1] = KEYS[i + 3]
    spent[i] = checked((spent[i] or 0) + cost, "what was spent")
  end
  records[#records + 1] = { hold, status, format(WHOLE, cost), table.concat(names, "\n"), entry }
end
if not is_repeated then
  for at = lines, #ARGV, 5 do
    record(ARGV[at], ARGV[at + 1], checked(tonumber(ARGV[at + 2]), "cost"), ARGV[at + 3], ARGV[at + 4])
  end
end

-- Everything that can fail does so here, before anything is written.
local name = string.match(KEYS[1], "}:l:(.+)$")
local afters, writes, answer = {}, {}, { OPEN, now }

-- How much more a node gets: `left` is what nobody has, `has` what it has and holds nothing with.
local function share(left, has, wanted, least)
  local limit = left + has > 0 and math.floor((left + has) / (SHARE * nodes)) or 0
  if limit < least then
    limit = 0
  end
  return math.max(0, math.min(wanted, limit - has, left)), limit
end

for i = 1, count do
  local kind, a, b, c = unpack(all, 4 * i - 3, 4 * i)
  local key, out = KEYS[i + 3], outs[i]
  local used, back, held, goal, least = unpack_struct("<i8I8I8I8I8", ARGV[4], 40 * i - 39)
  checked(used, "used")
  checked(back, "back")
  checked(held, "held")
  checked(goal, "goal")
  checked(least, "least")
  if goal < held or (kind < PARALLEL and held ~= 0) or (kind >= PARALLEL and (used ~= 0 or back ~= 0)) then
    error("tollhouse: what is told of meter " .. i .. " cannot be")
  end
  if is_repeated then
    used, back, held, goal = 0, 0, math.min(held, out), out
  elseif verb == "expire" then
    held, goal = 0, 0
  end
  local after, left, reset, limit = out, 0, 0, 0
  if kind < PARALLEL then
    local found = bucket(key, kind > 2, a, b, c, now)
    local level, leased = found[1], found[5]
    if state == "x" or verb == "expire" then
      -- All of it was or is charged as used.
      after = math.max(0, out - used)
      level = level + math.min(0, out - used)
      leased = leased - (verb == "expire" and out or 0)
    else
      leased, after = leased - out, out - used
      if after > goal or after < 0 then
        level, after = level + after - math.max(0, math.min(goal, after)), math.max(0, math.min(goal, after))
      end
      local more
      more, limit = share(level, after, goal - after, least)
      level, after = level - more + back, after + more
      leased = checked(math.max(0, leased) + after, "what is leased")
    end
    level = math.max(level, deepest(c))
    if level >= a - leased then
      level, found[2] = a - leased, 0
    end
    found[1], found[5] = level, leased
    left, reset = level, wait_for(a, kind > 2, b, c, found, now)
    writes[i] = found
  elseif kind == PARALLEL then
    local places = stored(call("HGET", key, "used"), 0)
    if state == "x" then
      after = 0
    else
      places = math.max(0, places - out)
      after = math.max(held, math.min(out, goal))
      local more
      more, limit = share(a - places - after, after - held, goal - after, least)
      after = after + more
      places = checked(places + after, "places")
      left = a - places
    end
    writes[i] = places
  else
    local found = call("HMGET", key, "posted", "reserved")
    local posted, reserved = stored(found[1], 0), stored(found[2], 0)
    local cost = spent[i] or 0
    if verb == "expire" then
      posted, reserved, after = posted + out, reserved - out, out
      record(name .. "." .. i, "estimated", out, struct.pack("<H", i), "")
    elseif state == "x" then
      -- Everything that was out has been charged. What is neither spent nor held now was too much, but for what a node
      -- that does not know yet may still give away: once it knows, its goal is what it holds.
      after = math.max(held, math.min(out - cost, goal))
      posted = posted + cost + after - out
      if after ~= out then
        record(name .. "." .. format(WHOLE, number) .. "." .. i, "late", after - out, struct.pack("<H", i), "")
      end
    else
      posted, reserved, after = posted + cost, reserved - out, out - cost
      after = math.max(held, math.min(after, goal))
      left = a - posted - math.max(0, reserved) - after
      local more
      more, limit = share(left, after - held, goal - after, least)
      if now < b or (c ~= 0 and now >= c) then
        more, limit = 0, 0
      end
      after, left = after + more, left - more
      reset = c == 0 and 0 or math.max(0, c - now)
      reserved = math.max(0, reserved) + after
    end
    checked(posted, "what a budget has posted")
    checked(reserved, "what a budget has reserved")
    writes[i] = { posted, math.max(0, reserved), c, not found[1] }
  end
  checked(after, "what a node has")
  afters[i] = after
  local j = 4 * i - 1
  answer[j], answer[j + 1], answer[j + 2], answer[j + 3] = after, left, reset, limit
end
if is_repeated then
  return answer
end

-- First a command that Redis takes when its memory is full: then it takes the rest of the script as well.
call("ZREM", KEYS[2], KEYS[1])
local phase = (verb == "expire" or state == "x") and "x" or "o"
local remains, gone = { "state", phase, "number", format(WHOLE, math.max(number, last)) }, {}
for i = 1, count do
  local kind, a, b, c = unpack(all, 4 * i - 3, 4 * i)
  local key, new = KEYS[i + 3], writes[i]
  if kind < PARALLEL then
    write_bucket(key, kind > 2, a, b, c, new, now)
    if new[5] > 0 then
      call("HSET", key, "leased", format(WHOLE, new[5]))
    else
      call("HDEL", key, "leased")
    end
  elseif kind == BUDGET then
    write_budget(key, new[1], new[2], new[3], new[4])
  elseif new > 0 then
    call("HSET", key, "used", format(WHOLE, new))
  else
    call("DEL", key)
  end
  if afters[i] > 0 then
    remains[#remains + 1] = key
    remains[#remains + 1] = string.sub(plan, 32 * i - 31, 32 * i) .. format(WHOLE, afters[i])
  elseif known[i + 2] then
    gone[#gone + 1] = key
  end
end
call("HSET", KEYS[1], unpack(remains))
if #gone > 0 then
  call("HDEL", KEYS[1], unpack(gone))
end
call("PEXPIRE", KEYS[1], FORGET_EXPIRED_MS)
if phase == "o" and call("HLEN", KEYS[1]) > 2 then
  call("ZADD", KEYS[2], format(WHOLE, now + lasts_ms), KEYS[1])
end
for _, line in ipairs(records) do
  call("XADD", KEYS[3], "*", "id", line[1], "status", line[2], "cost", line[3], "budgets", line[4], "entry", line[5])
end
if verb == "expire" then
  return "expired"
elseif state == "x" then
  return { EXPIRED, now }
end
return answer
