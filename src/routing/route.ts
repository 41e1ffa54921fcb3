import type { Delivery, Stream } from '../delivery.ts'
import { configurationError } from '../errors.ts'
import type { MessageSnapshot } from '../message/message.ts'

/** Which providers may carry a message, in the order they are tried. */
export interface Route<N extends string = string> {
  readonly kind: 'failover' | 'round robin' | 'weighted' | 'function'
  /** Every name it may answer; empty when only the function knows. */
  readonly names: readonly N[]
  /** The order for this delivery. Each name is tried once a round. */
  order(delivery: Delivery, random: () => number): readonly N[]
  /** An order it may answer, found without taking a turn or a chance: for checks and `plan`. Default: `order`. */
  look?(delivery: Delivery): readonly N[]
}

/** What a route function is told beside the message. */
export interface RouteFacts {
  readonly tenant?: string
  readonly stream: Stream
}

export type RouteFunction<N extends string = string> = (
  message: MessageSnapshot,
  facts: RouteFacts,
) => N | readonly N[] | Route<N>

/** A route as options take it: one name, a route, or a function of message and tenant. */
export type RouteInput<N extends string = string> = N | Route<N> | RouteFunction<N>

/**
 * Always the first provider; each next one only when the one before certainly did not take the message.
 *
 * @throws MailError `CONFIGURATION_ERROR` without names, or with one twice.
 */
export function failover<const N extends string>(...names: readonly N[]): Route<N> {
  const order = Object.freeze(checkNames('failover', names))
  return { kind: 'failover', names: order, order: () => order }
}

/** Providers in turn; the others follow as fallbacks. */
export function roundRobin<const N extends string>(...names: readonly N[]): Route<N> {
  const turns = checkNames('roundRobin', names).map((_, i, all) => Object.freeze([...all.slice(i), ...all.slice(0, i)]))
  let turn = 0
  return {
    kind: 'round robin',
    names: turns[0]!,
    order() {
      const order = turns[turn]!
      turn = (turn + 1) % turns.length
      return order
    },
    look: () => turns[turn]!,
  }
}

/**
 * Each provider with the chance its weight gives it; the others follow as fallbacks, drawn the same way.
 *
 * @throws MailError `CONFIGURATION_ERROR` for weights that are not positive finite numbers.
 */
export function weighted<const N extends string>(weights: Readonly<Record<N, number>>): Route<N> {
  const entries = Object.entries(weights) as [N, number][]
  const names = Object.freeze(
    checkNames(
      'weighted',
      entries.map(([name]) => name),
    ),
  )
  for (const [name, weight] of entries) {
    if (!(Number.isFinite(weight) && weight > 0)) {
      throw configurationError(`weighted: the weight of '${name}' must be a positive number.`)
    }
  }
  return {
    kind: 'weighted',
    names,
    order(_delivery, random) {
      const left = [...entries]
      const order: N[] = []
      while (left.length > 0) {
        let point = random() * left.reduce((sum, [, weight]) => sum + weight, 0)
        const drawn = left.findIndex(([, weight]) => {
          point -= weight
          return point < 0
        })
        order.push(left.splice(drawn === -1 ? left.length - 1 : drawn, 1)[0]![0])
      }
      return order
    },
  }
}

/** @throws MailError `CONFIGURATION_ERROR` for what is no route. */
export function toRoute(input: RouteInput): Route {
  if (typeof input === 'string') return failover(input)
  if (typeof input === 'function') return byFunction(input)
  if (typeof input?.order === 'function' && Array.isArray(input.names)) return input
  throw configurationError('route is a provider name, failover(…), roundRobin(…), weighted(…) or a function.')
}

/** The order of a route when nothing is to be sent by it. */
export const lookAt = (route: Route, delivery: Delivery): readonly string[] =>
  route.look ? route.look(delivery) : route.order(delivery, () => 0)

function byFunction(choose: RouteFunction): Route {
  const chosenFor = ({ message, tenant, stream }: Delivery): Route => {
    const chosen = called(choose, message, tenant === undefined ? { stream } : { tenant, stream })
    if (typeof chosen === 'string') return failover(chosen)
    if (Array.isArray(chosen)) return failover(...checkNames('the route function', chosen as readonly string[]))
    if (typeof (chosen as Route)?.order === 'function') return chosen as Route
    throw configurationError('The route function must answer a provider name, a list of names, or a route.')
  }
  return {
    kind: 'function',
    names: [],
    order: (delivery, random) => chosenFor(delivery).order(delivery, random),
    look: (delivery) => lookAt(chosenFor(delivery), delivery),
  }
}

function called(choose: RouteFunction, message: MessageSnapshot, facts: RouteFacts): unknown {
  try {
    return choose(message, facts)
  } catch (error) {
    const failure = configurationError('The route function threw; nothing was handed over. See `cause`.')
    failure.cause = error
    throw failure
  }
}

function checkNames<N extends string>(what: string, names: readonly N[]): N[] {
  if (names.length === 0) throw configurationError(`${what} needs at least one provider name.`)
  if (new Set(names).size !== names.length) throw configurationError(`${what} names a provider twice.`)
  if (names.some((name) => typeof name !== 'string')) throw configurationError(`${what} takes provider names.`)
  return [...names]
}
