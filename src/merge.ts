import { type BatchItemResult, type BatchResult, derivedKey, resultOf, tally } from './batch.ts'
import { MailError } from './errors.ts'
import { isProblem, mailboxKey } from './message/address.ts'
import type { AddressInput, HeadersInput, Message } from './message/message.ts'
import { refused, type SendOptions } from './options.ts'
import type { Receipt } from './receipt.ts'

/** One reader of a merge: alone in the mail, with own facts. */
export interface MergeRecipient {
  readonly to: AddressInput
  /** Added to the message's, replacing those of the same name. */
  readonly metadata?: Message['metadata']
  /** Added to the message's. */
  readonly headers?: HeadersInput
  /** Not built yet: refused with `UNSUPPORTED_FEATURE`. */
  readonly variables?: Readonly<Record<string, unknown>>
}

export interface MergeParts {
  /** Sends one recipient's message; those of one `group` may leave in one call of the provider. */
  readonly send: (message: unknown, options: SendOptions, group: object) => Promise<Receipt>
  /** The message with what its recipients share read once: streams end here, bytes are copied here. */
  readonly share: (message: object, options: SendOptions) => Promise<object>
  readonly newGroup: () => object
}

const fields = new Set(['to', 'metadata', 'headers', 'variables'])

/** Sends one content to many. Answers one result each. @throws MailError for a malformed call only. */
export function merging(parts: MergeParts) {
  return async (message: unknown, recipients: unknown, options: SendOptions, limit: number): Promise<BatchResult> => {
    if (!Array.isArray(recipients)) throw refused('recipients', 'Must be an array of { to, metadata?, headers? }.')
    if (recipients.length > limit) {
      throw refused('recipients', `Holds ${recipients.length}; at most ${limit} (limits.batch) are allowed.`)
    }
    if (typeof message !== 'object' || message === null || Array.isArray(message))
      throw refused('message', 'Must be an object.')
    for (const field of ['to', 'cc', 'bcc'] as const) {
      if ((message as Partial<Message>)[field] !== undefined) {
        throw refused(`message.${field}`, 'Is not taken by sendMerge: recipients are alone in their mail.')
      }
    }
    const group = parts.newGroup()
    const sharing = parts.share(message, options)
    const results: BatchItemResult[] = await Promise.all(
      // Holes are recipients too, malformed ones.
      Array.from(recipients, (recipient, index) =>
        resultOf(index, async () => {
          const own = messageFor(await sharing, recipient)
          const key = options.idempotencyKey && derivedKey(options.idempotencyKey, mailboxKeyOf(own.to))
          return parts.send(own, key === undefined ? options : { ...options, idempotencyKey: key }, group)
        }),
      ),
    )
    return tally(results)
  }
}

function messageFor(message: object, recipient: unknown): Message {
  if (recipient instanceof MailError) throw recipient
  if (typeof recipient !== 'object' || recipient === null)
    throw refused('recipient', 'Must be { to, metadata?, headers? }.')
  const unknown = Object.keys(recipient).find((name) => !fields.has(name))
  if (unknown !== undefined) throw refused('recipient', 'Takes to, metadata and headers only.')
  const { to, metadata, headers, variables } = recipient as MergeRecipient
  if (variables !== undefined) {
    throw new MailError('UNSUPPORTED_FEATURE', 'variables need templates, which are not built yet in this version.', {
      issues: [{ path: 'variables', code: 'unsupported', message: 'Not built yet in this version.' }],
    })
  }
  if (metadata !== undefined && (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata))) {
    throw refused('recipient.metadata', 'Must be an object of strings, numbers or booleans.')
  }
  if (to === undefined || Array.isArray(to)) throw refused('recipient.to', 'Must be one address.')
  const shared = message as Partial<Message>
  return {
    ...shared,
    to,
    ...(metadata === undefined ? {} : { metadata: { ...shared.metadata, ...metadata } }),
    ...(headers === undefined ? {} : { headers: [...headerList(shared.headers), ...headerList(headers)] }),
  }
}

function headerList(headers: HeadersInput | undefined): { name: string; value: string }[] {
  if (headers === undefined) return []
  if (Array.isArray(headers)) return [...headers]
  return Object.entries(headers as Record<string, string | readonly string[]>).flatMap(([name, value]) =>
    [value].flat().map((one) => ({ name, value: one })),
  )
}

/** A stable part of a merge key, even for an address that will be refused. */
function mailboxKeyOf(to: unknown): string {
  const address =
    typeof to === 'string' ? (/<([^<>]*)>\s*$/.exec(to)?.[1] ?? to.trim()) : (to as { address?: unknown })?.address
  const key = typeof address === 'string' ? mailboxKey(address) : undefined
  return key === undefined || isProblem(key) ? 'malformed' : key
}
