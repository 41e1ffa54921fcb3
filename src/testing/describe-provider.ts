import { configurationError } from '../errors.ts'
import { bulkCases } from './conformance/bulk-cases.ts'
import type { Case } from './conformance/case.ts'
import { faultCases } from './conformance/fault-cases.ts'
import type { Feature, ProviderHarness } from './conformance/harness.ts'
import { lifeCases } from './conformance/life-cases.ts'
import { limitCases } from './conformance/limit-cases.ts'
import { mailerCases } from './conformance/mailer-cases.ts'
import { messageCases } from './conformance/message-cases.ts'
import { recipientCases } from './conformance/recipient-cases.ts'
import { Stage } from './conformance/stage.ts'

export type { Feature, ProviderHarness, Skip } from './conformance/harness.ts'

/**
 * Holds a provider to its contract: every case runs against the adapter and a real server of its dialect, and is judged by
 * what that server took. Declares one `describe` per feature with one `it` per case through the functions of the harness;
 * it depends on no test runner. Reading what a server took needs the package `postal-mime`.
 *
 * @throws MailError `CONFIGURATION_ERROR` for a skip without a reason or of an unknown feature.
 */
export function describeProvider(name: string, harness: ProviderHarness): void {
  const features = Map.groupBy(casesOf(harness), ({ feature }) => feature)
  checkSkips(harness, features)
  harness.describe(`the provider contract: ${name}`, () => {
    for (const [feature, cases] of features) {
      const skip = harness.skips?.[feature]
      harness.describe(feature, () => {
        if (skip) harness.it(`left out: ${skip.reason}; what happens instead`, () => skip.instead())
        else for (const { name, run } of cases) harness.it(name, () => Stage.play(harness, run))
      })
    }
  })
}

function casesOf(harness: ProviderHarness): Case[] {
  return [
    ...messageCases,
    ...recipientCases,
    ...limitCases,
    ...faultCases(harness),
    ...lifeCases,
    ...bulkCases,
    ...mailerCases(harness),
  ].filter(({ dialect = harness.dialect }) => dialect === harness.dialect)
}

function checkSkips({ skips = {} }: ProviderHarness, features: ReadonlyMap<Feature, unknown>): void {
  for (const [feature, skip] of Object.entries(skips)) {
    if (!features.has(feature as Feature)) {
      throw configurationError(
        `describeProvider: skips.${feature} is no feature; there are ${[...features.keys()].join(', ')}`,
      )
    }
    if (typeof skip?.reason !== 'string' || skip.reason.trim() === '' || typeof skip.instead !== 'function') {
      throw configurationError(`describeProvider: skips.${feature} needs a reason, and a test of what happens instead`)
    }
  }
}
