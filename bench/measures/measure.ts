/** What one run of something cost this process. */
export interface Cost {
  /** Per second of wall time. */
  readonly rate: number
  /** Microseconds of CPU each: all threads of this process, garbage collection included. */
  readonly cpu: number
}

/** Does `one` for 0 … count - 1, `width` at a time, after half as many to warm up. */
export async function measure(count: number, width: number, one: (n: number) => Promise<unknown>): Promise<Cost> {
  const warmUp = Math.ceil(count / 2)
  await all(0, warmUp, width, one)
  const started = begin()
  await all(warmUp, warmUp + count, width, one)
  return started.cost(count)
}

/**
 * Does `one` for 0, 1, 2 …, `width` at a time, for `ms` milliseconds, after half as long to warm up: for contestants whose
 * speeds are far apart. `each` is how many of what is counted one call does.
 */
export async function measureFor(
  ms: number,
  width: number,
  one: (n: number) => Promise<unknown>,
  each = 1,
): Promise<Cost & { readonly count: number }> {
  let next = 0
  const during = async (length: number): Promise<number> => {
    const first = next
    const end = performance.now() + length
    await all(0, width, width, async () => {
      do await one(next++)
      while (performance.now() < end)
    })
    return (next - first) * each
  }
  // The first call opens what there is to open.
  await one(next++)
  await during(ms / 2)
  const started = begin()
  const count = await during(ms)
  return { ...started.cost(count), count }
}

/** Does `one` for from … to - 1, `width` at a time. */
export async function all(
  from: number,
  to: number,
  width: number,
  one: (n: number) => Promise<unknown>,
): Promise<void> {
  let next = from
  const worker = async () => {
    while (next < to) await one(next++)
  }
  await Promise.all(Array.from({ length: width }, worker))
}

/** Starts the clocks. */
export function begin(): { cost(count: number): Cost } {
  const cpu = process.cpuUsage()
  const start = performance.now()
  return {
    cost(count) {
      const seconds = (performance.now() - start) / 1000
      const { user, system } = process.cpuUsage(cpu)
      return { rate: count / seconds, cpu: (user + system) / count }
    },
  }
}

/** Bytes the heap and what hangs on it hold after a garbage collection, when the process runs with --expose-gc. */
export function heap(): number {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** NaN of no values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** The answer of a measuring process, read by `bench/run.ts`. */
export const report = (facts: object): void => console.log(JSON.stringify(facts))
