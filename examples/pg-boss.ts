/**
 * An order and its mail, both or neither: the mail is queued in the transaction that inserts the order. PostgreSQL keeps
 * orders and messages, pg-boss tells the workers when one was committed.
 *
 *     export DATABASE_URL=postgres://localhost/shop SMTP_URL=smtp://user:password@smtp.example.com:587
 *     node examples/pg-boss.ts work
 *     node examples/pg-boss.ts order 1048 3 ada@example.com
 *     node examples/pg-boss.ts order 1049 0 ada@example.com     # no such amount: no order, no mail
 */
import { Pool, type PoolClient } from 'pg'
import { createMailer } from 'sendwright'
import { smtp } from 'sendwright/providers/smtp'
import { pgBoss } from 'sendwright/queues/pg-boss'
import { postgres } from 'sendwright/stores/postgres'

const connectionString = process.env.DATABASE_URL ?? 'postgres://localhost/shop'
// One for the shop and one for the mailer, which asks for connections of its own while a transaction holds one.
const [shop, mail] = [1, 2].map(() => {
  const pool = new Pool({ connectionString, connectionTimeoutMillis: 2_000 })
  return pool.on('error', ({ message }) => console.error(`postgres: ${message}`))
}) as [Pool, Pool]

const mailer = createMailer({
  providers: { relay: smtp({ url: process.env.SMTP_URL ?? '' }) },
  from: 'Acme <hello@acme.example>',
  store: postgres({ pool: mail }),
  queue: { engine: pgBoss({ connectionString }) },
})
mailer.on('settled', ({ id, status }) => console.log(`${status} ${id}`))
mailer.on('warning', ({ code, message }) => console.error(`warning ${code}: ${message}`))

async function order(client: PoolClient, number: string, amount: string, customer: string): Promise<void> {
  const message = { to: customer, subject: `Your order ${number}`, text: `${amount} of them are on their way.` }
  await mailer.enqueue(message, { transaction: client, idempotencyKey: `order-${number}` })
  await client.query('INSERT INTO orders VALUES ($1, $2, $3)', [number, amount, customer])
}

async function inTransaction(task: (client: PoolClient) => Promise<void>): Promise<void> {
  const client = await shop.connect()
  try {
    await client.query('BEGIN')
    await task(client)
    await client.query('COMMIT')
    console.log('committed')
  } catch (error) {
    await client.query('ROLLBACK')
    console.error(`rolled back: ${(error as Error).message}`)
    process.exitCode = 1
  } finally {
    client.release()
  }
}

async function close(): Promise<void> {
  await mailer.close()
  await Promise.all([shop.end(), mail.end()])
}

const [role, number = '', amount = '', customer = ''] = process.argv.slice(2)
if (role === 'work') {
  mailer.work()
  console.log('working')
  process.once('SIGTERM', () => void close())
} else {
  await shop.query(
    'CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY, amount integer CHECK (amount > 0), customer text)',
  )
  await inTransaction((client) => order(client, number, amount, customer))
  await close()
}
