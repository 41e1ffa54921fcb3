import { describeProvider, type ProviderHarness } from '../../src/testing/describe-provider.ts'

export interface Collected {
  readonly feature: string
  readonly name: string
  run(): Promise<void>
}

/** A runner that runs nothing: the cases `describeProvider` declares, to be run one by one. */
export function collect(harness: Omit<ProviderHarness, 'describe' | 'it'>): Collected[] {
  const cases: Collected[] = []
  const path: string[] = []
  describeProvider('collected', {
    ...harness,
    describe(name, body) {
      path.push(name)
      body()
      path.pop()
    },
    it: (name, run) => void cases.push({ feature: path.at(-1) ?? '', name, run }),
  })
  return cases
}

/** Runs those whose feature and name fit, and answers why each failed that did. */
export async function failuresOf(cases: readonly Collected[]): Promise<Map<string, unknown>> {
  const failures = new Map<string, unknown>()
  for (const { feature, name, run } of cases) {
    await run().catch((error: unknown) => failures.set(`${feature}: ${name}`, error))
  }
  return failures
}
