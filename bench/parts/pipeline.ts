import { contest } from '../contest.ts'
import { fixed, heading, line, times } from '../print.ts'
import type { PartOptions } from './part.ts'

export async function pipeline({ rounds }: PartOptions): Promise<void> {
  heading('The whole pipeline to the memory provider, CPU a message')
  for (const size of ['small', 'typical']) {
    const { full, bare, theirs } = await contest(
      {
        full: ['pipeline.ts', size, 'policies'],
        bare: ['pipeline.ts', size, 'bare'],
        theirs: ['pipeline.ts', size, 'nodemailer'],
      },
      rounds,
    )
    line(`${size}, every policy`, `${fixed(full.of('cpu'))} µs`, 'aim: below 60 µs')
    line(`${size}, no policy set`, `${fixed(bare.of('cpu'))} µs`)
    line(
      `${size}, nodemailer’s jsonTransport`,
      `${fixed(theirs.of('cpu'))} µs; ours with policies ${times(full.to(theirs, 'cpu'))}`,
    )
  }
}
