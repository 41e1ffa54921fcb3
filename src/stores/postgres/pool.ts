import { configurationError } from '../../errors.ts'

/** As much of a `pg` Pool as the store uses. What only runs queries will do, with less command over waiting calls. */
export interface PostgresPool {
  connect?(): Promise<PostgresClient>
  query(text: string, values?: unknown[]): Promise<PostgresResult>
}

/** A client of the pool, for one call. */
export interface PostgresClient {
  query(text: string, values?: unknown[]): Promise<PostgresResult>
  /** With true, or an error, the pool closes the connection instead of keeping it. */
  release(destroy?: boolean | Error): void
  on?(event: 'error', listener: (error: Error) => void): unknown
  removeListener?(event: 'error', listener: (error: Error) => void): unknown
}

export interface PostgresResult {
  readonly rows: Record<string, unknown>[]
}

/** Runs one statement. */
export type Query = (text: string, values: readonly unknown[]) => Promise<readonly Record<string, unknown>[]>

/**
 * Calls a function of the schema, `name($1, …)`, whose first argument is a deadline and not among `values`: on a client of
 * the pool, or inside a transaction of the application.
 */
export type Call = (text: string, values: readonly unknown[]) => Promise<readonly Record<string, unknown>[]>

/** @throws MailError `CONFIGURATION_ERROR` for what is no pool. */
export function checkedPool(pool: unknown): PostgresPool {
  const { connect, query } = (typeof pool === 'object' && pool !== null ? pool : {}) as Partial<PostgresPool>
  if (typeof query === 'function' && ['function', 'undefined'].includes(typeof connect)) return pool as PostgresPool
  throw configurationError(
    'postgres({ pool }) takes a Pool of the package pg (npm install pg), as in: new Pool({ connectionString }).',
  )
}
