import { contest } from '../contest.ts'
import { fixed, heading, line, times } from '../print.ts'
import type { PartOptions } from './part.ts'

export async function importing({ rounds }: PartOptions): Promise<void> {
  heading('Import in a fresh process')
  const { ours, theirs } = await contest(
    { ours: ['import.ts', 'sendwright'], theirs: ['import.ts', 'nodemailer'] },
    3 * rounds,
  )
  line(
    'time',
    `${fixed(ours.of('ms'), 1)} ms to nodemailer’s ${fixed(theirs.of('ms'), 1)} ms: ${times(ours.to(theirs, 'ms'))}`,
    'aim: at most 0.5 ×',
  )
  line('memory', `${fixed(ours.of('mb'), 1)} MB to ${fixed(theirs.of('mb'), 1)} MB: ${times(ours.to(theirs, 'mb'))}`)
}
