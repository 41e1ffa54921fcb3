/**
 * `npm run bench`: ratios against nodemailer, measured in one run on one machine. Each measurement is a fresh process and
 * the contestants take turns, so that a busy neighbour troubles both; figures are medians over the rounds.
 *
 *     npm run bench                 everything, about a minute
 *     npm run bench -- smtp 5       one part, five rounds
 */
import { execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'

type Facts = Record<string, number>
type Part = 'pipeline' | 'smtp' | 'stream' | 'import'

const all: readonly Part[] = ['pipeline', 'smtp', 'stream', 'import']
const [chosen, given] = process.argv.slice(2)
const rounds = Number(given ?? 3)
const run = promisify(execFile)
const measures = `${import.meta.dirname}/measures`

/** Runs each command line once a round, in turn; answers the median of every fact, in the order given. */
async function medians(lines: readonly (readonly string[])[], times = rounds): Promise<Facts[]> {
  const found: Facts[][] = lines.map(() => [])
  for (let round = 0; round < times; round++) {
    for (const [index, [file, ...args]] of lines.entries()) {
      const { stdout } = await run(process.execPath, ['--expose-gc', `${measures}/${file}`, ...args])
      found[index]?.push(JSON.parse(stdout))
    }
  }
  return found.map((runs) =>
    Object.fromEntries(Object.keys(runs[0] ?? {}).map((name) => [name, median(runs.map((facts) => facts[name] ?? 0))])),
  )
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

const fixed = (value: number | undefined, digits = 0): string => (value ?? 0).toFixed(digits)
const ratio = (ours: number | undefined, theirs: number | undefined): string =>
  `${fixed((ours ?? 0) / (theirs ?? 1), 2)} ×`
const line = (what: string, figures: string, aim = ''): void =>
  console.log(`  ${what.padEnd(44)} ${figures.padEnd(46)} ${aim}`)

const parts: Record<Part, () => Promise<void>> = {
  async pipeline() {
    console.log('\nThe whole pipeline to the memory provider, CPU a message')
    for (const size of ['small', 'typical']) {
      const kinds = ['policies', 'bare', 'nodemailer'] as const
      const [full, bare, theirs] = await medians(kinds.map((kind) => ['pipeline.ts', size, kind]))
      line(`${size}, every policy`, `${fixed(full?.cpu)} µs`, 'aim: below 60 µs')
      line(`${size}, no policy set`, `${fixed(bare?.cpu)} µs`)
      line(
        `${size}, nodemailer’s jsonTransport`,
        `${fixed(theirs?.cpu)} µs; ours with policies ${ratio(full?.cpu, theirs?.cpu)}`,
      )
    }
  },

  async smtp() {
    console.log('\nSMTP, five connections to a sink in another process, against nodemailer’s pool')
    const sink = fork(`${measures}/sink.ts`, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
    const [port] = (await once(sink.stdout!, 'data')) as [Buffer]
    for (const size of ['small', 'typical']) {
      const kinds = ['sendwright', 'nodemailer'] as const
      const [ours, theirs] = await medians(kinds.map((kind) => ['smtp.ts', kind, size, String(port).trim()]))
      line(
        `${size}, messages a second`,
        `${fixed(ours?.rate)} to ${fixed(theirs?.rate)}: ${ratio(ours?.rate, theirs?.rate)}`,
        'aim: at least 1 ×',
      )
      line(
        `${size}, messages a CPU second`,
        `${fixed(ours?.cpu)} µs to ${fixed(theirs?.cpu)} µs each: ${ratio(theirs?.cpu, ours?.cpu)}`,
      )
    }
    sink.disconnect()
  },

  async stream() {
    console.log('\n100,000 messages through streamBatch, every policy, memory store and provider')
    const [facts] = await medians([['stream.ts']], 1)
    line('rate', `${fixed(facts?.rate)} messages a second, ${fixed(facts?.cpu)} µs CPU each`)
    line(
      'memory growth',
      `${fixed(facts?.heapGrowth)} MB kept, ${fixed(facts?.peakGrowth)} MB at the highest`,
      'aim: below 100 MB',
    )
    line(
      'event loop delay',
      `p99 ${fixed(facts?.delayP99, 1)} ms, longest ${fixed(facts?.delayMax, 1)} ms`,
      'aim: p99 below 50 ms',
    )
  },

  async import() {
    console.log('\nImport in a fresh process')
    const [ours, theirs] = await medians(
      [
        ['import.ts', 'sendwright'],
        ['import.ts', 'nodemailer'],
      ],
      3 * rounds,
    )
    line(
      'time',
      `${fixed(ours?.ms, 1)} ms to nodemailer’s ${fixed(theirs?.ms, 1)} ms: ${ratio(ours?.ms, theirs?.ms)}`,
      'aim: at most 0.5 ×',
    )
    line('memory', `${fixed(ours?.mb, 1)} MB to ${fixed(theirs?.mb, 1)} MB: ${ratio(ours?.mb, theirs?.mb)}`)
  },
}

console.log(`Node ${process.version}, ${rounds} rounds; absolute figures are this machine’s, ratios travel`)
const wanted = all.filter((part) => chosen === undefined || part === chosen)
if (wanted.length === 0) throw new RangeError(`there is no part ${chosen}; there are ${all.join(', ')}`)
for (const part of wanted) await parts[part]()
