import { configurationError, MailError } from '../../errors.ts'

/** Raised by our functions when a call arrives, or would end, after its deadline; the detail is the server's time. */
export const lateCode = 'SW001'
/** Raised by a migration that meets a newer store. */
export const newerCode = 'SW002'

/** What the codes that an operator meets mean, and what to do. The rest is told by the code alone. */
const causes: Readonly<Record<string, string>> = {
  '40001': 'a serialization failure',
  '40P01': 'a deadlock',
  '55P03': 'a lock that others hold too long',
  '53300': 'too many connections; raise max_connections or make the pools smaller',
  '53100': 'a full disk',
  '53200': 'want of memory',
  '25006': 'a server that is read-only; connect to the primary',
  '57P01': 'a connection the server ended',
  '57P02': 'a server that crashed',
  '57P03': 'a server that is not ready',
  '57014': 'a query that was cancelled; statement_timeout may be too short',
  '25P03': 'a transaction that was idle too long',
  '28P01': 'a refused login; check user and password',
  '28000': 'a refused login; check user and pg_hba.conf',
  '3D000': 'a database that does not exist',
  [lateCode]: 'a call that came too late; nothing was written',
}

/** Codes of a schema that is not what we left: dropped, or changed by another release. */
const missing: ReadonlySet<string> = new Set(['42883', '42P01', '42703', '3F000', '42704'])

/** PostgreSQL's own code of an error; undefined for one of the network or the driver. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}

/** Whether the connection is of no use any more: it broke, or the server is about to end it. */
export const endsConnection = (error: unknown): boolean =>
  codeOf(error) === undefined || ['FATAL', 'PANIC'].includes(String((error as { severity?: unknown }).severity))

/** Whether the tables or functions are not there (any more). */
export const isMissing = (error: unknown): boolean => missing.has(codeOf(error) ?? '')

/** An error of the driver as ours, without a word of the driver's: those may hold keys and addresses. */
export function storeError(error: unknown, schema: string): MailError {
  if (error instanceof MailError) return error
  const code = codeOf(error)
  if (code === '42501') return forbidden(schema)
  if (code === undefined) return unavailable('the connection failed')
  const cause = missing.has(code) ? `schema "${schema}" lacking a table or function` : causes[code]
  return unavailable(cause === undefined ? `it failed with ${code}` : `it failed with ${code}, ${cause}`)
}

export const unavailable = (why: string): MailError =>
  new MailError('STORE_UNAVAILABLE', `PostgreSQL did not do what the store asked: ${why}. Nothing is assumed.`)

const forbidden = (schema: string) =>
  configurationError(
    `The database role may not do what the store needs in schema "${schema}". To let the store make its tables, let the role own the schema, or GRANT CREATE ON DATABASE; to run postgresMigration({ schema: '${schema}' }) as another role, GRANT USAGE on the schema and ALL on its tables and sequences to this one.`,
  )
