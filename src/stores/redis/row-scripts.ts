import { movingRows, readingRows, writingRows } from './row-lua.ts'
import { script } from './script.ts'
import { look } from './suppression-lua.ts'

/** Rows swept by each verb that writes one: it adds at most one, so that sweeping keeps pace. */
const inPassing = 3

export const claim = script(
  'claim',
  [...writingRows, look],
  `
local row = {id = arg(), tenant = arg(), key = arg(), created = arg(), fence = '0', status = '-', accepted = '0',
  minute = '-', place = '-', sequence = '-', labels = '.', given = '.', seal = '-'}
local to = written()
local lease, life, records, content, most = tonumber(arg()), tonumber(arg()), tonumber(arg()), tonumber(arg()), tonumber(arg())
local keys, scopes = args(), args()

local holder, remains = find(row.id)
if not holder and row.key ~= '-' then
  local ends, id = holding(row.key)
  local other = id and find(id)
  if other and (other.torn or ends > now or not settled[other.status]) then holder = other end
end
if holder then return answer('held', leased(holder) and '1' or '0', shown(holder)) end
if waits[to.status] and not lease and queue_is_full(most) then return answer('full') end
if remains then forget(remains) end

row.fence = following()
write(row, to)
if row.key ~= '-' then redis.call('SET', P .. 'key:' .. row.key, text(now + life) .. ' ' .. row.id) end
if lease then lend(row, lease) else rest(row, to.due, 0, records, content) end
save(row)
sweep(${inPassing})
return answer('claimed', row.fence, suppressed(row.tenant, keys, scopes))
`,
)

export const renew = script(
  'renew',
  [...writingRows, look],
  `
local id, fence, lease = arg(), arg(), tonumber(arg())
local to = written()
local keys, scopes = args(), args()
local row = find(id)
if not row then return answer('none') end
if row.torn then return answer('torn') end
if row.fence ~= fence then return answer('none') end
if not complete(row, to) then return answer('content') end
dequeue(row)
write(row, to)
lend(row, lease)
save(row)
return answer('ok', suppressed(row.tenant, keys, scopes))
`,
)

export const settle = script(
  'settle',
  writingRows,
  `
local id, fence, release, remove, delay = arg(), arg(), arg() == '1', arg() == '1', tonumber(arg())
local records, content, most = tonumber(arg()), tonumber(arg()), tonumber(arg())
local row = find(id)
if not row then return answer('none') end
if row.torn then return answer('torn') end
if row.fence ~= fence then return answer('none') end
if remove then
  forget(row)
  sweep(${inPassing})
  return answer('ok')
end
local to = written()
if not complete(row, to) then return answer('content') end
-- What the queue has begun it may also take back, however full it is.
if waits[to.status] and (row.accepted == '0' or settled[row.status]) and queue_is_full(most) then return answer('full') end
dequeue(row)
write(row, to)
if release and holds(row) then redis.call('DEL', P .. 'key:' .. row.key) end
if release then row.key = '-' end
row.fence = '0'
rest(row, to.due, delay, records, content)
save(row)
sweep(${inPassing})
return answer('ok')
`,
)

export const takeover = script(
  'takeover',
  movingRows,
  `
local id, ms = arg(), tonumber(arg())
local states = args()
local row = find(id)
if not row then return answer('none') end
if row.torn or row.place == 'a' then return answer('torn') end
local asked = false
for _, state in ipairs(states) do asked = asked or state == row.status end
if not asked or leased(row) then return answer('none') end
if drained(row) then
  redis.call('HDEL', P .. 'row:' .. id, 'c')
  row.seal, row.spare = '-', nil
end
dequeue(row)
row.fence = following()
lend(row, ms)
save(row)
return answer('ok', row.fence, row.seal, shown(row))
`,
)

/** Takes a row that cannot be read out of everybody's way. */
export const setAside = script(
  'set aside',
  movingRows,
  `
local row, fence = load(arg()), arg()
if not row or row.torn or row.fence ~= fence then return answer('none') end
dequeue(row)
if row.lease then redis.call('ZREM', P .. 'leases', row.id) end
row.lease, row.fence, row.place = nil, '0', 'a'
save(row)
return answer('ok')
`,
)

export const read = script(
  'read',
  readingRows,
  `
local row = find(arg())
if not row then return answer('none') end
return answer('ok', row.seal or '-', shown(row))
`,
  { writes: false },
)

export const readGiven = script(
  'find',
  readingRows,
  `
local id = redis.call('GET', P .. 'given:' .. arg())
local row = id and find(id)
if not row then return answer('none') end
return answer('ok', row.seal or '-', shown(row))
`,
  { writes: false },
)

export const waiting = script('waiting', [], "return answer('ok', redis.call('GET', P .. 'waiting') or '0')", {
  writes: false,
})
