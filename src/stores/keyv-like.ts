import { configurationError } from '../errors.ts'
import type { KeyvLike } from './keyv-records.ts'

/** Whether `createMailer({ store })` was given a Keyv rather than a store. */
export function isKeyv(store: object): store is KeyvLike {
  return !('claim' in store) && 'get' in store && 'set' in store && 'delete' in store
}

/** @throws MailError `CONFIGURATION_ERROR` for what is no Keyv, and for one that hides its failures. */
export function checkKeyv(keyv: unknown): void {
  if (typeof keyv !== 'object' || keyv === null) {
    throw configurationError('keyvStore needs a Keyv instance; a connection text is not taken.')
  }
  const missing = ['getRaw', 'set', 'delete', 'on', 'off'].filter(
    (method) => typeof (keyv as Record<string, unknown>)[method] !== 'function',
  )
  if (missing.length > 0) {
    throw configurationError(`keyvStore needs a Keyv 5.6 or 6.1; this has no ${missing.join(', ')}.`)
  }
  if ((keyv as { opts?: { emitErrors?: unknown } }).opts?.emitErrors === false) {
    throw configurationError('This Keyv has `emitErrors: false`, so it would hide its failures; leave it on.')
  }
  if (layersOf(keyv).some((layer) => (layer as { throwOnConnectError?: unknown }).throwOnConnectError === false)) {
    throw configurationError(
      'This Keyv answers as if there were nothing while its server is down (createKeyvNonBlocking or throwOnConnectError: false); use createKeyv.',
    )
  }
}

/** The Keyv, its adapter, and what that wraps in turn: Keyv 6 puts a bridge around older ones. */
export function layersOf(keyv: object): object[] {
  const found = [keyv]
  for (let layer: unknown = keyv; found.length < 4; ) {
    layer = (layer as { store?: unknown }).store
    if (typeof layer !== 'object' || layer === null) break
    found.push(layer)
  }
  return found
}
