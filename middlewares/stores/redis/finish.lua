-- Ends a hold: settle, release or expire it, once.
--
-- KEYS: hold, expiries, ledger, then the key of each meter.
-- ARGV: plan; verb; amount and tokens as little-endian 64-bit numbers; the ledger's entry.
-- Verbs beside those of the protocol: `resettle` is a settle that changes nothing where the hold is unknown (repeated so
-- late that a settled hold may be forgotten); `cancel` is a release that also forbids an admission that is still under way.
-- Answers settled, late, unknown, released, expired, early or duplicate.

local plan, verb, entry = ARGV[1], ARGV[2], ARGV[4]
local count = #KEYS - 3
local amount, tokens = unpack_struct("<I8I8", ARGV[3])
checked(amount, "amount")
checked(tokens, "tokens")
local all = meters(plan, count)

local now = clock()
local hold = call("GET", KEYS[1])
local state, expiry, grant, held = "", 0, 0, 0
if hold then
  local a, b, c, d = string.match(hold, "^([osrx]) (%d+) (%d+) (%d+) ")
  state, expiry, grant, held = a, tonumber(b), tonumber(c), tonumber(d)
  if not state then
    error("tollhouse: the hold is malformed")
  end
end

-- What becomes of it: the answer and the new state, what the budgets post and free, what the buckets get back (nil: they
-- are not touched), and how the ledger names it.
local answer, after, status
local posts, frees, gives_tokens, gives_requests, places = 0, 0, nil, nil, 0
if verb == "settle" or verb == "resettle" then
  if state == "o" then
    answer, after, status = "settled", "s", "settled"
    posts, frees, gives_tokens, places = amount, grant, held - tokens, 1
  elseif state == "x" then
    answer, after, status = "late", "s", "late"
    posts = amount - grant
  elseif state ~= "" then
    answer = "duplicate"
  elseif verb == "settle" then
    answer, after, status = "unknown", "s", "unknown"
    posts = amount
  else
    answer = "unknown"
  end
elseif verb == "release" or verb == "cancel" then
  if state == "o" then
    answer, after = "released", "r"
    frees, gives_tokens, gives_requests, places = grant, held, 1, 1
  elseif state ~= "" then
    answer = "duplicate"
  else
    answer = "unknown"
    after = verb == "cancel" and "r" or nil
  end
elseif verb == "expire" then
  if state == "o" and now < expiry then
    answer = "early"
  elseif state == "o" then
    answer, after, status = "expired", "x", "estimated"
    posts, frees, places = grant, grant, 1
  else
    answer = state == "" and "unknown" or "duplicate"
    call("ZREM", KEYS[2], KEYS[1]) -- nothing is left to expire
  end
else
  error("tollhouse: no such verb")
end
if not after then
  return answer
end

-- Everything that can fail does so here, before anything is written; but for the expiries, which are written first.
call("XLEN", KEYS[3])
local states = { unpack(KEYS, 4) }
local budgets = {}
for i = 1, count do
  local at, key, state = 4 * i - 3, states[i], false
  local kind, a, c = all[at], all[at + 1], all[at + 3]
  if kind == BUDGET then
    state = call("HMGET", key, "posted", "reserved")
    checked(stored(state[1], 0) + posts, "what a budget has posted")
    -- Less than nothing is reserved only where the store has lost something.
    state[2] = math.max(0, stored(state[2], 0) - frees)
    budgets[#budgets + 1] = key
  elseif kind == PARALLEL then
    if places ~= 0 then
      state = math.max(0, stored(call("HGET", key, "used"), 0) - places)
    end
  else
    local gives = gives_requests
    if kind % 2 == 0 then
      gives = gives_tokens
    end
    if gives then
      state = bucket(key, kind > 2, a, all[at + 2], c, now)
      local level, full = math.max(state[1] + gives, deepest(c)), a - state[5]
      if level >= full then
        level, state[2] = full, 0
      end
      state[1] = level
    end
  end
  states[i] = state
end

-- First a command that Redis takes when its memory is full: then it takes the rest of the script as well.
call("ZREM", KEYS[2], KEYS[1])
for i = 1, count do
  local at, key, state = 4 * i - 3, KEYS[i + 3], states[i]
  local kind, a, c = all[at], all[at + 1], all[at + 3]
  if kind == BUDGET then
    if posts ~= 0 or frees ~= 0 then
      write_budget(key, stored(state[1], 0) + posts, state[2], c, not state[1])
    end
  elseif not state then
    -- Not touched.
  elseif kind == PARALLEL then
    if state == 0 then
      call("DEL", key)
    else
      call("HSET", key, "used", format(WHOLE, state))
    end
  else
    write_bucket(key, kind > 2, a, all[at + 2], c, state, now)
  end
end
local record = after .. " " .. format(WHOLE, expiry) .. " " .. format(WHOLE, grant) .. " " .. format(WHOLE, held) .. " 0\n"
call("SET", KEYS[1], record, "PX", after == "x" and FORGET_EXPIRED_MS or FORGET_MS)
if status then
  local id = string.sub(KEYS[1], string.find(KEYS[1], "}:h:", 1, true) + 4)
  local charged = table.concat(budgets, "\n")
  call("XADD", KEYS[3], "*", "id", id, "status", status, "cost", format(WHOLE, posts), "budgets", charged, "entry", entry)
end
return answer
