import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Life } from './programs/load.ts'

/** A process from its start to its death, by whatever hand. */
export class Mortal {
  readonly #child: ChildProcess
  /** Resolves when it has begun to work, or has died before. */
  readonly ready: Promise<void>
  /** Resolves with what it complained of when it is dead; a process that was not killed has an error. */
  readonly death: Promise<{ readonly killed: boolean; readonly stderr: string }>

  #said = 0
  #hearing: { readonly said: number; readonly heard: () => void }[] = []

  constructor(program: string, env: Readonly<Record<string, string>>) {
    const { NODE_TEST_CONTEXT: _, FORCE_COLOR: __, ...inherited } = process.env
    this.#child = spawn(process.execPath, [join(import.meta.dirname, 'programs', program)], {
      env: { ...inherited, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    // Also one that is paused, and so cannot see that whoever started it is gone.
    const atExit = () => this.kill()
    process.once('exit', atExit)
    let stderr = ''
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    this.death = once(this.#child, 'close').then(([, signal]) => {
      process.off('exit', atExit)
      return { killed: signal === 'SIGKILL', stderr }
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
