import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import PostalMime, { type Email } from 'postal-mime'
import { SMTPServer } from 'smtp-server'

/** One mail as it arrived. */
export interface InboxMail {
  readonly envelope: { readonly from: string; readonly to: readonly string[] }
  readonly bytes: number
  readonly mail: Email
}

/** An SMTP server on loopback that keeps what it is given: real protocol, real MIME, nobody mailed. */
export interface Inbox {
  /** For `smtp({ url })`. */
  readonly url: string
  readonly mails: readonly InboxMail[]
  close(): Promise<void>
}

/** With `refusing`, every mail is turned away as a server does that is too busy. */
export async function openInbox({ refusing = false } = {}): Promise<Inbox> {
  const mails: InboxMail[] = []
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    logger: false,
    onMailFrom(_address, _session, answer) {
      answer(refusing ? Object.assign(new Error('4.3.2 too busy, come back later'), { responseCode: 451 }) : undefined)
    },
    async onData(stream, { envelope }, answer) {
      try {
        const raw = await buffer(stream)
        mails.push({
          envelope: {
            from: envelope.mailFrom ? envelope.mailFrom.address : '',
            to: envelope.rcptTo.map(({ address }) => address),
          },
          bytes: raw.length,
          mail: await PostalMime.parse(raw),
        })
        answer()
      } catch (error) {
        answer(error as Error)
      }
    },
  })
  await new Promise<void>((listening, failed) => {
    server.once('error', failed)
    server.listen(0, '127.0.0.1', listening)
  })
  // A client that hangs up is its own business.
  server.on('error', () => undefined)
  const { port } = server.server.address() as AddressInfo
  return {
    url: `smtp://127.0.0.1:${port}?tls=none`,
    mails,
    close: () => new Promise((closed) => server.close(() => closed())),
  }
}
