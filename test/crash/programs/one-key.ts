/**
 * One of several processes that all send the same keys, many at a time, with its orders in RACE; begins when it reads a
 * line, so that all begin together.
 */
import { once } from 'node:events'
import { Chance } from '../chance.ts'
import { type Ground, open } from '../ground.ts'
import { Journal } from '../journal.ts'
import { mailerOn, type Servers } from '../scenario.ts'

export interface Race {
  readonly ground: Ground
  readonly servers: Servers
  readonly journal: string
  /** Of this process among the others. */
  readonly number: number
  readonly seed: number
  readonly keys: number
  readonly atOnce: number
  /** How often each key is sent. */
  readonly times: number
  readonly timeout: number
  readonly onUnknown: 'hold' | 'resend'
}

const race = JSON.parse(process.env.RACE!) as Race
const { ground, servers, journal: path, number, seed, keys, atOnce, times, timeout, onUnknown } = race
const journal = new Journal(path)
const { store, free } = await open(ground)
const mailer = mailerOn(store, servers, { timeout })
await mailer.verify()
console.log('ready')
// Whoever started it may die too.
process.stdin.on('end', () => process.exit(1))
await once(process.stdin, 'data')

const all = Array.from({ length: keys * times }, (_, place) => Math.floor(place / times))
// The first half in the same order everywhere, so that all want the same keys at the same time.
const order = [...all.slice(0, all.length / 2), ...new Chance(seed, number).shuffled(all.slice(all.length / 2))]
await Promise.all(
  Array.from({ length: atOnce }, async () => {
    for (let key = order.shift(); key !== undefined; key = order.shift()) await send(`key-${key}`)
  }),
)
await mailer.close()
await free()
process.exit()

async function send(key: string): Promise<void> {
  const message = { to: `${key}@example.com`, subject: key, text: 'Once.', headers: { 'X-Key': key } }
  await journal.call({ verb: 'send', subject: key, key }, () =>
    mailer.send(message, { idempotencyKey: key, onUnknown }),
  )
}
