/**
 * One process of a deployment: sends and enqueues all keys in order, a few at a time, and works on the queue, through the
 * one provider of its version. Run by `rolling.test.ts` with its orders in DEPLOY; ends by itself when it is through.
 */
import { type Ground, open } from '../ground.ts'
import { Journal } from '../journal.ts'
import { mailerOn, type Servers } from '../scenario.ts'

export interface Deployed {
  readonly ground: Ground
  readonly servers: Servers
  readonly journal: string
  readonly keys: number
}

/** The call for a key, the same in both versions. */
export function deployedCall(number: number) {
  const key = `order-${number}`
  return {
    facts: { verb: number % 2 === 0 ? ('send' as const) : ('enqueue' as const), subject: `message ${number}`, key },
    message: {
      to: `${key}@example.com`,
      subject: `message ${number}`,
      text: 'It is on its way.',
      headers: { 'X-Key': key } as Record<string, string>,
    },
    options: { idempotencyKey: key, timeout: 5_000 },
  }
}

if (process.env.DEPLOY) {
  // Whoever started it may die too.
  process.stdin.on('end', () => process.exit(1)).resume()
  const { ground, servers, journal: path, keys } = JSON.parse(process.env.DEPLOY) as Deployed
  const journal = new Journal(path)
  const { store, free } = await open(ground)
  const mailer = mailerOn(store, servers)
  mailer.work({ concurrency: 2 })
  console.log('ready')
  let next = 0
  await Promise.all(
    Array.from({ length: 3 }, async () => {
      while (next < keys) {
        const { facts, message, options } = deployedCall(next++)
        await journal.call(facts, () => mailer[facts.verb](message, options))
      }
    }),
  )
  await mailer.close()
  await free()
  process.exit()
}
