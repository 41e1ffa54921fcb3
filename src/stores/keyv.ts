import { configurationError } from '../errors.ts'
import type { MailStore } from './store.ts'

/** The part of a Keyv (5.6 or 6.1) that is used. */
export interface KeyvLike {
  get(key: string): Promise<unknown>
  set(key: string, value: unknown, ttl?: number): Promise<unknown>
  delete(key: string): Promise<unknown>
}

export function isKeyv(store: object): store is KeyvLike {
  return !('claim' in store) && 'get' in store && 'set' in store && 'delete' in store
}

export function keyvStore(_keyv: KeyvLike): MailStore {
  throw configurationError('A Keyv is not taken yet.')
}
