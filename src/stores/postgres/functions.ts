import type { Call } from './pool.ts'

/**
 * The functions of the schema with their parameters, in order. Each has a deadline before them: after that moment on the
 * server's clock it changes nothing; null for none. `now` and `wall` are the time a test gives, null for the server's own.
 */
export const functions = {
  claim:
    'now wall id tenant created_at accepted status phase priority due_at body labels provider_label content key key_ttl lease records contents full look_keys look_scopes',
  renew:
    'now wall id tenant accepted status phase priority body labels provider_label content same_content fence lease look_keys look_scopes',
  settle:
    'now id accepted status phase priority due_at body labels provider_label content same_content fence release remove delay records contents full',
  takeover: 'now id states lease',
  read: 'now id provider_label',
  list: 'now tenant label dispatching since until at id most',
  due: 'now wall count lease lost turn without records contents',
  set_aside: 'id fence',
  waiting: 'most',
  suppress: 'wall tenants keys scopes reasons notes created expires',
  suppressed: 'wall tenant keys scopes',
  unsuppress: 'wall tenant key scope',
  suppressions_of: 'wall tenant key after_key after_scope limit',
  take: 'now key lengths limits cost',
  refund: 'now key lengths cost taken_at',
  move: 'now key lengths costs froms tos',
  usage: 'now key lengths',
  once: 'now id life',
  count: 'now key amount life',
  counted: 'keys',
  entries_of: 'now namespace names',
  set_entries: 'now namespace names keys values lives',
  delete_entries: 'now namespace names',
  clear_entries: 'namespace after most',
  scan_entries: 'now namespace after most',
} as const

export type FunctionName = keyof typeof functions

type Words<T extends string> = T extends `${infer First} ${infer Rest}` ? First | Words<Rest> : T

export type Arguments<N extends FunctionName> = { readonly [P in Words<(typeof functions)[N]>]: unknown }

/** The functions of one schema. */
export class Functions {
  readonly #calls = new Map<FunctionName, { readonly text: string; readonly parameters: readonly string[] }>()

  constructor(schema: string) {
    for (const name of Object.keys(functions) as FunctionName[]) {
      const parameters = functions[name].split(' ')
      const places = ['$1', ...parameters.map((_, i) => `$${i + 2}`)]
      this.#calls.set(name, { text: `"${schema}".${name}(${places.join(', ')})`, parameters })
    }
  }

  run<N extends FunctionName>(call: Call, name: N, given: Arguments<N>): ReturnType<Call> {
    const { text, parameters } = this.#calls.get(name)!
    return call(
      text,
      parameters.map((parameter) => (given as Readonly<Record<string, unknown>>)[parameter]),
    )
  }
}
