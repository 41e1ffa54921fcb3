/**
 * `npm run bench`: ratios against nodemailer, BullMQ and the bare engines under the stores, measured in one run on one
 * machine. Each measurement is a fresh process and the contestants take turns, so that a busy neighbour troubles both;
 * figures are medians over the rounds, and a ratio is the median of the rounds' ratios.
 *
 *     npm run bench                 everything
 *     npm run bench -- smtp 5       one part, five rounds
 *     npm run bench -- million      one part at its full length
 */
import { importing } from './parts/import.ts'
import type { PartOptions } from './parts/part.ts'
import { pipeline } from './parts/pipeline.ts'
import { queue } from './parts/queue.ts'
import { smtp } from './parts/smtp.ts'
import { stores } from './parts/stores.ts'
import { million, stream } from './parts/stream.ts'

const parts: Readonly<Record<string, (options: PartOptions) => Promise<void>>> = {
  pipeline,
  smtp,
  stream,
  stores,
  queue,
  million,
  import: importing,
}

const [chosen, given] = process.argv.slice(2)
const rounds = Number(given ?? 3)
const wanted = Object.entries(parts).filter(([name]) => chosen === undefined || name === chosen)
if (wanted.length === 0) throw new RangeError(`there is no part ${chosen}; there are ${Object.keys(parts).join(', ')}`)
console.log(`Node ${process.version}, ${rounds} rounds; absolute figures are this machine’s, ratios travel`)
for (const [, part] of wanted) await part({ rounds, alone: chosen !== undefined })
