import { contest } from '../contest.ts'
import type { EngineName } from '../measures/engines.ts'
import { count, fixed, heading, line, times } from '../print.ts'
import { findServers } from '../servers.ts'
import type { PartOptions } from './part.ts'

const ways = [
  { way: 'send', what: 'accept + settle', widths: [1, 16, 64] },
  { way: 'keyed', what: 'the same with a key', widths: [64] },
  { way: 'queue', what: 'accept + due + settle', widths: [1, 16, 64] },
] as const

export async function stores({ rounds, alone }: PartOptions): Promise<void> {
  const { engines, stop } = await findServers()
  heading('Stores: messages a second, 1 kB, against the bare engine that writes the same texts as durably')
  for (const engine of engines) await writes(engine, rounds, alone)
  heading('Stores: the whole mailer.send with the memory provider, 64 at a time')
  const sends = Object.fromEntries(engines.map((engine) => [engine, ['store-sends.ts', engine] as const]))
  const sent = await contest(sends, rounds)
  for (const [engine, runs] of Object.entries(sent)) {
    line(engine, `${count(runs.of('rate'))} a second, ${fixed(runs.of('cpu'))} µs CPU of this process each`)
  }
  heading('Stores: round trips a message, for SQLite write transactions')
  for (const engine of engines) if (engine !== 'memory') await trips(engine)
  heading('Stores: bytes a message')
  for (const engine of engines) await bytes(engine)
  await stop()
}

async function writes(engine: EngineName, rounds: number, alone: boolean): Promise<void> {
  for (const { way, what, widths } of ways) {
    for (const width of alone ? widths : [64]) {
      const measure = (contestant: string) => ['store-writes.ts', engine, contestant, way, width] as const
      const name = `${engine}, ${what}, ${width} at a time`
      if (engine === 'memory') {
        const { ours } = await contest({ ours: measure('ours') }, 1)
        line(name, count(ours.of('rate')))
        continue
      }
      const { ours, raw } = await contest({ ours: measure('ours'), raw: measure('raw') }, rounds)
      const fsyncs = [ours, raw].map((runs) => fixed(runs.of('commits'), 2))
      line(
        name,
        `${count(ours.of('rate'))} to ${count(raw.of('rate'))}: ${times(ours.to(raw, 'rate'))}${
          engine === 'sqlite' ? `, fsyncs each ${fsyncs[0]} to ${fsyncs[1]}` : ''
        }`,
        engine === 'sqlite' && way === 'send' && width === 64 ? 'aim: at least 0.5 ×' : '',
      )
    }
  }
}

async function trips(engine: EngineName): Promise<void> {
  const { bare, key, limits, queue } = await contest(
    {
      bare: ['store-trips.ts', engine, 'bare'],
      key: ['store-trips.ts', engine, 'key'],
      limits: ['store-trips.ts', engine, 'limits'],
      queue: ['store-trips.ts', engine, 'queue'],
    },
    1,
  )
  const send = [bare, key, limits].map((runs) => fixed(runs.of('trips'), 2))
  line(
    `${engine}, send`,
    `${send[0]}, with a key ${send[1]}, and with two limits ${send[2]}`,
    engine === 'sqlite' ? '' : 'aim: at most 3',
  )
  line(
    `${engine}, the queue at fifty`,
    `${fixed(queue.of('accept'), 2)} to enqueue, ${fixed(queue.of('trips'), 2)} to dispatch`,
  )
}

async function bytes(engine: EngineName): Promise<void> {
  const { send, queue } = await contest(
    { send: ['store-bytes.ts', engine, 'send'], queue: ['store-bytes.ts', engine, 'queue'] },
    1,
  )
  const shown = [send, queue].map((runs) => `${count(runs.of('bytes'))} (JSON ${count(runs.of('json'))})`)
  line(engine, `settled ${shown[0]}, waiting with content ${shown[1]}`)
}
