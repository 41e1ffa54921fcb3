import { MailError } from '../../errors.ts'
import { nameOf } from '../checked.ts'

/** What the first word of a server's refusal means, for whoever has to mend it. */
const refusals: Readonly<Record<string, string>> = {
  OOM: 'it has used all of its maxmemory; give it more, or remove data',
  READONLY: 'it is a read-only replica; connect the client to the primary',
  LOADING: 'it is still loading its data; wait until it has',
  BUSY: 'a script blocks it; see SCRIPT KILL',
  MISCONF: 'it cannot save its data and takes no writes; see its log',
  NOREPLICAS: 'it has too few replicas to take writes (min-replicas-to-write)',
  MASTERDOWN: 'its primary is down and it serves no old data',
  CLUSTERDOWN: 'its cluster is down',
  TRYAGAIN: 'its cluster is moving slots; try again',
  NOAUTH: 'it wants a password the client did not give',
  NOPERM:
    'its ACL does not let this user do it; allow EVAL, EVALSHA, TIME, the commands on hashes, lists, sorted sets and strings, and the keys of the prefix',
  WRONGTYPE: 'a key of the prefix was written by somebody else; give the mailer a prefix of its own',
}

const words = new RegExp(`(?:^|[^A-Za-z])(${Object.keys(refusals).join('|')})\\b`)

/** Whether the server does not have the script: it restarted, or its scripts were flushed. */
export const lacksScript = (error: unknown): boolean => messageOf(error).startsWith('NOSCRIPT')

/** The error a caller sees, without the words of the driver and the server: those may hold keys and addresses. */
export function failureOf(error: unknown, verb: string): MailError {
  if (error instanceof MailError) return error
  const word = words.exec(messageOf(error))?.[1]
  const why = word
    ? `Redis refused ${verb} (${word}): ${refusals[word]}`
    : `Redis did not do ${verb} (${nameOf(error)}), or its answer was lost; see the client's 'error' events`
  return unavailable(`${why}. Nothing is assumed.`)
}

export const unavailable = (message: string) => new MailError('STORE_UNAVAILABLE', message)

export const notInTime = (verb: string) => unavailable(`Redis did not get ready for ${verb} in time.`)

function messageOf(error: unknown): string {
  try {
    const { message } = error as { message?: unknown }
    return typeof message === 'string' ? message : ''
  } catch {
    return ''
  }
}
