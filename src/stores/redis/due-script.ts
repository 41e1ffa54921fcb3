import { movingRows } from './row-lua.ts'
import { script } from './script.ts'

/** Rows that came to their end, swept at each call. */
const swept = 50
/** Tenants whose timers are looked at in each call, and rows beyond those asked for whose lease is looked at. */
const looked = 100
/** Bytes of rows after which an answer takes no more of them. */
const mostBytes = 16 * 1024 * 1024

/**
 * First rows whose lease ran out, then tenants in turn. Nothing here walks over all that waits: a tenant's rows are
 * looked at only in its turns, of which it has one at a time.
 *
 * Not guarded against being done twice: rows nobody was told of come back when their lease runs out, whichever of the two
 * took them; and a full server must let it sweep, which a note of the call would forbid.
 */
export const due = script(
  'due',
  movingRows,
  `
local count, ms, lost, records, content = tonumber(arg()), tonumber(arg()), arg() == '1', tonumber(arg()), tonumber(arg())
local without = {}
for _, tenant in ipairs(args()) do without[tenant] = true end
sweep(${swept})

local held, unreadable, bytes = {}, {}, 0
local function has_room() return #held < count and bytes < ${mostBytes} end
local function take(row)
  row.fence = following()
  lend(row, ms)
  save(row)
  local parts = shown(row)
  bytes = bytes + #(parts[2] or '') + #(parts[3] or '')
  held[#held + 1] = {row.fence, row.seal, parts}
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', now, 'LIMIT', 0, count + ${looked})) do
  if not has_room() then break end
  local row = load(id)
  if not row then redis.call('ZREM', P .. 'leases', id)
  elseif row.torn then
    redis.call('ZREM', P .. 'leases', id)
    unreadable[#unreadable + 1] = id
  elseif rests(row) then
    rest(row, 0, 0, records, content)
    save(row)
  else take(row) end
end

for _, clock in ipairs(clocks) do
  local timers = P .. 'timers:' .. clock[1]
  for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', timers, '-inf', clock[2], 'LIMIT', 0, ${looked})) do tidy(tenant) end
end

-- Where in a set the first tenant stands that is not left out, and its score. Reads more and more at once.
local function first_asked(key, place)
  local size = 1
  while true do
    local found = redis.call('ZRANGE', key, place, place + size - 1, 'WITHSCORES')
    for i = 1, #found, 2 do
      if not without[found[i]] then return place, found[i], tonumber(found[i + 1]) end
      place = place + 1
    end
    if #found < 2 * size then return place end
    size = size * 2
  end
end

local passed = 0
local function next_in_turn()
  local tenant
  passed, tenant = first_asked(P .. 'turns', passed)
  return tenant
end

local function take_turn(tenant)
  ripen(tenant)
  local ready = P .. 'ready:' .. tenant
  local ticket = redis.call('ZRANGE', ready, 0, 0)[1]
  if ticket then
    redis.call('ZREM', ready, ticket)
    redis.call('DECR', P .. 'waiting')
    redis.call('ZADD', P .. 'turns', 'XX', following(), tenant)
    local id = string.match(ticket, '^%S+ (.*)$')
    local row = load(id)
    if row and row.torn then unreadable[#unreadable + 1] = id
    elseif row then
      row.place = '-'
      take(row)
    end
  end
  if redis.call('EXISTS', ready) == 0 then tidy(tenant) end
end

while not lost and has_room() do
  local tenant = next_in_turn()
  if not tenant then break end
  take_turn(tenant)
end

local function until_next()
  if next_in_turn() then return '0' end
  local soonest = nil
  for _, clock in ipairs(clocks) do
    local _, _, time = first_asked(P .. 'timers:' .. clock[1], 0)
    local left = time and math.max(0, time - clock[2])
    if left and (not soonest or left < soonest) then soonest = left end
  end
  return soonest and text(soonest) or false
end

return answer('ok', until_next(), held, unreadable)
`,
  { guarded: false },
)
