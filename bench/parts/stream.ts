import { contest } from '../contest.ts'
import { count, fixed, heading, line } from '../print.ts'
import type { PartOptions } from './part.ts'

export async function stream(): Promise<void> {
  heading('100,000 messages through streamBatch, every policy, memory store and provider')
  const { facts } = await contest({ facts: ['stream.ts'] }, 1)
  line('rate', `${fixed(facts.of('rate'))} messages a second, ${fixed(facts.of('cpu'))} µs CPU each`)
  line(
    'memory growth',
    `${fixed(facts.of('heapGrowth'))} MB kept, ${fixed(facts.of('peakGrowth'))} MB at the highest`,
    'aim: below 100 MB',
  )
  line(
    'event loop delay',
    `p99 ${fixed(facts.of('delayP99'), 1)} ms, longest ${fixed(facts.of('delayMax'), 1)} ms`,
    'aim: p99 below 50 ms',
  )
}

/** The memory store keeps 200,000 rows by default; with more messages than that it must not grow any further. */
export async function million({ alone }: PartOptions): Promise<void> {
  const messages = alone ? 1_000_000 : 300_000
  heading(`${count(messages)} messages through streamBatch, memory store and provider as they are by default`)
  const { facts } = await contest({ facts: ['million.ts', messages] }, 1)
  line('rate', `${fixed(facts.of('rate'))} messages a second, ${fixed(facts.of('cpu'))} µs CPU each`)
  const kept = ['first', 'second', 'third', 'last'].map((quarter) => fixed(facts.of(quarter)))
  line('memory kept after each quarter', `${kept.join(', ')} MB; ${fixed(facts.of('peak'))} MB at the highest`)
  line('growth in the last quarter', `${fixed(facts.of('last') - facts.of('third'), 1)} MB`, 'aim: none')
}
