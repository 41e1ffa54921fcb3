import { DueList } from './due-list.ts'
import { KeyedLock } from './keyed-lock.ts'
import { layersOf } from './keyv-like.ts'

/** Who works on a row in this process. */
export interface Holder {
  readonly fence: number
  /** Monotonic. */
  until: number
  /** Whether the message was promised already, and must find its place in the queue. */
  accepted: boolean
  /** Where it stands in the queue, once it has waited there. */
  readonly sequence: number | undefined
}

/** What all stores over one Keyv share in this process, or their claims would not see each other. */
export interface KeyvShare {
  stores: number
  readonly locks: KeyedLock
  readonly holders: Map<string, Holder>
  readonly due: DueList
  lastFence: number
}

const shares = new WeakMap<object, Map<string, KeyvShare>>()

/** The share of everybody who uses the same namespace of the same adapter in this process, until the last one leaves. */
export function joinShare(keyv: object): { readonly share: KeyvShare; readonly leave: () => void } {
  const namespace = String((keyv as { namespace?: unknown }).namespace ?? '')
  const adapter = layersOf(keyv).at(-1)!
  const byNamespace = shares.get(adapter) ?? new Map<string, KeyvShare>()
  shares.set(adapter, byNamespace)
  const share = byNamespace.get(namespace) ?? {
    stores: 0,
    locks: new KeyedLock(),
    holders: new Map(),
    due: new DueList(),
    lastFence: 0,
  }
  byNamespace.set(namespace, share)
  share.stores++
  let joined = true
  return {
    share,
    leave() {
      if (joined) share.stores--
      joined = false
      if (share.stores === 0 && byNamespace.get(namespace) === share) byNamespace.delete(namespace)
    },
  }
}
