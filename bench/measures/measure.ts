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
  const cpu = process.cpuUsage()
  const start = performance.now()
  await all(warmUp, warmUp + count, width, one)
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { rate: count / seconds, cpu: (user + system) / count }
}

async function all(from: number, to: number, width: number, one: (n: number) => Promise<unknown>): Promise<void> {
  let next = from
  const worker = async () => {
    while (next < to) await one(next++)
  }
  await Promise.all(Array.from({ length: width }, worker))
}

/** The answer of a measuring process, read by `bench/run.ts`. */
export const report = (facts: object): void => console.log(JSON.stringify(facts))
