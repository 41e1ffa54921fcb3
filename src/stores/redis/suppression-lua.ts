/**
 * The suppressions of a mailbox are a hash of scopes. A value begins with the moment it ends, or `-`; `suppressed` answers
 * for each key the first scope asked for that covers it, by number, and its value.
 */
export const look = `
local function ended(entry)
  local ends = tonumber(string.match(entry, '^%S+'))
  return ends ~= nil and ends <= wall
end

local function mailbox(tenant, key) return P .. 'no:' .. tenant .. ':' .. key end

local function suppressed(tenant, keys, scopes)
  local found = {}
  for i, key in ipairs(keys) do
    found[i] = false
    local entries = #scopes > 0 and redis.call('HMGET', mailbox(tenant, key), unpack(scopes)) or {}
    for j = 1, #scopes do
      if entries[j] and not ended(entries[j]) then
        found[i] = {tostring(j), entries[j]}
        break
      end
    end
  end
  return found
end
`
