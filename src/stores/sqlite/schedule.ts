import { isWaiting } from '../row-status.ts'
import { defaultRetention, type Row, type SettleOptions, settledStatuses } from '../store.ts'
import { rowState } from './schema.ts'
import type { StoreTime } from './time.ts'

/** What happens to a row next, and when. */
export interface Schedule {
  readonly state: number
  readonly wake: number | null
  readonly place: number | null
  readonly keptUntil: number | null
  readonly contentUntil: number | null
}

/** Of a row nobody works on: it waits for its time, or to be forgotten. `keyUntil` is null when it holds no key, `place` when it has none yet. */
export function scheduleOf(
  row: Row,
  time: StoreTime,
  { delay = 0, retention = {} }: Pick<SettleOptions, 'delay' | 'retention'>,
  keyUntil: number | null,
  place: number | null,
): Schedule {
  if (isWaiting(row)) return waiting(row, time, delay, place ?? time.stamp())
  const now = time.steady()
  const settled = settledStatuses.has(row.status)
  const keptUntil = settled ? Math.max(now + (retention.records ?? defaultRetention.records), keyUntil ?? 0) : null
  const contentUntil =
    row.work && (settled || row.status === 'unknown') ? now + (retention.content ?? defaultRetention.content) : null
  return { ...resting(keptUntil, contentUntil), place: null, keptUntil, contentUntil }
}

function waiting(row: Row, time: StoreTime, delay: number, place: number): Schedule {
  const none = { keptUntil: null, contentUntil: null }
  if (row.status === 'scheduled' && (row.dueAt ?? 0) > time.wall()) {
    return { state: rowState.scheduled, wake: row.dueAt!, place, ...none }
  }
  if (row.status === 'queued' && delay > 0) {
    return { state: rowState.delayed, wake: time.steady() + delay, place, ...none }
  }
  return { state: rowState.ready, wake: null, place, ...none }
}

/** What comes next for a row that is kept until one moment and its content until another. */
export function resting(
  keptUntil: number | null,
  contentUntil: number | null,
): { readonly state: number; readonly wake: number | null } {
  if (contentUntil !== null && (keptUntil === null || contentUntil < keptUntil)) {
    return { state: rowState.content, wake: contentUntil }
  }
  return keptUntil === null ? { state: rowState.resting, wake: null } : { state: rowState.kept, wake: keptUntil }
}

export const isWaitingState = (state: number): boolean =>
  state === rowState.ready || state === rowState.delayed || state === rowState.scheduled
