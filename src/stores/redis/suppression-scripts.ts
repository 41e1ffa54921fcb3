import { script } from './script.ts'
import { look } from './suppression-lua.ts'

/** Mailboxes with something that ended, swept at each addition. */
const swept = 20
/** Mailboxes looked at in a listing beyond those asked for: all that is in some may have ended. */
const spare = 500

/**
 * `boxes:` is a tenant's mailboxes in their order, `no-ends` by when the first entry of each ends. Both name a mailbox as
 * its tenant's name, a space, and its key.
 */
const moving = `
local function boxes(tenant) return P .. 'boxes:' .. tenant end

local function leave(tenant, key)
  if redis.call('EXISTS', mailbox(tenant, key)) == 1 then return end
  redis.call('ZREM', boxes(tenant), key)
  redis.call('ZREM', P .. 'no-ends', tenant .. ' ' .. key)
end

local function sweep(most)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'no-ends', '-inf', wall, 'LIMIT', 0, most)) do
    local tenant, key = string.match(name, '^(%S+) (.*)$')
    local all, soonest = redis.call('HGETALL', mailbox(tenant, key)), nil
    for i = 1, #all, 2 do
      local ends = tonumber(string.match(all[i + 1], '^%S+'))
      if ends and ends <= wall then redis.call('HDEL', mailbox(tenant, key), all[i])
      elseif ends then soonest = math.min(soonest or ends, ends) end
    end
    if soonest then redis.call('ZADD', P .. 'no-ends', soonest, name) else redis.call('ZREM', P .. 'no-ends', name) end
    leave(tenant, key)
  end
end
`

export const add = script(
  'suppress.add',
  [look, moving],
  `
for _ = 1, tonumber(arg()) do
  local tenant, key, scope, ends, value = arg(), arg(), arg(), arg(), arg()
  redis.call('HSET', mailbox(tenant, key), scope, ends .. ' ' .. value)
  redis.call('ZADD', boxes(tenant), 0, key)
  if ends ~= '-' then redis.call('ZADD', P .. 'no-ends', 'LT', ends, tenant .. ' ' .. key) end
end
sweep(${swept})
return answer('ok')
`,
)

export const hasMany = script(
  'suppress.hasMany',
  [look],
  `
local tenant, keys, scopes = arg(), args(), args()
return answer('ok', suppressed(tenant, keys, scopes))
`,
  { writes: false },
)

const reading = `
local function entries_of(tenant, key)
  local all, live = redis.call('HGETALL', mailbox(tenant, key)), {}
  for i = 1, #all, 2 do
    if not ended(all[i + 1]) then live[#live + 1] = {key, all[i], all[i + 1]} end
  end
  return live
end
`

export const get = script(
  'suppress.get',
  [look, reading],
  `
local tenant, key = arg(), arg()
return answer('ok', entries_of(tenant, key))
`,
  { writes: false },
)

export const remove = script(
  'suppress.remove',
  [look, moving],
  `
local tenant, key, every, scope = arg(), arg(), arg() == '1', arg()
local box, removed = mailbox(tenant, key), 0
local all = every and redis.call('HGETALL', box) or {scope, redis.call('HGET', box, scope)}
for i = 1, #all, 2 do
  if all[i + 1] then
    if not ended(all[i + 1]) then removed = removed + 1 end
    redis.call('HDEL', box, all[i])
  end
end
leave(tenant, key)
sweep(${swept})
return answer('ok', tostring(removed))
`,
)

/** A page ends between two mailboxes, so that it may hold a few entries more than asked for. */
export const list = script(
  'suppress.list',
  [look, reading],
  `
local tenant, limit, after = arg(), tonumber(arg()), arg()
local from, found = after == '' and '-' or '(' .. string.sub(after, 2), {}
for looked = 0, limit + ${spare} do
  local key = redis.call('ZRANGEBYLEX', P .. 'boxes:' .. tenant, from, '+', 'LIMIT', 0, 1)[1]
  if not key then return answer('ok', '0', '', found) end
  if #found >= limit or looked == limit + ${spare} then return answer('ok', '1', string.sub(from, 2), found) end
  for _, entry in ipairs(entries_of(tenant, key)) do found[#found + 1] = entry end
  from = '(' .. key
end
`,
  { writes: false },
)
