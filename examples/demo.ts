/**
 * `npm run demo`: sends real mail over real SMTP into an inbox on this machine, and shows what became of it. With
 * `-- --serve` the inbox stays open as a page. Ends with exit code 1 when a mail is missing or one is too many.
 */
import { readFile } from 'node:fs/promises'
import { createMailer, failover, MailError, type MessageRecord, type Receipt } from 'sendwright'
import { smtp } from 'sendwright/providers/smtp'
import { openInbox } from './demo/inbox.ts'
import { openPage } from './demo/page.ts'
import { heading, paint, progress, say, table } from './demo/terminal.ts'

const inbox = await openInbox()
const busy = await openInbox({ refusing: true })
const mailer = createMailer({
  providers: { relay: smtp({ url: inbox.url }), busy: smtp({ url: busy.url }) },
  from: 'Acme Orders <orders@acme.example>',
  senders: ['acme.example'],
  limits: { batch: 500 },
})
const receipts = new Map<string, Receipt>()

say(paint('dim', `The inbox listens on ${inbox.url}`))

heading(1, 'One mail, with an attachment and an inline image')
const order = {
  to: 'Ada Lovelace <ada@example.com>',
  bcc: 'archive@acme.example',
  subject: 'Your order 1048 is on its way ✓',
  text: 'Dear Ada,\n\nyour order left our house today. The invoice is attached.\n',
  html: '<p><img src="cid:logo" alt="Acme"></p><p>Dear Ada,</p><p>your order left our house <b>today</b>.</p>',
  attachments: [
    { filename: 'invoice-1048.csv', content: 'item,price\nanalytical engine,1048.00\n', encoding: 'utf8' as const },
    { filename: 'logo.png', content: await readFile(new URL('demo/logo.png', import.meta.url)), contentId: 'logo' },
  ],
}
const once = { idempotencyKey: 'order-1048-shipped' }
const first = await mailer.send(order, once)
receipts.set('one mail', first)
say(`${tick()} ${first.status} through ${first.provider}: ${sizeOf()} to ${first.recipients.length} mailboxes`)

heading(2, 'The same call again, with the same idempotency key')
const repeat = await mailer.send(order, once)
receipts.set('the repeat', repeat)
say(`${tick()} the first receipt, replayed: ${repeat.replayed}; the inbox holds ${inbox.mails.length} mail`)

heading(3, 'A batch of 500 with one bad address in the middle')
const draw = progress(500, 'mails')
let settled = 0
const forget = mailer.on('settled', () => draw(++settled))
const started = performance.now()
const batch = await mailer.sendBatch(
  Array.from({ length: 500 }, (_, n) => ({
    to: n === 250 ? 'reader-250@@example.com' : `reader-${n}@example.com`,
    subject: `News for reader ${n}`,
  })),
  { defaults: { text: 'The same for everybody, and each alone in the mail.' }, concurrency: 20 },
)
forget()
draw(500)
const seconds = (performance.now() - started) / 1000
for (const { index, error } of batch.results) {
  if (error)
    say(`${paint('red', '✗')} item ${index}: ${error.code}, ${error.issues[0]?.path}: ${error.issues[0]?.message}`)
}
say(`${tick()} ${batch.sent} sent, ${batch.failed} refused, in ${seconds.toFixed(2)} s`)

heading(4, 'A recipient who objected')
await mailer.suppressions.add({ address: 'Bob@Example.com', reason: 'unsubscribe' })
const without = await mailer.send({ to: ['ada@example.com', 'bob@example.com'], subject: 'To both', text: 'Hello.' })
receipts.set('one suppressed', without)
for (const { address, status, reason } of without.recipients) say(`${address}: ${status}${reason ? `, ${reason}` : ''}`)
try {
  await mailer.send({ to: 'bob@example.com', subject: 'To Bob', text: 'Hello.' })
} catch (error) {
  if (!(error instanceof MailError)) throw error
  say(`${tick()} alone: ${error.code}, and nothing is sent`)
}

heading(5, 'A provider that refuses, and the one after it')
const moved = await mailer.send(
  { to: 'ada@example.com', subject: 'By another way', text: 'Hello.' },
  { route: failover('busy', 'relay') },
)
receipts.set('the failover', moved)
for (const { number, provider, outcome, code } of moved.attempts) {
  say(
    `attempt ${number}: ${provider} ${outcome === 'sent' ? tick() : paint('yellow', '↷')} ${outcome}${code ? ` (${code})` : ''}`,
  )
}

process.stdout.write(`\n${paint('bold', 'Receipts')}\n\n${receiptTable()}`)
const record = await mailer.messages.get(moved.id)
process.stdout.write(`\n${paint('bold', 'Timeline')} ${paint('dim', moved.id)}\n\n${timeline(record)}`)

await mailer.close()
await busy.close()

// One mail, 499 of the batch, one past a suppressed recipient, one past the busy provider.
const expected = 502
const complete = inbox.mails.length === expected && busy.mails.length === 0
process.stdout.write(`\n${complete ? tick() : '✗'} ${inbox.mails.length} of ${expected} mails are in the inbox\n`)

if (process.argv.includes('--serve')) {
  const page = await openPage(inbox, Number(process.env.PORT ?? 0))
  process.stdout.write(`\nThe inbox is open at ${paint('underline', page.url)} until Ctrl-C.\n`)
  await new Promise((stop) => process.once('SIGINT', stop).once('SIGTERM', stop))
  await page.close()
}
await inbox.close()
process.exitCode = complete ? 0 : 1

function tick(): string {
  return paint('green', '✓')
}

function sizeOf(): string {
  return `${((inbox.mails[0]?.bytes ?? 0) / 1024).toFixed(1)} kB`
}

function receiptTable(): string {
  const rows = [...receipts].map(([name, { status, provider, recipients, attempts, replayed, id }]) => [
    name,
    paint('green', status),
    provider ?? '',
    `${recipients.filter((recipient) => recipient.status === 'sent').length} of ${recipients.length}`,
    String(attempts.length),
    replayed ? 'yes' : '',
    paint('dim', id),
  ])
  return table([['', 'status', 'provider', 'sent to', 'attempts', 'replayed', 'id'], ...rows])
}

function timeline(record: MessageRecord | undefined): string {
  const events = record?.events ?? []
  const start = Date.parse(events[0]?.at ?? '')
  const rows = events.map(({ type, at, provider, reason }) => [
    paint('dim', `+${Date.parse(at) - start} ms`),
    type,
    provider ?? '',
    reason ?? '',
  ])
  return table([['', 'event', 'provider', 'what it said'], ...rows])
}
