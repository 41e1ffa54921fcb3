import type { ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'

/** The subjects of what the server took, in order. */
export function subjectsAt(server: ScriptedSmtpServer): string[] {
  return server.raw.map(({ raw }) => {
    const head = Buffer.from(raw).toString('latin1').split('\r\n\r\n', 1)[0]!
    return /^subject: (.+)$/im.exec(head)?.[1]?.trim() ?? ''
  })
}

/** How often the server took a message of this subject. */
export const takenTimes = (server: ScriptedSmtpServer, subject: string): number =>
  subjectsAt(server).filter((one) => one === subject).length
