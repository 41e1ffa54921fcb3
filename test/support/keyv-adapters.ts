import KeyvPostgres from '@keyv/postgres'
import KeyvRedis from '@keyv/redis'
import KeyvValkey from '@keyv/valkey'
import Keyv from 'keyv'
import Keyv6 from 'keyv6'
import type { KeyvLike } from '../../src/stores/keyv-records.ts'
import { sqlite } from '../../src/stores/sqlite.ts'

/** The adapters whose client is reached; each takes the address of its server, or the path of its file. */
export const adapters = {
  '@keyv/redis': (url: string): object => new KeyvRedis(url),
  '@keyv/valkey': (url: string): object => new KeyvValkey(url),
  '@keyv/postgres': (uri: string): object => new KeyvPostgres({ uri, table: keyvTable }),
  sqlite: (path: string): object => sqlite(path),
}

export type AdapterName = keyof typeof adapters

/** The table that `@keyv/postgres` makes, in the schema `public`. */
export const keyvTable = process.env.PG_KEYV_TABLE ?? `test_keyv_${process.pid}`

export type AnyKeyv = KeyvLike & {
  disconnect(): Promise<void>
  listeners?(event: string): readonly unknown[]
}

/** Both versions, on the same adapters; Keyv 6 puts its bridge around them. */
export const versions = {
  'keyv 5.6': (store: object, namespace?: string): AnyKeyv =>
    new Keyv({ store, ...(namespace === undefined ? {} : { namespace }) }),
  'keyv 6.1': (store: object, namespace?: string): AnyKeyv =>
    new Keyv6({ store, ...(namespace === undefined ? {} : { namespace }) }),
}

export type VersionName = keyof typeof versions
