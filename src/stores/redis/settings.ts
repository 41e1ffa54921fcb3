import { configurationError } from '../../errors.ts'
import type { Value } from './link.ts'

export type Durability = 'none' | 'process-crash' | 'power-loss'

/**
 * Looks whether the server is set up to keep what it is given, as far as it tells.
 *
 * @throws MailError `CONFIGURATION_ERROR` naming the setting.
 */
export async function checkSettings(
  durability: Durability,
  send: (command: string[]) => Promise<Value>,
): Promise<void> {
  const [memory, appending] = await Promise.all([settingsOf('maxmemory*', send), settingsOf('append*', send)])
  const policy = memory.get('maxmemory-policy')
  if (Number(memory.get('maxmemory')) > 0 && policy !== undefined && policy !== 'noeviction') {
    throw configurationError(
      `This Redis has maxmemory-policy ${policy}: once it is full it would drop idempotency keys and queued mail. Set maxmemory-policy to noeviction, or use another server.`,
    )
  }
  if (durability !== 'power-loss' || appending.size === 0) return
  if (appending.get('appendonly') === 'yes' && appending.get('appendfsync') === 'always') return
  throw configurationError(
    "redis({ durability: 'power-loss' }) needs a server with appendonly yes and appendfsync always; this one has not. Set both, or claim less.",
  )
}

/** Empty where the server lets nobody see its settings, as managed ones do. */
async function settingsOf(
  pattern: string,
  send: (command: string[]) => Promise<Value>,
): Promise<ReadonlyMap<string, string>> {
  let reply: Value
  try {
    reply = await send(['CONFIG', 'GET', pattern])
  } catch (error) {
    if (isRefusal(error)) return new Map()
    throw error
  }
  const settings = new Map<string, string>()
  for (let i = 0; Array.isArray(reply) && i + 1 < reply.length; i += 2) {
    settings.set(String(reply[i]), String(reply[i + 1]))
  }
  return settings
}

/** The server's own refusals begin with a word in capitals; what else is thrown says that there was no answer. */
const isRefusal = (error: unknown) => /^(ERR|NOPERM)\b/.test(String((error as { message?: unknown } | null)?.message))
