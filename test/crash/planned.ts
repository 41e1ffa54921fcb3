import { failover, type SendOptions } from '../../src/index.ts'
import type { Fault } from '../../src/testing/scripted-server.ts'
import { Chance } from './chance.ts'

/** What a message meets: nothing, a busy mailbox, a refusal, one busy mailbox of two, or a time it waits for. */
export type Fate = 'plain' | 'busy' | 'refused' | 'partly' | 'later'

/** One message of a run, the same in every process that sends it. */
export interface Planned {
  readonly verb: 'send' | 'enqueue'
  readonly fate: Fate
  readonly subject: string
  readonly key?: string
  readonly message: {
    readonly to: readonly string[]
    readonly subject: string
    readonly text: string
    readonly headers: Readonly<Record<string, string>>
  }
  readonly options: SendOptions
}

const fates: readonly Fate[] = [
  ...Array<Fate>(12).fill('plain'),
  'busy',
  'busy',
  'busy',
  'refused',
  'partly',
  'later',
  'later',
]

/** Message `number` of the run, with a key that every process knows. */
export function planned(seed: number, number: number): Planned {
  const chance = new Chance(seed, 'message', number)
  const key = `key-${seed}-${number}`
  return plan(chance, `message ${number}`, chance.pick(fates), key)
}

/** Of a message with a key. */
export const numberOf = (subject: string): number => Number(subject.split(' ')[1])

/** A message that only one process sends, without a key. */
export const single = (seed: number, process: string, number: number): Planned =>
  plan(new Chance(seed, process, number), `single ${process} ${number}`, 'plain')

function plan(chance: Chance, subject: string, fate: Fate, key?: string): Planned {
  const name = subject.replaceAll(' ', '-')
  const to =
    fate === 'partly' ? [`first-${name}@example.com`, `busy-${name}@example.com`] : [`${fate}-${name}@example.com`]
  const verb = fate === 'later' || chance.is(0.5) ? 'enqueue' : 'send'
  return {
    verb,
    fate,
    subject,
    ...(key === undefined ? {} : { key }),
    message: { to, subject, text: `This is ${subject}.`, headers: key === undefined ? {} : { 'X-Key': key } },
    options: {
      route: chance.is(0.5) ? failover('a', 'b') : failover('b', 'a'),
      ...(key === undefined ? {} : { idempotencyKey: key }),
    },
  }
}

/** What server `a` has to be told so that the message meets its fate there. */
export function faultsOf({ fate, message: { to } }: Planned): Fault[] {
  const recipient = to.at(-1)!
  if (fate === 'busy' || fate === 'partly') return [{ at: 'envelope', kind: '4xx', recipient, times: 2 }]
  return fate === 'refused' ? [{ at: 'envelope', kind: '5xx', recipient, times: Number.POSITIVE_INFINITY }] : []
}
