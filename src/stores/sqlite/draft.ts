import { recordOfRow } from '../row-record.ts'
import type { QueuedWork, Row } from '../store.ts'
import { labelsChecksum } from './labels.ts'

/** A row ready to be written. */
export interface Draft {
  readonly row: Row
  readonly body: string
  /** Null for none, undefined when what is stored is still right. */
  readonly content: string | null | undefined
  readonly labels: number | null
}

interface HeldContent {
  readonly fence: number
  readonly work: WeakRef<QueuedWork>
}

/** Rows that were lost to others are forgotten only in this way. */
const mostHeld = 10_000

/**
 * Knows which content is stored of the rows this process holds, so that a change of status neither encodes nor writes it
 * again: it may hold megabytes of attachments. Rows are never changed in place, so the same object is the same content.
 */
export class Drafts {
  readonly #held = new Map<string, HeldContent>()

  of(row: Row, fence?: number): Draft {
    const { work, ...rest } = row
    const held = this.#held.get(row.id)
    const unchanged = work !== undefined && held?.fence === fence && held?.work.deref() === work
    const { body, content = null } = recordOfRow(unchanged ? rest : row)
    return { row, body, content: unchanged ? undefined : content, labels: labelsChecksum(row) }
  }

  /** To be told once it is committed: what the file holds of the row, for as long as this fence does. */
  remember({ id, work }: Row, fence: number): void {
    this.#held.delete(id)
    if (!work) return
    this.#held.set(id, { fence, work: new WeakRef(work) })
    if (this.#held.size > mostHeld) this.#held.delete(this.#held.keys().next().value!)
  }

  forget(id: string): void {
    this.#held.delete(id)
  }
}
