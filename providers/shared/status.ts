import type { IncomingHttpHeaders } from 'node:http'
import type { HandOverFailure } from '../../src/provider.ts'

/** What an HTTP status says by itself (INVARIANTS O1, O2); the adapters know their provider's exceptions. */
export function meaningOfStatus(status: number): Pick<HandOverFailure, 'outcome' | 'kind'> {
  switch (status) {
    case 400:
    case 422:
      return { outcome: 'rejected', kind: 'content' }
    case 413:
      return { outcome: 'rejected', kind: 'size' }
    case 401:
    case 403:
      return { outcome: 'failed', kind: 'login' }
    case 402:
      return { outcome: 'failed', kind: 'account' }
    case 429:
      return { outcome: 'failed', kind: 'throttled' }
    case 408:
    case 409:
      return { outcome: 'unknown', kind: 'transient' }
  }
  if (status >= 400 && status < 500) return { outcome: 'failed', kind: 'configuration' }
  return { outcome: 'unknown', kind: 'transient' }
}

/** `Retry-After` in milliseconds, given as seconds or as a date. */
export function retryAfterOf(headers: IncomingHttpHeaders, now = Date.now()): number | undefined {
  const value = headers['retry-after']?.trim()
  if (!value) return undefined
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  // `Date.parse` would read a number as a year.
  const date = /^[A-Z][a-z]{2}/.test(value) ? Date.parse(value) : Number.NaN
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

/** JSON as data, or undefined. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}

/** One field of parsed JSON, read without trust in its shape. */
export function fieldOf(value: unknown, name: string | number): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return (value as Record<string | number, unknown>)[name]
}

export function textOf(value: unknown, name: string | number): string | undefined {
  const field = fieldOf(value, name)
  return typeof field === 'string' && field !== '' ? field : undefined
}
