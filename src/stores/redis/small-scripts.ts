import { script } from './script.ts'

const hour = 3_600_000
const day = 24 * hour

export const once = script(
  'once',
  [],
  `
local key, ttl = P .. 'once:' .. arg(), tonumber(arg())
local ends = tonumber(redis.call('GET', key) or nil)
if ends and ends > now then return answer('seen') end
redis.call('SET', key, text(now + ttl), 'PX', text(ttl + ${hour}))
return answer('first')
`,
)

/** A counter nobody adds to for 400 days is forgotten. */
export const count = script(
  'counters.add',
  [],
  `
local key = P .. 'count:' .. arg()
redis.call('INCRBYFLOAT', key, arg())
redis.call('PEXPIRE', key, ${400 * day})
return answer('ok')
`,
)

export const readCounts = script(
  'counters.read',
  [],
  `
local counts = {}
for i, name in ipairs(args()) do counts[i] = redis.call('GET', P .. 'count:' .. name) end
return answer('ok', counts)
`,
  { writes: false },
)
