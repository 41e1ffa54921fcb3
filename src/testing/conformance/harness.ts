import type { Outcome, Provider } from '../../provider.ts'
import type { Fault, FaultPoint, ScriptedServer } from '../scripted-server.ts'

/** What `describeProvider` needs to hold an adapter to its contract. */
export interface ProviderHarness {
  /** `describe` and `it` (or `test`) of your runner: Node's, Vitest's, Jest's. Each case is one `it`, independent of all others. */
  readonly describe: (name: string, body: () => void) => unknown
  readonly it: (name: string, run: () => Promise<void>) => unknown
  /** Whether hand-overs are conversations or single requests: it decides which outcome of each fault is honest. */
  readonly dialect: 'smtp' | 'http'
  /** A fresh server for each case. The suite closes it. */
  server(): Promise<ScriptedServer>
  /** A fresh instance that sends to this server. The suite closes it. */
  provider(server: ScriptedServer): Provider
  /** Keys, passwords and tokens the provider was given: they may appear in no error, inspection or JSON. */
  readonly secrets: readonly string[]
  /** Fault points beyond the seven every dialect has: `tls`, `hello`, `sender`, `data`. */
  readonly points?: readonly FaultPoint[]
  /** The outcomes that are honest after this fault, where they are not the usual ones of the dialect. */
  readonly outcomes?: (fault: Fault) => readonly Outcome[] | undefined
  /** Features that are left out. What happens in their place is tested instead. */
  readonly skips?: Partial<Readonly<Record<Feature, Skip>>>
  /** Milliseconds a call may take to settle once it has to. Default 2,000. */
  readonly patience?: number
}

export interface Skip {
  /** Why this adapter cannot pass the feature's cases; part of the test's name. */
  readonly reason: string
  /** Proves what happens in its place. */
  instead(): Promise<void>
}

/** What the cases are grouped by, and what can be skipped. */
export type Feature =
  /** Every field of the message arrives as it was; nothing is added. */
  | 'message'
  /** Quoted, comma'd and non-ASCII display names. */
  | 'names'
  | 'bcc'
  /** Attachments and inline images, byte by byte. */
  | 'attachments'
  | 'calendar'
  /** Line breaks never become headers. */
  | 'injection'
  /** Our id, tags and metadata come back. */
  | 'labels'
  /** The numbers in `capabilities` are honest. */
  | 'limits'
  /** Who is mailed comes from the envelope, who is seen from the message. */
  | 'envelope'
  /** `providerOptions` are a closed set. */
  | 'options'
  /** Every fault at every point ends in an honest outcome. */
  | 'faults'
  /** Refusals of single recipients; for SMTP. */
  | 'partial'
  | 'abort'
  | 'close'
  | 'concurrency'
  /** `sendMany`, where `capabilities.bulk` is above 1. */
  | 'bulk'
  | 'verify'
  /** Secrets stay in closures. */
  | 'silence'
  /** Behind a real mailer with a backup: who was mailed how often. */
  | 'mailer'
