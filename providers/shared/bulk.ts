import { isDeepStrictEqual } from 'node:util'
import { type Answer, type Delivery, handOverError, MailError } from '../../src/provider.ts'

/** What two mails must share to leave in one call: all but recipients, custom headers and metadata. */
function sharedParts({ stream, message }: Delivery): object {
  const { to, cc, bcc, headers, metadata, ...shared } = message
  return { stream, ...shared }
}

export type BulkResult = Answer | MailError

/**
 * Sends those that `fit` and are of one content with the first in one call, and the others each alone. One result per
 * delivery, in order.
 */
export async function inBulk(
  deliveries: readonly Delivery[],
  fits: (delivery: Delivery) => boolean,
  together: (deliveries: readonly Delivery[]) => Promise<readonly BulkResult[]>,
  alone: (delivery: Delivery) => Promise<Answer>,
): Promise<readonly BulkResult[]> {
  const first = deliveries.find(fits)
  const content = first && sharedParts(first)
  const group = deliveries.filter(
    (one) => one === first || (content && fits(one) && isDeepStrictEqual(sharedParts(one), content)),
  )
  const results = new Map<Delivery, BulkResult>()
  const settle = async (delivery: Delivery) => {
    results.set(delivery, await alone(delivery).catch(asMailError))
  }
  const call = async () => {
    const answers = await together(group).catch((error) => group.map(() => asMailError(error)))
    for (const [index, delivery] of group.entries()) results.set(delivery, answers[index] as BulkResult)
  }
  const members = new Set(group.length > 1 ? group : [])
  const singles = deliveries.filter((one) => !members.has(one)).map(settle)
  await Promise.all(members.size > 0 ? [call(), ...singles] : singles)
  return deliveries.map((delivery) => results.get(delivery) as BulkResult)
}

/** Only errors of ours pass; anything else is a defect whose effect nobody knows. */
function asMailError(error: unknown): MailError {
  if (error instanceof MailError) return error
  return handOverError({ outcome: 'unknown', kind: 'configuration', reason: 'the adapter failed' })
}
