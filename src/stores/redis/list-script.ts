import { readingRows } from './row-lua.ts'
import { script } from './script.ts'

/** Rows looked at beyond those asked for: ones that are over and not yet swept may stand between. */
const spare = 500

/**
 * A page of one list, newest first. The answer names where it stopped before the end of the list. Text is compared byte
 * by byte, as sorted sets do: Lua's own comparison follows the server's locale.
 */
export const list = script(
  'list',
  readingRows,
  `
local key, limit, since, before = P .. arg(), tonumber(arg()), arg(), arg()
local last_created, last_id = arg(), arg()

local function earlier(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- How many stand before the first of those after the cursor: of many made in one moment, by halves.
local function place_after(created, id)
  local low = redis.call('ZCOUNT', key, '(' .. created, '+inf')
  local high = low + redis.call('ZCOUNT', key, created, created)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if earlier(redis.call('ZREVRANGE', key, middle, middle)[1], id) then high = middle else low = middle + 1 end
  end
  return low
end

local place = before ~= '' and redis.call('ZCOUNT', key, before, '+inf') or 0
if last_id ~= '' then place = math.max(place, place_after(last_created, last_id)) end
local ended = since ~= '' and redis.call('ZCOUNT', key, since, '+inf') or redis.call('ZCARD', key)

local rows, looked = {}, 0
while place < ended do
  local first = redis.call('ZREVRANGE', key, place, place, 'WITHSCORES')
  if #rows == limit or looked == limit + ${spare} then return answer('ok', '1', last_created, last_id, rows) end
  last_id, last_created = first[1], first[2]
  local row = find(last_id)
  if row then rows[#rows + 1] = {last_id, not row.torn and redis.call('HGET', P .. 'row:' .. last_id, 'b')} end
  place, looked = place + 1, looked + 1
end
return answer('ok', '0', last_created, last_id, rows)
`,
  { writes: false },
)
