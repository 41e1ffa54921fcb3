import { type MemoryProvider, memory, type SentMail } from '../../providers/memory.ts'
import type { FailureKind, Outcome } from '../../src/provider.ts'
import type { AcceptedMail, Fault, ScriptedServer } from '../../src/testing/scripted-server.ts'

/** The memory provider seen as a server: its memory is the log, and faults become planned failures. */
export interface MemoryServer extends ScriptedServer {
  readonly provider: MemoryProvider
}

export function memoryServer(outcomeOf: (fault: Fault) => Outcome): MemoryServer {
  const provider = memory()
  const close = async () => provider.failNext({ outcome: 'failed', kind: 'connection' }, Number.MAX_SAFE_INTEGER)
  return {
    provider,
    host: 'memory',
    port: 0,
    url: 'memory:',
    connections: 0,
    get bodies() {
      return provider.sent().length
    },
    accepted: async () => provider.sent().map(acceptedOf),
    fail(fault) {
      const outcome = outcomeOf(fault)
      if (outcome === 'sent') return
      const { retryAfter } = fault
      provider.failNext({
        outcome,
        kind: kindOf(fault, outcome),
        ...(retryAfter === undefined ? {} : { retryAfter: retryAfter * 1_000 }),
      })
    },
    reset: () => provider.clear(),
    close,
    [Symbol.asyncDispose]: close,
  }
}

function kindOf({ at, kind }: Fault, outcome: Outcome): FailureKind {
  if (kind === 'stall') return 'aborted'
  if (kind === 'throttle') return 'throttled'
  if (at === 'login') return 'login'
  return outcome === 'rejected' ? 'content' : 'connection'
}

function acceptedOf({ id, message, recipients, providerMessageId }: SentMail): AcceptedMail {
  const { from, to, cc, replyTo, subject, text, html, attachments, tags, metadata, calendar, importance } = message
  const headers: Record<string, string[]> = {}
  const thread = message.inReplyTo === undefined ? [] : [{ name: 'In-Reply-To', value: message.inReplyTo }]
  const references = message.references.length > 0 ? [{ name: 'References', value: message.references.join(' ') }] : []
  const urgent = importance === undefined ? [] : [{ name: 'Importance', value: importance }]
  for (const { name, value } of [...message.headers, ...thread, ...references, ...urgent]) {
    headers[name.toLowerCase()] = [...(headers[name.toLowerCase()] ?? []), value]
  }
  const named = ({ name = '', address }: { readonly name?: string; readonly address: string }) => ({ name, address })
  return {
    providerMessageId,
    sendwrightId: id,
    recipients,
    from: named(from),
    to: to.map(named),
    cc: cc.map(named),
    replyTo: replyTo.map(named),
    subject,
    ...(text === undefined ? {} : { text }),
    ...(html === undefined ? {} : { html }),
    headers,
    attachments: attachments.map((file) => ({ ...file, inline: file.contentId !== undefined })),
    ...(calendar === undefined ? {} : { calendar }),
    tags,
    metadata,
    raw: Buffer.from(''),
  }
}
