import { script } from './script.ts'

/** The windows of one key are a hash; more lengths than this are not kept once they count nothing any more. */
const lengths = 16
const hour = 3_600_000

/**
 * `SlidingWindow` and `WindowSet` of ../window.ts, step for step: 60 buckets and every one that is touched counts. A window
 * is kept under its length as the number of its newest bucket and the counts of 61, from the oldest on.
 */
const windows = `
local key = P .. 'limit:' .. arg()
local stored, open = redis.call('HGETALL', key), {}

local function advance(window)
  local bucket = math.floor(now / window.width)
  if window.newest and bucket <= window.newest then return end
  local moved, counts, total = window.newest and bucket - window.newest or 61, {}, 0
  for i = 1, 61 do
    counts[i] = moved < 61 and window.counts[i + moved] or 0
    total = total + counts[i]
  end
  window.newest, window.counts, window.total = bucket, counts, total
end

local function read_window(per, packed)
  local window = {per = per, width = tonumber(per) / 60, counts = {}, total = 0}
  local numbers = packed and cmsgpack.unpack(packed)
  if numbers then
    window.newest = numbers[1]
    for i = 1, 61 do
      window.counts[i] = numbers[i + 1]
      window.total = window.total + numbers[i + 1]
    end
  end
  advance(window)
  return window
end

for i = 1, #stored, 2 do open[stored[i]] = read_window(stored[i], stored[i + 1]) end

-- The fewest whole milliseconds after which a bucket no longer counts: the product may be rounded to either side of the
-- moment at which division sees the next bucket.
local function until_gone(window, bucket)
  local wait = math.max(1, math.ceil((bucket + 61) * window.width - now) - 1)
  while math.floor((now + wait) / window.width) < bucket + 61 do wait = wait + 1 end
  return wait
end

local function wait_for(window, cost, limit)
  if cost > limit then return math.huge end
  local excess = window.total + cost - limit
  if excess <= 0 then return 0 end
  for i = 1, 61 do
    excess = excess - window.counts[i]
    if excess <= 0 then return until_gone(window, window.newest - 61 + i) end
  end
  return tonumber(window.per)
end

local function used(asked)
  local all = {}
  for i, per in ipairs(asked) do all[i] = string.format('%.17g', open[per] and open[per].total or 0) end
  return all
end

local function keep()
  local count, longest = 0, 0
  for _ in pairs(open) do count = count + 1 end
  for per, window in pairs(open) do
    if window.total == 0 and count > ${lengths} then redis.call('HDEL', key, per)
    else
      redis.call('HSET', key, per, cmsgpack.pack({window.newest, unpack(window.counts)}))
      longest = math.max(longest, tonumber(per))
    end
  end
  redis.call('PEXPIRE', key, text(2 * math.min(longest, 1e14) + ${hour}))
end
`

export const take = script(
  'limits.take',
  [windows],
  `
local cost, asked, limits = tonumber(arg()), args(), args()
local refused, longest = nil, 0
for i, per in ipairs(asked) do
  local window = open[per] or read_window(per)
  open[per] = window
  local wait = wait_for(window, cost, tonumber(limits[i]))
  if wait > longest then refused, longest = i, wait end
end
if refused then return answer('refused', tostring(refused), longest == math.huge and '-' or text(longest)) end
for _, window in pairs(open) do
  window.counts[61] = window.counts[61] + cost
  window.total = window.total + cost
end
keep()
return answer('ok', text(now), used(asked))
`,
)

const giveBack = `
local function give_back(window, cost, taken)
  local place = math.floor(taken / window.width) - window.newest + 61
  if place < 1 or place > 61 then return false end
  local returned = math.min(cost, window.counts[place])
  window.counts[place] = window.counts[place] - returned
  window.total = window.total - returned
  return true
end
`

export const refund = script(
  'limits.refund',
  [windows, giveBack],
  `
local cost, taken, asked = tonumber(arg()), tonumber(arg()), args()
local changed = false
for _, per in ipairs(asked) do
  if open[per] and give_back(open[per], cost, taken) then changed = true end
end
if changed then keep() end
return answer('ok')
`,
)

export const move = script(
  'limits.move',
  [windows, giveBack],
  `
local asked, moves = args(), args()
for _, per in ipairs(asked) do
  local window = open[per] or read_window(per)
  open[per] = window
  for i = 1, #moves, 3 do
    local cost = tonumber(moves[i])
    give_back(window, cost, tonumber(moves[i + 1]))
    local place = math.min(math.floor(tonumber(moves[i + 2]) / window.width) - window.newest + 61, 61)
    if place >= 1 then
      window.counts[place] = window.counts[place] + cost
      window.total = window.total + cost
    end
  end
end
keep()
return answer('ok')
`,
)

export const usage = script('limits.usage', [windows], "return answer('ok', used(args()))", { writes: false })
