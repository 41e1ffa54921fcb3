import type { MailStore } from '../../src/index.ts'
import { served } from './served-store.ts'

/** Where a store is, as plain JSON, so that every process of a test opens the same one. */
export type Ground =
  | { readonly engine: 'served'; readonly port: number }
  | { readonly engine: 'sqlite'; readonly path: string }
  | { readonly engine: 'redis'; readonly url: string; readonly prefix: string }
  | { readonly engine: 'postgres'; readonly url: string; readonly schema: string }

export interface OpenStore {
  readonly store: MailStore
  /** Closes the connections the store was given; the store itself is its mailer's to close. */
  free(): Promise<void>
}

export async function open(ground: Ground): Promise<OpenStore> {
  switch (ground.engine) {
    case 'served':
      return { store: await served(ground.port), free: async () => undefined }
    default:
      throw new Error(`no ${ground.engine} yet`)
  }
}
