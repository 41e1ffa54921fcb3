import type { Clock } from './clock.ts'
import { Ledger } from './ledger/ledger.ts'
import { createMessageReader, type MessageReader } from './message/reader.ts'
import { InFlight } from './policies/in-flight.ts'
import { NearLimits } from './policies/near-limit.ts'
import { checkedEngine } from './queues/checked-engine.ts'
import type { Settings } from './settings.ts'
import { checkedStore } from './stores/checked.ts'
import { keyvStore } from './stores/keyv.ts'
import { isKeyv } from './stores/keyv-like.ts'
import { memory } from './stores/memory.ts'
import type { MailStore } from './stores/store.ts'

/** What a mailer works with: built once, on first need, and shared by everything it does. */
export interface Parts extends Settings {
  readonly store: MailStore
  readonly ledger: Ledger
  /** What limits of providers count for hand-overs under way. */
  readonly inFlight: InFlight
  readonly near: NearLimits
  readonly read: MessageReader
}

export function partsOf(settings: Settings): Parts {
  const { clock, events, idempotencyTtl, retention, timeout } = settings
  const store = checkedStore(storeOf(settings.givenStore, clock), clock)
  const ledger = new Ledger({ store, clock, events, idempotencyTtl, retention, timeout })
  return {
    ...settings,
    store,
    engine: settings.engine && checkedEngine(settings.engine, clock),
    ledger,
    inFlight: new InFlight({ store, clock, warn: (error) => ledger.warn(error) }),
    near: new NearLimits(events),
    read: createMessageReader(settings.reading),
  }
}

function storeOf(given: Settings['givenStore'], clock: Clock): MailStore {
  if (given === undefined) return memory({ clock })
  return isKeyv(given) ? keyvStore(given, { clock }) : given
}
