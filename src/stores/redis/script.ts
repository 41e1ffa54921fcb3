import { createHash } from 'node:crypto'

/** A Lua script and the name `EVALSHA` calls it by. */
export interface Script {
  /** The verb it does, for messages. */
  readonly verb: string
  readonly text: string
  readonly sha: string
  /** Whether doing it twice is not the same as once. */
  readonly guarded: boolean
}

/** A text or number as it is, a list after its length, and what is absent as an empty text. */
export type Argument = string | number | undefined | readonly Argument[]

/** Arguments as the scripts read them back with `arg()` and `args()`. */
export function flatten(args: readonly Argument[], into: string[] = []): string[] {
  for (const arg of args) {
    if (Array.isArray(arg)) flatten([arg.length, ...arg], into)
    else into.push(arg === undefined ? '' : String(arg))
  }
  return into
}

/** The version of everything below the prefix. A store that finds a higher one was opened by an older release. */
export const dataVersion = 1

/** Milliseconds a call is remembered that the client might send again: longer than the server would still begin it. */
const callKept = 10_000

/**
 * What every script begins with. `P` is the prefix of all keys, with its colon; `now` and `wall` are the server's own
 * milliseconds unless a test gives others. Times are compared, never left to a key's expiry, which is only there to
 * throw away what is over. `text` writes whole numbers without the exponent Lua would give them.
 */
const prologue = (writes: boolean, guarded: boolean) => `
local P = string.sub(KEYS[1], 1, -8)
local at = 4
local function arg() at = at + 1; return ARGV[at] end
local function args()
  local list = {}
  for i = 1, tonumber(arg()) do list[i] = arg() end
  return list
end
local function text(number) return string.format('%.0f', number) end
local time = redis.call('TIME')
local server = time[1] * 1000 + math.floor(time[2] / 1000)
local now, wall = tonumber(ARGV[2]) or server, tonumber(ARGV[3]) or server
local function answer(state, ...) return {state, text(server), ...} end
${guarded ? "if ARGV[4] ~= '' and redis.call('EXISTS', P .. 'call:' .. ARGV[4]) == 1 then return answer('again') end" : ''}
if server > tonumber(ARGV[1]) then return answer('late') end
local version = redis.call('GET', KEYS[1])
if version and tonumber(version) ~= ${dataVersion} then return answer('newer') end
${guarded ? `if ARGV[4] ~= '' then redis.call('SET', P .. 'call:' .. ARGV[4], 1, 'PX', ${callKept}) end` : ''}
${writes ? `if not version then redis.call('SET', KEYS[1], ${dataVersion}) end` : ''}
`

export interface ScriptOptions {
  /** False for a script that only looks. */
  readonly writes?: boolean
  /** Whether a call the client sends again is refused. Default: when it writes. */
  readonly guarded?: boolean
}

/** Puts a script together: what all share, the functions it uses, and what it does. */
export function script(
  verb: string,
  parts: readonly string[],
  body: string,
  { writes = true, guarded = writes }: ScriptOptions = {},
): Script {
  const source = [prologue(writes, guarded), ...parts, body].join('\n')
  return { verb, text: source, sha: createHash('sha1').update(source).digest('hex'), guarded }
}
