import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { MailError, type Receipt } from '../../src/index.ts'
import type { Call } from './history.ts'

/** A process's own account of its calls: written before and after each, so that it survives whatever kills the process. */
export class Journal {
  readonly #file: number
  #calls = 0

  constructor(path: string) {
    this.#file = openSync(path, 'a')
  }

  /** Notes the call, makes it, and notes how it ended. Answers the receipt, or undefined when the call was refused. */
  async call(
    facts: Omit<Call, 'process' | 'receipt' | 'error'>,
    make: () => Promise<Receipt>,
  ): Promise<Receipt | undefined> {
    const number = ++this.#calls
    this.note({ number, call: facts })
    try {
      const receipt = await make()
      this.note({ number, receipt })
      return receipt
    } catch (error) {
      const told =
        error instanceof MailError
          ? { code: error.code, ...(error.id === undefined ? {} : { id: error.id }) }
          : { code: String(error) }
      this.note({ number, error: told })
      return undefined
    }
  }

  note(line: object): void {
    writeSync(this.#file, `${JSON.stringify(line)}\n`)
  }

  close(): void {
    closeSync(this.#file)
  }
}

type Line = { readonly number?: number; readonly call?: Omit<Call, 'process'> } & Pick<Call, 'receipt' | 'error'>

/** What a process noted, the last line cut short by its death or not. */
export function readCalls(path: string, process: string): Call[] {
  const calls = new Map<number, Call>()
  for (const text of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
    const { number, call, ...end } = JSON.parse(text) as Line
    if (number === undefined) continue
    calls.set(number, { ...calls.get(number)!, ...call, ...end, process })
  }
  return [...calls.values()]
}
