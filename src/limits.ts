import { configurationError } from './errors.ts'
import type { Window } from './stores/store.ts'

/** How much of each a mailer or tenant may use. What is absent has the default named. */
export interface Limits<P extends string = string> {
  /** Mailboxes of one message over to, cc and bcc, each counted once. Default 50. */
  readonly recipients?: number
  /** Reply-to addresses. Default 10. */
  readonly replyTo?: number
  /** Characters. Default 998. */
  readonly subject?: number
  /** Characters. Default 1,000,000. */
  readonly text?: number
  /** Characters. Default 1,000,000. */
  readonly html?: number
  /** Custom headers. Default 30. */
  readonly headers?: number
  /** Default 10. */
  readonly attachments?: number
  /** Bytes of one attachment before encoding. Default 10,000,000. */
  readonly attachmentBytes?: number
  /** Bytes of the whole message after encoding. Default 25,000,000. */
  readonly messageBytes?: number
  /** Messages of one `sendBatch`, recipients of one `sendMerge`. Default 100. */
  readonly batch?: number
  /** Mailboxes accepted in any window of `per` milliseconds. Default none. */
  readonly quota?: Window | readonly Window[]
  /**
   * Mailboxes that arrive at a provider in any window, by its name. A tenant may limit its own providers, the mailer its. A
   * provider out of budget is skipped. Default none.
   */
  readonly providers?: { readonly [N in P]?: Window | readonly Window[] }
  /**
   * What happens when the quota, or the budget of every provider on the route, is used up. Default `reject`; `wait` waits its
   * turn inside the deadline. A queued message always waits, in the queue.
   */
  readonly onLimit?: 'reject' | 'wait'
}

/** Limits with every number filled in and windows as lists. */
export interface ResolvedLimits {
  readonly recipients: number
  readonly replyTo: number
  readonly subject: number
  readonly text: number
  readonly html: number
  readonly headers: number
  readonly attachments: number
  readonly attachmentBytes: number
  readonly messageBytes: number
  readonly batch: number
  readonly quota: readonly Window[]
  readonly providers: ReadonlyMap<string, readonly Window[]>
  readonly onLimit: 'reject' | 'wait'
}

const defaults = {
  recipients: 50,
  replyTo: 10,
  subject: 998,
  text: 1_000_000,
  html: 1_000_000,
  headers: 30,
  attachments: 10,
  attachmentBytes: 10_000_000,
  messageBytes: 25_000_000,
  batch: 100,
}

type Count = keyof typeof defaults

/** @throws MailError `CONFIGURATION_ERROR` naming the limit. */
export function resolveLimits(limits: Limits = {}, base?: ResolvedLimits, where = 'limits'): ResolvedLimits {
  if (typeof limits !== 'object' || limits === null) throw configurationError(`${where} must be an object of limits.`)
  const known = new Set([...Object.keys(defaults), 'quota', 'providers', 'onLimit'])
  for (const name of Object.keys(limits)) {
    if (!known.has(name)) throw configurationError(`${where}.${name} is no limit. Known: ${[...known].join(', ')}.`)
  }
  const count = (name: Count): number => {
    const value = limits[name] ?? base?.[name] ?? defaults[name]
    if (!Number.isSafeInteger(value) || value < 0) {
      throw configurationError(`${where}.${name} must be a whole number of 0 or more.`)
    }
    return value
  }
  const { onLimit = base?.onLimit ?? 'reject' } = limits
  if (onLimit !== 'reject' && onLimit !== 'wait') throw configurationError(`${where}.onLimit is 'reject' or 'wait'.`)
  return {
    recipients: count('recipients'),
    replyTo: count('replyTo'),
    subject: count('subject'),
    text: count('text'),
    html: count('html'),
    headers: count('headers'),
    attachments: count('attachments'),
    attachmentBytes: count('attachmentBytes'),
    messageBytes: count('messageBytes'),
    batch: count('batch'),
    quota: windowsOf(limits.quota, `${where}.quota`),
    providers: limits.providers ? providersOf(limits.providers, `${where}.providers`) : (base?.providers ?? new Map()),
    onLimit,
  }
}

function windowsOf(windows: Window | readonly Window[] | undefined, where: string): readonly Window[] {
  if (windows === undefined) return []
  const list: readonly Window[] = Array.isArray(windows) ? windows : [windows as Window]
  const lengths = new Set<number>()
  return list.map((window) => {
    const sound =
      typeof window === 'object' &&
      Object.keys(window ?? {}).every((field) => field === 'limit' || field === 'per') &&
      Number.isSafeInteger(window?.limit) &&
      window.limit >= 0 &&
      Number.isFinite(window.per) &&
      window.per >= 1 &&
      window.per <= 366 * 86_400_000
    if (!sound) {
      throw configurationError(
        `${where} holds { limit, per }: a whole number of mailboxes, and 1 to ${366 * 86_400_000} milliseconds.`,
      )
    }
    const { limit, per } = window
    if (lengths.has(per)) {
      throw configurationError(`${where} has two windows of ${per} ms; the lower limit alone does what both would.`)
    }
    lengths.add(per)
    return { limit, per }
  })
}

function providersOf(given: NonNullable<Limits['providers']>, where: string): ReadonlyMap<string, readonly Window[]> {
  if (typeof given !== 'object' || Array.isArray(given)) {
    throw configurationError(`${where} is an object of windows by the provider's name.`)
  }
  const named = Object.entries(given).map(([name, windows]) => [name, windowsOf(windows, `${where}.${name}`)] as const)
  return new Map(named.filter(([, windows]) => windows.length > 0))
}
