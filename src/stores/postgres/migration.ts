import { crc32 } from 'node:zlib'
import { configurationError } from '../../errors.ts'
import { newerCode } from './failure.ts'
import { version1 } from './version-1.ts'

/** Makes, of a store of the version before, the next one: statements of PL/pgSQL. Never changed once it was released. */
export type Migration = (schema: string) => string

/** The first makes version 1 of nothing. */
export const migrations: readonly Migration[] = [version1]

const advisoryLock = crc32('sendwright') | 0

/** @throws MailError `CONFIGURATION_ERROR` */
export function checkedSchema(schema: unknown): string {
  if (typeof schema === 'string' && /^(?!pg_)[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(schema)) return schema
  throw configurationError(
    'postgres({ schema }) is a name of up to 63 letters, digits and underscores that begins with no digit and not with pg_.',
  )
}

/**
 * The whole migration as one text of several statements, which the server takes as one transaction. Whatever of it a
 * database has already is left as it is; any number of processes may run it at once.
 */
export function migrationText(schema: string, steps: readonly Migration[] = migrations): string {
  const name = `"${schema}"`
  return `SET LOCAL lock_timeout = '30s';
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(${advisoryLock}, ${crc32(schema) | 0});

DO $migration$
BEGIN
  IF to_regnamespace('${name}') IS NULL THEN
    CREATE SCHEMA ${name};
  END IF;
  IF to_regclass('${name}.migrations') IS NULL THEN
    CREATE TABLE ${name}.migrations (
      version integer PRIMARY KEY,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
  END IF;
  IF EXISTS (SELECT FROM ${name}.migrations WHERE version > ${steps.length}) THEN
    RAISE EXCEPTION 'A newer release of Sendwright made this store.' USING ERRCODE = '${newerCode}';
  END IF;
END
$migration$;
${steps.map((step, i) => stepText(name, i + 1, step(name))).join('')}`
}

/** The same for psql, which makes a transaction of it only when told so. */
export const printedMigration = (schema: string): string =>
  `-- Sendwright's store in schema "${schema}", version ${migrations.length}. Running it again changes nothing.
BEGIN;
${migrationText(schema)}COMMIT;
`

const stepText = (name: string, version: number, statements: string) => `
DO $migration$
BEGIN
IF EXISTS (SELECT FROM ${name}.migrations WHERE version = ${version}) THEN
  RETURN;
END IF;
${statements}
INSERT INTO ${name}.migrations (version) VALUES (${version});
END
$migration$;
`
