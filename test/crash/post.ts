import type { ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'
import type { Taken } from './history.ts'

/** What the servers took so far, as their logs have it. */
export function takenBy(servers: Readonly<Record<string, ScriptedSmtpServer>>): Taken[] {
  return Object.entries(servers).flatMap(([server, { raw }]) =>
    raw.map(({ raw: bytes, recipients }) => {
      const head = Buffer.from(bytes).toString('latin1').split('\r\n\r\n', 1)[0]!
      const header = (name: string) => new RegExp(`^${name}: (.+)$`, 'im').exec(head)?.[1]?.trim()
      const key = header('x-key')
      return {
        server,
        id: header('x-sendwright-id') ?? '',
        subject: header('subject') ?? '',
        ...(key === undefined ? {} : { key }),
        recipients,
      }
    }),
  )
}
