import { MailError } from './errors.ts'
import { ended, freesKey, receiptOf, recordOf } from './ledger/row.ts'
import type { Parts } from './parts.ts'
import { refund } from './policies/quota.ts'
import type { MessageRecord, Receipt } from './receipt.ts'
import type { Row } from './stores/store.ts'

export interface LookUpOptions {
  /** Whose message it is; the mailer's own are those without tenant. */
  readonly tenant?: string
}

/** Messages by id, as they stand now. A tenant sees its own only; another's does not exist. */
export interface Messages {
  /** Undefined when there is none, or it is older than the store keeps it. */
  get(id: string, options?: LookUpOptions): Promise<MessageRecord | undefined>
  /** By the Message-ID header, or by the id a provider gave. */
  find(
    by: { readonly messageId: string } | { readonly providerMessageId: string },
    options?: LookUpOptions,
  ): Promise<MessageRecord | undefined>
}

export function messagesOf(
  parts: Parts,
  tenant: string | undefined,
): Messages & { cancel(id: string): Promise<Receipt> } {
  const { store, ledger, clock } = parts
  const visible = (row: Row | undefined, options: LookUpOptions = {}): row is Row =>
    row?.accepted === true && row.tenant === (tenant ?? options.tenant)
  return {
    async get(id, options) {
      const row = await store.read(id)
      return visible(row, options) ? recordOf(row) : undefined
    },
    async find(by, options) {
      const row = await store.find(by)
      return visible(row, options) ? recordOf(row) : undefined
    },
    async cancel(id) {
      const row = await store.read(id)
      if (!row?.accepted || row.tenant !== tenant) {
        throw new MailError('NOT_FOUND', 'There is no message with this id.')
      }
      const at = new Date(clock.now()).toISOString()
      const cancelled = await ledger.change(
        id,
        ['queued', 'scheduled'],
        (waiting) => ({
          // Whoever an earlier run has mailed stays mailed.
          ...ended(waiting, 'cancelled', { code: 'CANCELLED', reason: 'Cancelled by the application.' }),
          events: [...(waiting.events ?? []), { type: 'cancelled', at }],
        }),
        (changed) => ({ release: freesKey(changed) }),
      )
      if (!cancelled) {
        throw new MailError(
          'INVALID_STATE',
          'Only a queued or scheduled message can be cancelled; this one is further.',
          { id },
        )
      }
      const untouched = cancelled.recipients.filter(({ status }) => status === 'failed').length
      await refund(store, row.work?.taken ?? [], untouched)
      return receiptOf(cancelled)
    },
  }
}
