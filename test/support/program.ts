import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

const root = join(import.meta.dirname, '../..')

export interface Program {
  readonly child: ChildProcess
  /** Everything printed so far. */
  readonly out: string
  readonly err: string
  /** Resolves with the match once `pattern` was printed; rejects when the program ends without. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  /** Resolves with the exit code when the program and its streams have ended. */
  readonly ended: Promise<number | null>
}

/** Starts a file of the repository, or any path, as a user would: `node <file> …`. What still runs ends with the test. */
export function start(
  test: TestContext,
  file: string,
  env: Record<string, string> = {},
  args: readonly string[] = [],
  cwd: string = root,
): Program {
  const { FORCE_COLOR: _color, NODE_TEST_CONTEXT: _context, ...inherited } = process.env
  const child = spawn(process.execPath, [file, ...args], { cwd, env: { ...inherited, ...env } })
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    out += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    err += chunk
  })
  const ended = once(child, 'close').then(([code]) => code as number | null)
  test.after(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return {
    child,
    get out() {
      return out
    },
    get err() {
      return err
    },
    ended,
    async printed(pattern) {
      for (;;) {
        const match = pattern.exec(out)
        if (match) return match
        const data = once(child.stdout, 'data')
        const end = ended.then((code) => {
          throw new Error(`${file} ended with ${code} and did not print ${pattern}\n${out}\n${err}`)
        })
        await Promise.race([data, end])
      }
    },
  }
}
