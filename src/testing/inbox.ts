import { randomBytes } from 'node:crypto'
import type { MessageSnapshot } from '../message/message.ts'

/** One mail as the memory provider remembers it. */
export interface SentMail {
  /** `msg_…`: the id of the receipt. */
  readonly id: string
  readonly message: MessageSnapshot
  /** Every mailbox that got a copy, bcc included. */
  readonly recipients: readonly string[]
  readonly tenant?: string
}

/** What remembers mails: the memory provider, or an inbox. */
export interface SentSource<M = SentMail> {
  sent(): readonly M[]
}

/** What one test sees of an outbox that many share. */
export interface Inbox<M extends SentMail = SentMail> extends SentSource<M> {
  /** Everything at this domain is this inbox's; no other has it. */
  readonly domain: string
  /** A mailbox of this inbox. Default local part: `reader`. */
  address(local?: string): string
  /** The mails at least one mailbox of this inbox got a copy of, oldest first. */
  sent(): readonly M[]
  /** Forgets what has arrived. The outbox and other inboxes keep it. */
  clear(): void
}

/**
 * An isolated inbox over an outbox that tests running at once share, such as the one memory provider of an application
 * under test: give each test its own, and let it mail only `address(…)`es of it.
 *
 * The outbox forgets its oldest mails beyond its own limit, and so does the inbox.
 */
export function createInbox<M extends SentMail>(outbox: SentSource<M>): Inbox<M> {
  const domain = `${randomBytes(8).toString('hex')}.inbox.test`
  const forgotten = new WeakSet<M>()
  const isOurs = ({ recipients }: M) => recipients.some((address) => address.endsWith(`@${domain}`))
  const sent = () => outbox.sent().filter((mail) => isOurs(mail) && !forgotten.has(mail))
  return {
    domain,
    address: (local = 'reader') => `${local}@${domain}`,
    sent,
    clear() {
      for (const mail of sent()) forgotten.add(mail)
    },
  }
}
