import { type Row, settledStatuses } from './store.ts'

/** Whether the row stands in the queue. */
export const isWaiting = ({ status }: Row): boolean => status === 'queued' || status === 'scheduled'

/** Whether a row whose worker vanished needs another: not when it is settled, nor when it is held as unknown. */
export const isWork = ({ status }: Row): boolean => !settledStatuses.has(status) && status !== 'unknown'
