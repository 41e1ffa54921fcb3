import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Life } from './programs/load.ts'

const alive = new Set<Mortal>()
// Also those that are paused, and so cannot see that whoever started them is gone.
process.on('exit', () => {
  for (const mortal of alive) mortal.kill()
})

/** A process from its start to its death, by whatever hand. */
export class Mortal {
  readonly #child: ChildProcess
  /** Resolves when it has begun to work, or has died before. */
  readonly ready: Promise<void>
  /** Resolves when it is dead: how it ended, and what it complained of. */
  readonly death: Promise<{ readonly how: 'killed' | 'ended' | 'failed'; readonly stderr: string }>

  #said = 0
  #hearing: { readonly said: number; readonly heard: () => void }[] = []

  constructor(program: string, env: Readonly<Record<string, string>>) {
    const { NODE_TEST_CONTEXT: _, FORCE_COLOR: __, ...inherited } = process.env
    this.#child = spawn(process.execPath, [join(import.meta.dirname, 'programs', program)], {
      env: { ...inherited, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    alive.add(this)
    let stderr = ''
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    this.death = once(this.#child, 'close').then(([code, signal]) => {
      alive.delete(this)
      return { how: signal === 'SIGKILL' ? 'killed' : code === 0 ? 'ended' : 'failed', stderr }
    })
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text.split('\n').length - 1
      for (const { said, heard } of this.#hearing) if (said <= this.#said) heard()
    })
    this.ready = this.lines(1)
  }

  /** Resolves when it has printed so many lines, or is dead. */
  async lines(said: number): Promise<void> {
    await Promise.race([new Promise<void>((heard) => this.#hearing.push({ said, heard })), this.death])
  }

  /** Resolves when it has ended by itself. @throws Error when it failed or was killed, with what it complained of. */
  async ended(): Promise<void> {
    const { how, stderr } = await this.death
    if (how !== 'ended') throw new Error(`the process ${how}: ${stderr}`)
  }

  tell(line: string): void {
    this.#child.stdin!.write(`${line}\n`)
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** Stops it in the middle of whatever it does, for `ms`. */
  pause(ms: number): void {
    this.#child.kill('SIGSTOP')
    setTimeout(() => this.#child.kill('SIGCONT'), ms).unref()
  }
}

/** Halves what the start of a process costs. */
export const compileCache = { NODE_COMPILE_CACHE: join(tmpdir(), 'sendwright-compile-cache') }

export const startLife = (life: Life): Mortal => new Mortal('load.ts', { ...compileCache, LIFE: JSON.stringify(life) })
