import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Mailer } from '../../src/index.ts'
import { createSmtpServer, type ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'
import type { Engine } from './engines.ts'
import { drain, noted, readAll } from './finish.ts'
import { Gate } from './gate.ts'
import { open, prepare } from './ground.ts'
import type { Call, History } from './history.ts'
import { readCalls } from './journal.ts'
import { compileCache, Mortal } from './mortal.ts'
import type { Ending, Flow, Point } from './points.ts'
import type { Orders } from './programs/point.ts'
import { mailerOn, onlyMessage } from './scenario.ts'

export interface Death {
  readonly history: History
  /** How it ended, in the words of the point. */
  readonly ending: Ending
  /** What a repeat came to once an operator had told how it really was; absent when nothing was unknown. */
  readonly afterResolve?: string
}

/** Starting a process takes most of a processor. */
const starting = new Gate(3)

/**
 * Lets a process die at the point, and a fresh mailer on the same store find what it left: repeats the call if it had a
 * key, works until nothing waits, resolves what is unknown, and repeats it once more.
 */
export async function dieAt(point: Point, engine: Engine, folder: string, number: number): Promise<Death> {
  const ground = await engine.newGround()
  const posts = { a: await createSmtpServer(), b: await createSmtpServer() }
  const servers = { a: posts.a.url, b: posts.b.url }
  const journal = join(folder, `${engine.name}-${number}.jsonl`)
  writeFileSync(journal, '')
  const { store, free } = await open(ground)
  const mailer = mailerOn(store, servers)
  const { flow } = point
  try {
    const first = await starting.pass(async () => {
      await prepare(ground)
      const worked = flow.does === 'work' ? [await call(mailer, flow, 'first', 2_500)] : []
      script(point, posts)
      await die(point, posts, { ground, servers, journal, flow, death: point.death })
      return worked
    })
    const repeat = flow.keyed && flow.does !== 'work' ? await call(mailer, flow, 'repeat') : undefined
    await drain(mailer)
    const calls = [...first, ...readCalls(journal, 'dead'), ...(repeat ? [repeat] : [])]
    const facts = { refused: new Set<string>(), storeFailed: false }
    const history = { ...(await readAll(mailer, posts, calls)), ...facts }
    const again = history.held.length > 0 && flow.keyed ? await call(mailer, flow, 'last') : undefined
    return {
      history,
      ending: {
        taken: history.taken.length as 0 | 1,
        ledger: history.ledger.map(({ status }) => status).sort(),
        ...(repeat ? { repeat: inWords(repeat) } : {}),
      },
      ...(again ? { afterResolve: inWords(again) } : {}),
    }
  } finally {
    await mailer.close()
    await free()
    await Promise.all([posts.a.close(), posts.b.close()])
  }
}

/** Makes the servers busy, or stops them where the process is to die. */
function script({ flow, death }: Point, { a, b }: Posts): void {
  if (flow.busy) a.fail({ at: 'envelope', kind: '4xx' })
  if ('server' in death) (flow.busy ? b : a).fail({ at: death.server, kind: 'stall' })
}

async function die({ flow, death }: Point, { a, b }: Posts, orders: Orders): Promise<void> {
  const mortal = new Mortal('point.ts', { POINT: JSON.stringify(orders), ...compileCache })
  if ('server' in death) {
    const { at } = await Promise.race([(flow.busy ? b : a).struck(), mortal.death.then(() => ({ at: 'nothing' }))])
    if (at !== death.server) throw new Error('the process died before its message reached the server')
    mortal.kill()
  }
  const { how, stderr } = await mortal.death
  if (how !== 'killed') throw new Error(`the process never came to the point where it was to die: ${stderr}`)
}

/** Waits for what a dead process may still hold, unless it has less time. */
async function call(mailer: Mailer, flow: Flow, process: string, timeout = 20_000): Promise<Call> {
  const { facts, message, options } = onlyMessage(flow)
  return noted({ process, ...facts }, () => mailer[facts.verb](message, { ...options, timeout }))
}

const inWords = ({ receipt, error }: Call): string =>
  error?.code ?? `${receipt!.replayed ? 'replayed ' : ''}${receipt!.status}`

type Posts = Readonly<Record<'a' | 'b', ScriptedSmtpServer>>
