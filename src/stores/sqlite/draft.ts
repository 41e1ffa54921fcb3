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

/**
 * Knows which content is stored under which fence, so that a change of status neither encodes nor writes it again:
 * it may hold megabytes of attachments. Rows are never changed in place, so the same object is the same content.
 */
export class Drafts {
  readonly #stored = new WeakMap<QueuedWork, { readonly id: string; readonly fence: number }>()

  of(row: Row, fence?: number): Draft {
    const { work, ...rest } = row
    const stored = work && this.#stored.get(work)
    const unchanged = stored !== undefined && stored.id === row.id && stored.fence === fence
    const { body, content = null } = recordOfRow(unchanged ? rest : row)
    return { row, body, content: unchanged ? undefined : content, labels: labelsChecksum(row) }
  }

  /** To be told once it is committed. */
  remember({ id, work }: Row, fence: number): void {
    if (work) this.#stored.set(work, { id, fence })
  }
}
