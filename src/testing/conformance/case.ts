import type { Feature, ProviderHarness } from './harness.ts'
import type { Stage } from './stage.ts'

/** One promise of the provider contract, on a server and a provider of its own. */
export interface Case {
  readonly feature: Feature
  readonly name: string
  /** Only where hand-overs go this way; the other has no such thing. */
  readonly dialect?: ProviderHarness['dialect']
  readonly run: (stage: Stage) => Promise<void>
}
