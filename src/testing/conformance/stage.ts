import assert from 'node:assert/strict'
import type { Delivery } from '../../delivery.ts'
import { uncarried } from '../../dispatch/carry.ts'
import { MailError } from '../../errors.ts'
import type { Answer, Provider, SendContext } from '../../provider.ts'
import type { Outcome } from '../../receipt.ts'
import type { AcceptedMail, ScriptedServer } from '../scripted-server.ts'
import type { ProviderHarness } from './harness.ts'
import { assertOwn, assertSilent } from './silence.ts'

/** How one hand-over ended, whichever way it was told. */
export interface Ending {
  readonly answer?: Answer
  readonly error?: MailError
  /** What was said of each recipient. */
  readonly outcomes: ReadonlyMap<string, Outcome>
}

export interface HandOptions {
  readonly signal?: AbortSignal
  readonly timeout?: number
  readonly options?: object
}

const defaultPatience = 2_000
const codes = { rejected: 'REJECTED', failed: 'SEND_FAILED', unknown: 'OUTCOME_UNKNOWN' } as const

/** One case's server and provider, with the checks every hand-over has to pass. */
export class Stage {
  readonly server: ScriptedServer
  readonly provider: Provider
  readonly harness: ProviderHarness
  readonly patience: number

  private constructor(harness: ProviderHarness, server: ScriptedServer) {
    this.harness = harness
    this.server = server
    this.provider = harness.provider(server)
    this.patience = harness.patience ?? defaultPatience
  }

  /** Runs one case and cleans up whatever it left. */
  static async play(harness: ProviderHarness, run: (stage: Stage) => Promise<void>): Promise<void> {
    const server = await harness.server()
    try {
      const stage = new Stage(harness, server)
      try {
        await run(stage)
      } finally {
        // The server goes first, so that a provider that would wait for an answer for ever gets none.
        await server.close()
        await stage.soon(stage.provider.close?.(), 'close')
      }
    } finally {
      await server.close()
    }
  }

  get capabilities() {
    return this.provider.capabilities
  }

  /** One hand-over, held to the contract of `send`. */
  async hand(delivery: Delivery, given: HandOptions = {}): Promise<Ending> {
    const before = delivery.message.attachments.map(({ content }) => Buffer.from(content))
    const ending = await this.#settled(delivery, () => this.provider.send(delivery, contextOf(given)))
    for (const [index, { content }] of delivery.message.attachments.entries()) {
      assert.ok(before[index]?.equals(content), 'send changed the bytes of an attachment it was given')
    }
    return ending
  }

  /** The same for a bulk call: one ending per delivery. */
  async handMany(deliveries: readonly Delivery[], given: HandOptions = {}): Promise<Ending[]> {
    const { sendMany } = this.provider
    assert.ok(sendMany, 'capabilities.bulk is above 1, and there is no sendMany')
    const answers = await sendMany.call(this.provider, deliveries, contextOf(given)).catch((error: unknown) => {
      return deliveries.map(() => error as MailError)
    })
    assert.equal(answers.length, deliveries.length, 'sendMany answers one entry per delivery')
    return Promise.all(
      answers.map((answer, index) =>
        this.#settled(deliveries[index]!, async () => {
          if (answer instanceof Error) throw answer
          return answer
        }),
      ),
    )
  }

  /** Hands over what has to be taken for everybody, and answers it as the server saw it. */
  async deliver(delivery: Delivery, given: HandOptions = {}): Promise<AcceptedMail> {
    const ending = await this.hand(delivery, given)
    assert.equal(overall(ending), 'sent', `it was not sent: ${ending.error?.message ?? 'see the answer'}`)
    const [mail, ...more] = await this.mails(delivery)
    assert.ok(mail, 'the provider said sent, and the server has no such mail')
    assert.equal(more.length, 0, 'one delivery to be seen by all its readers became several mails')
    await this.judge(delivery, ending)
    return mail
  }

  /** What the server took of this delivery. A mail without our id could be any. */
  async mails({ id }: Delivery): Promise<readonly AcceptedMail[]> {
    const mails = await this.server.accepted()
    return mails.filter(({ sendwrightId }) => sendwrightId === id || sendwrightId === undefined)
  }

  /** Compares what was said with the ground truth: who got a copy, and how often. */
  async judge(delivery: Delivery, { outcomes }: Ending): Promise<void> {
    const copies = (await this.mails(delivery)).flatMap(({ recipients }) => recipients)
    for (const [address, outcome] of outcomes) {
      const count = copies.filter((copy) => copy === address).length
      const honest = outcome === 'unknown' ? count <= 1 : count === (outcome === 'sent' ? 1 : 0)
      assert.ok(honest, `said ${outcome} of a recipient who got ${count} copies`)
    }
    const strangers = copies.filter((copy) => !outcomes.has(copy))
    assert.equal(strangers.length, 0, 'somebody outside the envelope was mailed')
  }

  /** The capabilities or `refuse` keep this from the wire, naming the field. */
  refuses(delivery: Delivery, path: RegExp, options?: unknown): void {
    const issues = uncarried(this.provider, delivery, options)
    const named = issues.filter((issue) => path.test(issue.path))
    assert.ok(named.length > 0, `nothing refuses ${path.source}, which this provider cannot carry`)
    for (const issue of issues) assert.ok(issue.code && issue.message, 'an issue has a code and says what to do')
  }

  /** Whether the mailer would hand this over. */
  carries(delivery: Delivery, options?: unknown): boolean {
    return uncarried(this.provider, delivery, options).length === 0
  }

  /** Fails when `promise` takes longer than a call may that has to settle: `ms`, default the harness' patience. */
  async soon<T>(promise: Promise<T> | undefined, what: string, ms = this.patience): Promise<T | undefined> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(
      () => late.reject(new assert.AssertionError({ message: `${what} did not settle within ${ms} ms` })),
      ms,
    )
    try {
      return await Promise.race([promise, late.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Waits until the server has seen something, as long as a call may take. */
  async until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
    const end = performance.now() + 5 * this.patience
    while (!(await condition())) {
      assert.ok(performance.now() < end, `${what} never came`)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }

  async #settled(delivery: Delivery, call: () => Promise<Answer>): Promise<Ending> {
    const addresses = delivery.envelope.recipients.map(({ address }) => address)
    const allAre = (outcome: Outcome) => new Map(addresses.map((address) => [address, outcome]))
    try {
      const answer = await call()
      const outcomes = allAre('sent')
      assert.ok(typeof answer === 'object' && answer !== null, 'send answers an object')
      for (const { address, outcome } of answer.recipients ?? []) {
        assert.ok(outcomes.has(address), 'the answer names somebody who is not in the envelope')
        outcomes.set(address, outcome)
      }
      assertSilent(answer, this.#canaries(delivery), 'the answer')
      return { answer, outcomes }
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error
      assert.ok(error instanceof MailError, `send rejected with ${nameOf(error)} and not with a MailError`)
      this.#checkError(error, delivery)
      return { error, outcomes: allAre(error.outcome!) }
    }
  }

  #checkError(error: MailError, delivery: Delivery): void {
    const { outcome, kind, code, retryable } = error
    assert.ok(outcome !== undefined && Object.hasOwn(codes, outcome), 'an error of send has an outcome')
    assert.equal(code, codes[outcome], 'the code does not fit the outcome')
    assert.ok(kind, 'an error of send has a kind, which routing needs')
    assert.ok(!(retryable && outcome !== 'failed'), 'only what has failed can be repeated')
    assertOwn(error)
    assertSilent(error, [...this.#canaries(delivery), ...addressesOf(delivery)], 'the error')
  }

  /** Addresses stand in answers, which the mailer keeps to itself. */
  #canaries({ message }: Delivery): string[] {
    const { subject, text, html } = message
    const texts = [subject, text, html].filter((part) => part !== undefined && part.length > 4) as string[]
    return [...this.harness.secrets, ...texts]
  }
}

const addressesOf = ({ envelope }: Delivery) => envelope.recipients.map(({ address }) => address)

const nameOf = (error: unknown) => (error instanceof Error ? error.name : typeof error)

function contextOf({ signal, timeout = 10_000, options }: HandOptions): SendContext {
  return { signal: signal ?? new AbortController().signal, timeout, ...(options === undefined ? {} : { options }) }
}

/** The one outcome all recipients share, or `mixed`. */
export function overall({ outcomes }: Ending): Outcome | 'mixed' {
  const [first, ...others] = new Set(outcomes.values())
  return first === undefined || others.length > 0 ? 'mixed' : first
}
