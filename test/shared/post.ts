import type { ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'

type RawMail = ScriptedSmtpServer['raw'][number]

function subjectOf({ raw }: RawMail): string {
  const head = Buffer.from(raw).toString('latin1').split('\r\n\r\n', 1)[0]!
  return /^subject: (.+)$/im.exec(head)?.[1]?.trim() ?? ''
}

/** The subjects of what the server took, in order. */
export const subjectsAt = (server: ScriptedSmtpServer): string[] => server.raw.map(subjectOf)

/** How often the server took a message of this subject. */
export const takenTimes = (server: ScriptedSmtpServer, subject: string): number =>
  subjectsAt(server).filter((one) => one === subject).length

/** What one hand-over brought, and when. */
export interface Arrival {
  readonly subject: string
  readonly mailboxes: number
  /** Wall time of the server. */
  readonly at: number
}

/** Everything the server takes from now on, as it comes. */
export function arrivalsAt(server: ScriptedSmtpServer): readonly Arrival[] {
  const arrivals: Arrival[] = []
  const log = server.raw as RawMail[]
  // The server keeps no times, so whatever it files passes here.
  log.push = (...mails) => {
    for (const mail of mails) {
      arrivals.push({ subject: subjectOf(mail), mailboxes: mail.recipients.length, at: Date.now() })
    }
    return Array.prototype.push.apply(log, mails)
  }
  return arrivals
}
