import { settledStatuses } from '../store.ts'

const luaSet = (items: Iterable<string>) => `{${[...items].map((item) => `${item} = true`).join(', ')}}`

/**
 * A row is a hash: `b` its body and `c` its content as `RowRecord` has them, and `m` what scripts must know of it, in this
 * order: fence · lease · status · accepted · tenant · key · gone · spare · minute · place · sequence · priority · created ·
 * seal · labels · given. `gone` and `spare` are when the row and its content end, once it is at rest. `place` is where it
 * waits: `r` ready, `e` and `w` for a moment of either clock, `a` set aside, `-` nowhere; `sequence` where it stands among
 * those that wait, from when it first does until it rests. Three fields and not twenty, since
 * each costs the server as much as its text does.
 */
const records = `
local settled = ${luaSet(settledStatuses)}
local waits = {queued = true, scheduled = true}

local function following() return text(redis.call('INCR', P .. 'sequence')) end

local function load(id)
  local meta = redis.call('HGET', P .. 'row:' .. id, 'm')
  if not meta then return nil end
  local row, lease, gone, spare = {id = id}, nil, nil, nil
  row.fence, lease, row.status, row.accepted, row.tenant, row.key, gone, spare, row.minute, row.place, row.sequence,
    row.priority, row.created, row.seal, row.labels, row.given = string.match(meta,
    '^(%d+) (%S+) (%l+) ([01]) (%S+) (%S+) (%S+) (%S+) (%S+) (%S) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  row.torn = not row.fence
  row.lease, row.gone, row.spare = tonumber(lease), tonumber(gone), tonumber(spare)
  return row
end

local function save(row)
  local function moment(time) return time and text(time) or '-' end
  redis.call('HSET', P .. 'row:' .. row.id, 'm', table.concat({row.fence, moment(row.lease), row.status, row.accepted,
    row.tenant, row.key, moment(row.gone), moment(row.spare), row.minute, row.place, row.sequence, row.priority,
    row.created, row.seal, row.labels, row.given}, ' '))
end

local function leased(row) return row.lease ~= nil and row.lease > now end
local function rests(row) return settled[row.status] or row.status == 'unknown' end

-- The row, unless its time is over; what is left of it then comes second.
local function find(id)
  local row = load(id)
  if row and not row.torn and settled[row.status] and row.gone and row.gone <= now and not leased(row) then
    return nil, row
  end
  return row
end

local function drained(row)
  return row.spare ~= nil and row.spare <= now and rests(row) and not leased(row)
end

local function shown(row)
  if row.torn then return {row.id, false, false} end
  local both = redis.call('HMGET', P .. 'row:' .. row.id, 'b', 'c')
  return {row.id, both[1], not drained(row) and both[2]}
end

-- Until when a key is held by its time alone, and by which row.
local function holding(key)
  local ends, id = string.match(redis.call('GET', P .. 'key:' .. key) or '', '^(%S+) (.*)$')
  return tonumber(ends), id
end

local function holds(row)
  if row.key == '-' then return nil end
  local ends, id = holding(row.key)
  return id == row.id and ends or nil
end
`

/** Rows that wait: per tenant a set of ready ones and two of timed ones; tenants in turn, and by when they come due. */
const queue = `
local clocks = {{'e', now}, {'w', wall}}

local function first_of(key)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return first[1], tonumber(first[2])
end

-- A tenant takes turns while it has anything due, and has timers while it has not.
local function tidy(tenant)
  local times, busy = {}, redis.call('EXISTS', P .. 'ready:' .. tenant) == 1
  for i, clock in ipairs(clocks) do
    local _, time = first_of(P .. 'timed:' .. clock[1] .. ':' .. tenant)
    times[i] = time
    busy = busy or (time ~= nil and time <= clock[2])
  end
  if busy then
    if not redis.call('ZSCORE', P .. 'turns', tenant) then redis.call('ZADD', P .. 'turns', following(), tenant) end
  else
    redis.call('ZREM', P .. 'turns', tenant)
  end
  for i, clock in ipairs(clocks) do
    local timers = P .. 'timers:' .. clock[1]
    if times[i] and not busy then redis.call('ZADD', timers, times[i], tenant) else redis.call('ZREM', timers, tenant) end
  end
end

local function ticket(row) return row.sequence .. row.priority .. ' ' .. row.id end
local function get_ready(tenant, ticket, priority)
  redis.call('ZADD', P .. 'ready:' .. tenant, -tonumber(priority), ticket)
end

local function queue_is_full(most) return tonumber(redis.call('GET', P .. 'waiting') or 0) >= most end

local function enqueue(row, due, delay)
  if row.sequence == '-' then row.sequence = string.format('%014x', redis.call('INCR', P .. 'sequence')) end
  redis.call('INCR', P .. 'waiting')
  if row.status == 'scheduled' and due > wall then row.place = 'w'
  elseif row.status == 'queued' and delay > 0 then row.place = 'e'
  else
    row.place = 'r'
    get_ready(row.tenant, ticket(row), row.priority)
    if not redis.call('ZSCORE', P .. 'turns', row.tenant) then tidy(row.tenant) end
    return
  end
  local time = row.place == 'w' and due or now + delay
  redis.call('ZADD', P .. 'timed:' .. row.place .. ':' .. row.tenant, text(time), ticket(row))
  tidy(row.tenant)
end

local function dequeue(row)
  if row.place == '-' or row.place == 'a' then return end
  if redis.call('ZREM', P .. 'ready:' .. row.tenant, ticket(row)) == 0 and row.place ~= 'r' then
    redis.call('ZREM', P .. 'timed:' .. row.place .. ':' .. row.tenant, ticket(row))
  end
  redis.call('DECR', P .. 'waiting')
  row.place = '-'
  tidy(row.tenant)
end

-- Brings what has become due to the ready ones, so much at a time that no turn takes long.
local function ripen(tenant)
  for _, clock in ipairs(clocks) do
    local timed = P .. 'timed:' .. clock[1] .. ':' .. tenant
    for _, ripe in ipairs(redis.call('ZRANGEBYSCORE', timed, '-inf', clock[2], 'LIMIT', 0, 50)) do
      redis.call('ZREM', timed, ripe)
      get_ready(tenant, ripe, string.match(ripe, '^(%S+) ', 15))
    end
  end
end
`

/** Where a row is listed, what becomes of it at rest, and how what is over goes. */
const life = `
local function has(list, item) return string.find(list, item, 1, true) ~= nil end

local function index(row, to)
  local was, is, list = row.accepted == '1', to.accepted == '1', P .. 'list:' .. row.tenant
  local before, after = was and row.labels or '.', is and to.labels or '.'
  if was and not is then redis.call('ZREM', list, row.id) end
  if is and not was then redis.call('ZADD', list, row.created, row.id) end
  if row.status ~= to.status or was ~= is then
    if was then redis.call('ZREM', list .. ':' .. row.status, row.id) end
    if is then redis.call('ZADD', list .. ':' .. to.status, row.created, row.id) end
  end
  if before == after then return end
  for label in string.gmatch(before, '[^,.]+') do
    if not has(after, label) then redis.call('ZREM', P .. 'label:' .. label, row.id) end
  end
  for label in string.gmatch(after, '[^,.]+') do
    if not has(before, label) then redis.call('ZADD', P .. 'label:' .. label, row.created, row.id) end
  end
end

local function forget(row)
  index(row, {accepted = '0', status = row.status, labels = '.'})
  for name in string.gmatch(row.given, '[^,.]+') do
    if redis.call('GET', P .. 'given:' .. name) == row.id then redis.call('DEL', P .. 'given:' .. name) end
  end
  if holds(row) then redis.call('DEL', P .. 'key:' .. row.key) end
  if row.lease then redis.call('ZREM', P .. 'leases', row.id) end
  dequeue(row)
  redis.call('DEL', P .. 'row:' .. row.id)
end

-- Each row at rest stands once in the list of the minute in which something of it ends next.
local function await_end(row)
  local time = row.spare
  if settled[row.status] and row.gone then time = math.min(time or row.gone, row.gone) end
  if not time then return end
  local minute = math.floor(time / 60000)
  if row.minute ~= '-' and tonumber(row.minute) <= minute then return end
  row.minute = text(minute)
  if redis.call('RPUSH', P .. 'ends:' .. row.minute, row.id) == 1 then
    redis.call('ZADD', P .. 'ends', row.minute, row.minute)
  end
end

local function end_of(row, minute)
  if row.minute ~= minute then return end
  row.minute = '-'
  if rests(row) and not leased(row) then
    if settled[row.status] and row.gone and row.gone <= now then return forget(row) end
    if drained(row) then
      redis.call('HDEL', P .. 'row:' .. row.id, 'c')
      row.seal, row.spare = '-', nil
    end
    await_end(row)
  end
  save(row)
end

-- Looks at a few rows of minutes that are over. Whatever writes does so, and keeps pace with what is written.
local function sweep(most)
  for _ = 1, most do
    local _, minute = first_of(P .. 'ends')
    if not minute or (minute + 1) * 60000 > now then return end
    local name = text(minute)
    local id = redis.call('LPOP', P .. 'ends:' .. name)
    local row = id and load(id)
    if not id then redis.call('ZREM', P .. 'ends', name)
    elseif row and not row.torn then end_of(row, name) end
  end
end

local function lend(row, ms)
  row.lease = now + ms
  redis.call('ZADD', P .. 'leases', text(row.lease), row.id)
end

-- A row nobody works on any more waits for its time, or for its end.
local function rest(row, due, delay, records, content)
  if row.lease then redis.call('ZREM', P .. 'leases', row.id) end
  row.lease = nil
  if waits[row.status] then return enqueue(row, due, delay) end
  row.sequence = '-'
  if not rests(row) then return end
  row.spare = row.seal ~= '-' and (row.spare or now + content) or nil
  if settled[row.status] then
    local ends = holds(row)
    row.gone = row.gone or math.max(now + records, ends or 0)
    if ends then redis.call('PEXPIRE', P .. 'key:' .. row.key, text(math.max(ends - now, 0) + 3600000)) end
  end
  await_end(row)
end
`

/** How a row is written: what the verbs that write one have in common. */
const writing = `
local function written()
  local to = {}
  to.body, to.content, to.seal, to.status, to.accepted, to.priority, to.due, to.labels, to.given =
    arg(), arg(), arg(), arg(), arg(), arg(), tonumber(arg()), arg(), arg()
  return to
end

-- Content that is there already is not sent again; this is false when it is not there after all.
local function complete(row, to)
  return to.seal == '-' or to.content ~= '' or (row.seal == to.seal and not drained(row))
end

local function write(row, to)
  local key = P .. 'row:' .. row.id
  -- The first write takes memory, so that a full server refuses it before anything has changed.
  if to.content ~= '' then redis.call('HSET', key, 'b', to.body, 'c', to.content)
  else redis.call('HSET', key, 'b', to.body) end
  if to.seal == '-' and row.seal ~= '-' then redis.call('HDEL', key, 'c') end
  index(row, to)
  if to.given ~= '.' and not has(row.given, to.given) then
    redis.call('SET', P .. 'given:' .. to.given, row.id)
    row.given = row.given == '.' and to.given or row.given .. ',' .. to.given
  end
  if settled[row.status] and not settled[to.status] and holds(row) then redis.call('PERSIST', P .. 'key:' .. row.key) end
  row.status, row.accepted, row.priority, row.labels, row.seal = to.status, to.accepted, to.priority, to.labels, to.seal
  row.gone, row.spare = nil, nil
end
`

/** For scripts that only look at rows. */
export const readingRows = [records]
/** For scripts that move rows. */
export const movingRows = [records, queue, life]
/** For scripts that write rows. */
export const writingRows = [...movingRows, writing]
