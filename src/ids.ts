import { randomFillSync } from 'node:crypto'
import type { Clock } from './clock.ts'

/** Makes message ids. Given as an option, so that tests can predict them. */
export type Ids = () => string

const poolBytes = 10 * 256

/**
 * `msg_` and a UUIDv7 (RFC 9562 §5.7): ids sort by the time they were made. Random bytes are drawn from a pool, since one
 * call to the system's generator per message costs more than all else here.
 */
export function messageIds(clock: Clock): Ids {
  const pool = new Uint8Array(poolBytes)
  let used = poolBytes
  return () => {
    if (used === poolBytes) {
      randomFillSync(pool)
      used = 0
    }
    let random = ''
    for (let i = used; i < used + 10; i++) random += (pool[i]! | 256).toString(16).slice(1)
    used += 10
    const time = Math.max(0, Math.floor(clock.now())).toString(16).padStart(12, '0')
    const variant = ((Number.parseInt(random[3]!, 16) & 3) | 8).toString(16)
    return `msg_${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${variant}${random.slice(4, 7)}-${random.slice(7, 19)}`
  }
}
