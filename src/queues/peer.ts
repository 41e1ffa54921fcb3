import { configurationError } from '../errors.ts'

/** Loads an optional peer dependency. @throws MailError `CONFIGURATION_ERROR` naming the package and how to install it. */
export async function loadPeer<T>(engine: string, name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (error) {
    const code = (error as NodeJS.ErrnoException | undefined)?.code
    const missing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND'
    const problem = missing ? 'is not installed' : `cannot be loaded${code ? ` (${code})` : ''}`
    throw configurationError(`${engine} needs the package ${name}, which ${problem}: npm install ${name}`)
  }
}
