import type { Outcome } from '../../receipt.ts'
import type { Fault, FaultKind, FaultPoint } from '../scripted-server.ts'
import type { ProviderHarness } from './harness.ts'

/** The seven points every dialect has, and the eight kinds (INVARIANTS X1). */
export const everyPoint: readonly FaultPoint[] = [
  'connect',
  'greeting',
  'login',
  'envelope',
  'midBody',
  'afterBody',
  'midAnswer',
]
export const everyKind: readonly FaultKind[] = [
  'refuse',
  'reset',
  'close',
  'stall',
  'garbage',
  '4xx',
  '5xx',
  'throttle',
]

/** The outcomes an adapter may claim after a fault without claiming to know what it cannot (INVARIANTS O1 to O3). */
export function honestOutcomes(
  harness: Pick<ProviderHarness, 'dialect' | 'outcomes'>,
  fault: Fault,
): readonly Outcome[] {
  return harness.outcomes?.(fault) ?? (harness.dialect === 'smtp' ? smtpOutcomes(fault) : httpOutcomes(fault))
}

/** A conversation: certain until the message was asked for, and again from each whole reply on. */
function smtpOutcomes({ at, kind }: Fault): readonly Outcome[] {
  const forGood = kind === 'refuse' || kind === '5xx'
  const replied = forGood || kind === '4xx' || kind === 'throttle'
  switch (at) {
    case 'envelope':
    case 'data':
      return [forGood ? 'rejected' : 'failed']
    case 'midBody':
      // A small body leaves together with its last dot.
      if (!replied) return ['failed', 'unknown']
      return [forGood ? 'rejected' : 'failed']
    case 'afterBody':
      if (!replied) return ['unknown']
      return [forGood ? 'rejected' : 'failed']
    case 'midAnswer':
      return ['unknown']
    default:
      return ['failed']
  }
}

/** One request: uncertain from its first byte on, but for whole answers that say no. */
function httpOutcomes({ at, kind }: Fault): readonly Outcome[] {
  if (at === 'midAnswer') return ['unknown']
  if (at === 'connect') return kind === 'refuse' ? ['failed'] : ['failed', 'unknown']
  switch (kind) {
    case 'refuse':
      return [at === 'login' ? 'failed' : 'rejected']
    case '4xx':
    case 'throttle':
      return ['failed']
    case '5xx':
      return [at === 'login' ? 'failed' : 'unknown']
    default:
      // Whether bytes of the request were on their way is only certain once the server has read some of them.
      return at === 'greeting' || (kind === 'stall' && at !== 'afterBody') ? ['failed', 'unknown'] : ['unknown']
  }
}
