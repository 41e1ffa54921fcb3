import { buffer } from 'node:stream/consumers'
import type { SmtpSettings } from './options.ts'

/** The message with a `DKIM-Signature` in front (RFC 6376). */
export async function sign(message: Buffer, key: NonNullable<SmtpSettings['dkim']>): Promise<Buffer> {
  const { default: DKIM } = await import('nodemailer/lib/dkim')
  return buffer(new DKIM(key).sign(message))
}
