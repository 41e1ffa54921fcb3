import { script } from './script.ts'

/** Entries that came to their end, swept at each writing. */
const swept = 20
/** Entries a clearing removes in one step, and a scan looks at beyond those asked for. */
const step = 500

/** `names:` is a namespace's keys in their order, `entry-ends` what ends of all of them, by when. */
const shared = `
local space = arg()
local function entry_of(name) return P .. 'entry:' .. space .. ':' .. name end
local function names_of() return P .. 'names:' .. space end

local function value_of(name)
  local entry = redis.call('GET', entry_of(name))
  if not entry then return false end
  local ends, value = string.match(entry, '^(%S+) (.*)$')
  return not (tonumber(ends) and tonumber(ends) <= now) and value
end

local function drop(name)
  local there = value_of(name)
  redis.call('DEL', entry_of(name))
  redis.call('ZREM', names_of(), name)
  redis.call('ZREM', P .. 'entry-ends', space .. ' ' .. name)
  return there and '1' or '0'
end

local function sweep()
  local own = space
  for _, ended in ipairs(redis.call('ZRANGEBYSCORE', P .. 'entry-ends', '-inf', now, 'LIMIT', 0, ${swept})) do
    local name
    space, name = string.match(ended, '^(%S+) (.*)$')
    drop(name)
  end
  space = own
end
`

export const get = script(
  'get',
  [shared],
  `
local found = {}
for i, name in ipairs(args()) do found[i] = value_of(name) end
return answer('ok', found)
`,
  { writes: false },
)

export const set = script(
  'set',
  [shared],
  `
for _ = 1, tonumber(arg()) do
  local name, value, ttl = arg(), arg(), tonumber(arg())
  local ends = ttl and text(now + ttl)
  redis.call('SET', entry_of(name), (ends or '-') .. ' ' .. value)
  redis.call('ZADD', names_of(), 0, name)
  if ends then redis.call('ZADD', P .. 'entry-ends', ends, space .. ' ' .. name)
  else redis.call('ZREM', P .. 'entry-ends', space .. ' ' .. name) end
end
sweep()
return answer('ok')
`,
)

export const remove = script(
  'delete',
  [shared],
  `
local removed = {}
for i, name in ipairs(args()) do removed[i] = drop(name) end
sweep()
return answer('ok', removed)
`,
)

/** One step: up to so many, after where the step before ended. */
export const clear = script(
  'clear',
  [shared],
  `
local after = arg()
local names = redis.call('ZRANGEBYLEX', names_of(), after == '' and '-' or '(' .. string.sub(after, 2), '+', 'LIMIT', 0, ${step})
for _, name in ipairs(names) do drop(name) end
return answer('ok', #names == ${step} and '=' .. names[#names] or '')
`,
)

export const scan = script(
  'iterate',
  [shared],
  `
local after, limit, found = arg(), tonumber(arg()), {}
local from = after == '' and '-' or '(' .. string.sub(after, 2)
for looked = 0, limit + ${step} do
  local name = redis.call('ZRANGEBYLEX', names_of(), from, '+', 'LIMIT', 0, 1)[1]
  if not name then return answer('ok', '', found) end
  if #found >= limit or looked == limit + ${step} then return answer('ok', '=' .. string.sub(from, 2), found) end
  local value = value_of(name)
  if value then found[#found + 1] = {name, value} end
  from = '(' .. name
end
`,
  { writes: false },
)
