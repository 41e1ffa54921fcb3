import { MailError } from '../../src/provider.ts'

/** Loads something once, at first need; a failed load is tried again at the next. */
export function lazy<T>(load: () => Promise<T>): () => Promise<T> {
  let loading: Promise<T> | undefined
  return () => {
    loading ??= load().catch((error) => {
      loading = undefined
      throw error
    })
    return loading
  }
}

/**
 * Imports an optional peer dependency. A missing one rejects with a `MailError` that names the package and the command to
 * install it: nothing was sent, and another provider may be tried.
 */
export async function loadPeer<T>(provider: string, name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (error) {
    const code = (error as NodeJS.ErrnoException | undefined)?.code
    const missing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND'
    const problem = missing ? 'is not installed' : `cannot be loaded${code ? ` (${code})` : ''}`
    // Not `handOverError`: it would take the package's name for an address.
    throw new MailError('SEND_FAILED', `${provider} needs the package ${name}, which ${problem}: npm install ${name}`, {
      outcome: 'failed',
      kind: 'configuration',
      retryable: false,
    })
  }
}
