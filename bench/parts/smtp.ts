import { fork } from 'node:child_process'
import { once } from 'node:events'
import { contest } from '../contest.ts'
import { fixed, heading, line, times } from '../print.ts'
import type { PartOptions } from './part.ts'

export async function smtp({ rounds }: PartOptions): Promise<void> {
  heading('SMTP, five connections to a sink in another process, against nodemailer’s pool')
  const sink = fork(`${import.meta.dirname}/../measures/sink.ts`, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  const [printed] = (await once(sink.stdout!, 'data')) as [Buffer]
  const port = String(printed).trim()
  for (const size of ['small', 'typical']) {
    const { ours, theirs } = await contest(
      { ours: ['smtp.ts', 'sendwright', size, port], theirs: ['smtp.ts', 'nodemailer', size, port] },
      rounds,
    )
    line(
      `${size}, messages a second`,
      `${fixed(ours.of('rate'))} to ${fixed(theirs.of('rate'))}: ${times(ours.to(theirs, 'rate'))}`,
      'aim: at least 1 ×',
    )
    line(
      `${size}, messages a CPU second`,
      `${fixed(ours.of('cpu'))} µs to ${fixed(theirs.of('cpu'))} µs each: ${times(theirs.to(ours, 'cpu'))}`,
    )
  }
  sink.disconnect()
}
