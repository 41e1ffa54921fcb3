import assert from 'node:assert/strict'
import { createMailer, type Mailer } from '../../create-mailer.ts'
import { MailError } from '../../errors.ts'
import type { Message } from '../../message/message.ts'
import type { Provider } from '../../provider.ts'
import type { Receipt } from '../../receipt.ts'
import { failover } from '../../routing/route.ts'
import type { Fault } from '../scripted-server.ts'
import type { Case } from './case.ts'
import { faultsOf } from './fault-cases.ts'
import type { ProviderHarness } from './harness.ts'
import { assertSilent } from './silence.ts'
import type { Stage } from './stage.ts'

const message: Message = {
  from: 'Acme <hello@acme.example>',
  to: ['ada@example.com', 'grace@example.com'],
  bcc: 'hidden@example.net',
  subject: 'Your order',
  text: 'It is on its way.',
}

export function mailerCases(harness: ProviderHarness): Case[] {
  const faults = faultsOf(harness).filter(({ at, kind }) => kind !== 'stall' || at === 'afterBody')
  return [
    ...faults.map(
      (fault): Case => ({
        feature: 'mailer',
        name: `P2 O6 ${fault.kind} at ${fault.at}: the backup is used exactly when the outcome is failed, nobody is mailed twice`,
        run: (stage) => behindMailer(stage, (mailer, backup) => tryBoth(stage, mailer, backup, fault)),
      }),
    ),
    {
      feature: 'partial',
      dialect: 'smtp',
      name: 'O5 after a partial refusal only those who failed go to the backup, and whom the server refused goes nowhere',
      run: (stage) =>
        behindMailer(stage, async (mailer, backup) => {
          stage.server.fail({ at: 'envelope', kind: '4xx', recipient: 'grace@example.com' })
          stage.server.fail({ at: 'envelope', kind: 'refuse', recipient: 'hidden@example.net' })
          const receipt = await mailer.send(message)
          assert.equal(receipt.status, 'partial')
          assert.deepEqual(
            receipt.recipients.map(({ status }) => status),
            ['sent', 'sent', 'rejected'],
          )
          assert.deepEqual(
            (await stage.server.accepted()).map(({ recipients }) => recipients),
            [['ada@example.com']],
          )
          assert.deepEqual(backup.mailed, ['grace@example.com'])
        }),
    },
    {
      feature: 'mailer',
      name: 'H1 line breaks in headers, subject and names are refused at the door, and nothing reaches the wire',
      async run(stage) {
        await behindMailer(stage, async (mailer) => {
          const lineBreak = 'a\r\nX-Injected: 1'
          for (const patch of [
            { headers: { 'X-A': lineBreak } },
            { subject: lineBreak },
            { to: [{ name: lineBreak, address: 'ada@example.com' }] },
            { to: `ada@example.com${lineBreak}` },
          ]) {
            await assert.rejects(mailer.send({ ...message, ...patch }), { code: 'VALIDATION_ERROR' })
          }
        })
        // Only now, when everything that was under way has ended.
        assert.equal(stage.server.connections, 0)
      },
    },
    {
      feature: 'mailer',
      name: 'a merge leaves each reader alone in the mail, mailed once',
      run: (stage) =>
        behindMailer(stage, async (mailer) => {
          const { to: _, bcc: __, ...content } = message
          const readers = [0, 1, 2, 3].map((index) => ({ to: `reader${index}@example.com` }))
          const result = await mailer.sendMerge(content, readers, { provider: 'main' })
          assert.equal(result.sent, readers.length)
          const mails = await stage.server.accepted()
          assert.deepEqual(
            mails.map(({ recipients }) => recipients.join()).sort(),
            readers.map(({ to }) => to),
          )
          for (const { to, recipients } of mails) {
            assert.deepEqual(
              to.map(({ address }) => address),
              recipients,
            )
          }
        }),
    },
    {
      feature: 'mailer',
      name: 'the receipt’s id is the id the accepted mail carries',
      run: (stage) =>
        behindMailer(stage, async (mailer) => {
          const receipt = await mailer.send(message, { provider: 'main' })
          const [mail] = await stage.server.accepted()
          assert.equal(receipt.status, 'sent')
          assert.equal(mail?.sendwrightId, receipt.id)
          assert.equal(receipt.providerMessageId ?? mail.providerMessageId, mail.providerMessageId)
        }),
    },
  ]
}

async function tryBoth(stage: Stage, mailer: Mailer, backup: Backup, fault: Fault): Promise<void> {
  const { server, harness } = stage
  const giveUp = new AbortController()
  let settled = false
  server.fail(fault)
  const sending = mailer
    .send(message, { signal: giveUp.signal })
    .finally(() => {
      settled = true
    })
    .then(
      (receipt) => ({ receipt, error: undefined }),
      (error: unknown) => ({ receipt: error instanceof MailError ? error.receipt : undefined, error }),
    )
  if (fault.kind === 'stall') {
    await stage.until(() => settled || server.bodies > 0, 'the body')
    giveUp.abort()
  }
  const { receipt, error } = (await stage.soon(
    sending,
    'mailer.send',
    fault.kind === 'stall' ? stage.patience : 10 * stage.patience,
  ))!
  assert.ok(receipt, 'a message that was accepted has a receipt')
  if (error !== undefined) assertSilent(error, harness.secrets, 'the error')
  assertSilent(receipt, harness.secrets, 'the receipt')

  const [first, second] = receipt.attempts
  assert.equal(first?.provider, 'main')
  assert.equal(second?.provider, first.outcome === 'failed' ? 'backup' : undefined, `after ${first.outcome}`)
  assert.ok(server.bodies <= 1, `one attempt gave the server ${server.bodies} bodies`)
  const copies = [...(await server.accepted()).flatMap(({ recipients }) => recipients), ...backup.mailed]
  for (const { address, status } of receipt.recipients) {
    const count = copies.filter((copy) => copy === address).length
    const honest = status === 'unknown' ? count <= 1 : count === (status === 'sent' ? 1 : 0)
    assert.ok(honest, `the receipt says ${status} of a recipient who got ${count} copies`)
  }
  checkVerdict(receipt, error)
}

function checkVerdict({ recipients, status }: Receipt, error: unknown): void {
  const all = new Set(recipients.map((recipient) => recipient.status))
  assert.equal(status, all.size === 1 ? [...all][0] : 'partial')
  assert.equal(error === undefined, all.has('sent'), 'send resolves when somebody was mailed, and only then')
}

interface Backup extends Provider {
  /** The mailboxes it was handed, in order. */
  readonly mailed: readonly string[]
}

/** Takes everything. The other end of the failover is in this process, so that it cannot fail itself. */
function backupProvider(): Backup {
  const mailed: string[] = []
  return {
    name: 'backup',
    capabilities: {
      recipients: Number.POSITIVE_INFINITY,
      bytes: Number.POSITIVE_INFINITY,
      headers: Number.POSITIVE_INFINITY,
      replyTo: Number.POSITIVE_INFINITY,
      attachments: true,
      inline: true,
      calendar: true,
      tags: Number.POSITIVE_INFINITY,
      metadata: 'events',
      nonAsciiLocalPart: 'always',
      envelope: true,
      bulk: 1,
      native: [],
    },
    mailed,
    async send({ envelope }) {
      mailed.push(...envelope.recipients.map(({ address }) => address))
      return {}
    },
  }
}

async function behindMailer(stage: Stage, run: (mailer: Mailer, backup: Backup) => Promise<void>): Promise<void> {
  const backup = backupProvider()
  const providers: Record<string, Provider> = { main: stage.provider, backup }
  const mailer = createMailer({
    providers,
    route: failover('main', 'backup'),
    retry: { rounds: 1 },
  })
  try {
    await run(mailer, backup)
  } finally {
    await stage.soon(mailer.close({ deadline: stage.patience }), 'mailer.close')
  }
}
