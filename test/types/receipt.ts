/** Compiled by `npm run types`, never run: each `@ts-expect-error` fails the compiler when the wrong use is allowed. */
import type { MessageRecord, MessageStatus, Outcome, Receipt, RecipientStatus } from '../../src/receipt.ts'

declare const receipt: Receipt
declare const record: MessageRecord

// The statuses are closed unions, and a message is never called delivered.
export const sent: MessageStatus = 'sent'
// @ts-expect-error
export const delivered: MessageStatus = 'delivered'
export const arrived: RecipientStatus = 'delivered'
// @ts-expect-error
export const opened: RecipientStatus = 'opened'
// @ts-expect-error
export const partial: Outcome = 'partial'

// A receipt is read only, in depth.
// @ts-expect-error
receipt.status = 'failed'
// @ts-expect-error
receipt.recipients.push({ address: 'ada@example.com', field: 'to', status: 'sent' })
// @ts-expect-error
receipt.attempts[0]!.outcome = 'sent'

// What may be absent has to be asked for.
// @ts-expect-error
export const provider: string = receipt.provider
// @ts-expect-error
export const first: string = receipt.recipients[0].address
// @ts-expect-error
export const code: string = record.lastError.code

// A record is a receipt with more.
export const asReceipt: Receipt = record
// @ts-expect-error
export const asRecord: MessageRecord = receipt
