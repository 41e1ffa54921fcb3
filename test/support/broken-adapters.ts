import type { Answer, Delivery, MessageSnapshot, Provider, SendContext } from '../../src/provider.ts'
import { handOverError, MailError } from '../../src/provider.ts'
import type { Feature } from '../../src/testing/describe-provider.ts'

/** One lie each, wrapped around an adapter that tells the truth. */
export interface BrokenAdapter {
  readonly name: string
  /** What is broken. `http` is an adapter over a single request. */
  readonly base: 'smtp' | 'http'
  readonly feature: Feature
  /** Which of the feature's cases have to fail, each of them. */
  readonly fails: RegExp
  readonly breaks: (healthy: Provider, secret: string) => Partial<Provider>
}

type Hand = (delivery: Delivery, context: SendContext) => Promise<Answer>

/** Breaks `send`, and with it the bulk call, as one that shares its code would. */
const sending =
  (send: (hand: Hand, secret: string) => Hand) =>
  (healthy: Provider, secret: string): Partial<Provider> => ({
    send: send((delivery, context) => healthy.send(delivery, context), secret),
  })

const changing = (change: (delivery: Delivery) => Delivery) =>
  sending((hand) => (delivery, context) => hand(change(delivery), context))

const changingMessage = (change: (message: MessageSnapshot) => Partial<MessageSnapshot>) =>
  changing((delivery) => ({ ...delivery, message: { ...delivery.message, ...change(delivery.message) } }))

/** Changes what is told of failures. */
const retelling = (tell: (error: MailError, secret: string, delivery: Delivery) => Answer | Error) =>
  sending((hand, secret) => async (delivery, context) => {
    try {
      return await hand(delivery, context)
    } catch (error) {
      const told = tell(error as MailError, secret, delivery)
      if (told instanceof Error) throw told
      return told
    }
  })

const again = ({ message, kind = 'transient', outcome = 'failed', retryAfter }: MailError, changed: object = {}) =>
  handOverError({ outcome, kind, reason: message, ...(retryAfter === undefined ? {} : { retryAfter }), ...changed })

/** One mail to everybody, who then see one another. */
const oneForAll = (healthy: Provider): Partial<Provider> => ({
  async sendMany(deliveries, context) {
    const [first] = deliveries as [Delivery]
    const to = deliveries.flatMap(({ message }) => message.to)
    const recipients = deliveries.flatMap(({ envelope }) => envelope.recipients)
    const all = { ...first, message: { ...first.message, to }, envelope: { ...first.envelope, recipients } }
    const answer = await healthy.send(all, context)
    return deliveries.map(() => answer)
  },
})

const forgettingId = changing((delivery) => ({ ...delivery, id: 'msg_another' }))

/** Changes the mailboxes of the envelope. */
const readdressing = (change: (address: string) => string) =>
  changing((delivery) => {
    const recipients = delivery.envelope.recipients.map((one) => ({ ...one, address: change(one.address) }))
    return { ...delivery, envelope: { ...delivery.envelope, recipients } }
  })

const swallowing = sending((hand) => async (delivery, context) => {
  const { recipients: _, ...answer } = await hand(delivery, context)
  return answer
})

const alwaysSent = retelling(() => ({ code: '250' }))

/** A table of lies, one row each; long because there are many ways to be wrong. */
export const brokenAdapters: readonly BrokenAdapter[] = [
  {
    name: 'sends again after an unknown outcome',
    base: 'smtp',
    feature: 'faults',
    fails: /(reset|close|garbage) at (afterBody|midAnswer)/,
    breaks: sending((hand) => async (delivery, context) => {
      const first = await hand(delivery, context).catch((error: MailError) => error)
      return first instanceof MailError ? hand(delivery, context) : first
    }),
  },
  {
    name: 'sends again after an unknown outcome, behind a mailer',
    base: 'http',
    feature: 'mailer',
    fails: /(reset|close|garbage|5xx) at (afterBody|midAnswer)/,
    breaks: sending((hand) => async (delivery, context) => {
      const first = await hand(delivery, context).catch((error: MailError) => error)
      return first instanceof MailError && first.outcome === 'unknown' ? hand(delivery, context) : answered(first)
    }),
  },
  {
    name: 'calls what it does not know failed, so that it is mailed twice',
    base: 'http',
    feature: 'mailer',
    fails: /(reset|close|garbage|5xx|stall) at afterBody|at midAnswer/,
    breaks: retelling((error) => (error.outcome === 'unknown' ? again(error, { outcome: 'failed' }) : error)),
  },
  {
    name: 'reports failed after the body went',
    base: 'smtp',
    feature: 'faults',
    fails: /(reset|close|stall|garbage) at afterBody/,
    breaks: retelling((error) => (error.outcome === 'unknown' ? again(error, { outcome: 'failed' }) : error)),
  },
  {
    name: 'reports unknown although nothing was asked for',
    base: 'smtp',
    feature: 'faults',
    fails: /(refuse|reset) at (greeting|login)/,
    breaks: retelling((error) => (error.outcome === 'failed' ? again(error, { outcome: 'unknown' }) : error)),
  },
  ...(['smtp', 'http'] as const).flatMap((base): BrokenAdapter[] => [
    { name: 'reports sent whatever happens', base, feature: 'faults', fails: /.*/, breaks: alwaysSent },
    {
      name: 'reports sent whatever happens, behind a mailer',
      base,
      feature: 'mailer',
      fails: /at (connect|greeting|login|envelope|midBody)|(refuse|4xx|throttle) at afterBody/,
      breaks: alwaysSent,
    },
  ]),
  {
    name: 'repeats a throttled request by itself',
    base: 'http',
    feature: 'faults',
    fails: /throttle at (envelope|afterBody)/,
    breaks: sending((hand) => async (delivery, context) => {
      const first = await hand(delivery, context).catch((error: MailError) => error)
      return first instanceof MailError && first.kind === 'throttled' ? hand(delivery, context) : answered(first)
    }),
  },
  {
    name: 'takes every loss of a used connection for a stale one',
    base: 'http',
    feature: 'faults',
    fails: /on a used connection/,
    breaks: (healthy) => {
      let used = false
      return {
        async send(delivery, context) {
          try {
            const answer = await healthy.send(delivery, context)
            used = true
            return answer
          } catch (error) {
            if (!used || (error as MailError).outcome !== 'unknown') throw error
            used = false
            return healthy.send(delivery, context)
          }
        },
      }
    },
  },
  {
    name: 'gives Retry-After in seconds',
    base: 'http',
    feature: 'faults',
    fails: /throttle at (envelope|afterBody)/,
    breaks: retelling((error) =>
      error.retryAfter === undefined ? error : again(error, { retryAfter: error.retryAfter / 1_000 }),
    ),
  },
  {
    name: 'loses its connection for good after a failure',
    base: 'smtp',
    feature: 'faults',
    fails: /reset at afterBody/,
    breaks: (healthy) => {
      let lost: MailError | undefined
      const send = async (delivery: Delivery, context: SendContext) => {
        if (lost) throw again(lost, { outcome: 'failed' })
        return healthy.send(delivery, context).catch((error: MailError) => {
          lost = error
          throw error
        })
      }
      return { send }
    },
  },
  {
    name: 'drops bcc',
    base: 'smtp',
    feature: 'bcc',
    fails: /gets a copy/,
    breaks: changing((delivery) => {
      const { recipients } = delivery.envelope
      const rest = recipients.filter(({ field }) => field !== 'bcc')
      return { ...delivery, envelope: { ...delivery.envelope, recipients: rest } }
    }),
  },
  {
    name: 'shows bcc in a header',
    base: 'smtp',
    feature: 'bcc',
    fails: /.*/,
    breaks: changingMessage(({ headers, bcc }) => ({
      headers: [...headers, { name: 'Bcc', value: bcc.map(({ address }) => address).join(', ') }],
    })),
  },
  {
    name: 'puts bcc into cc',
    base: 'http',
    feature: 'bcc',
    fails: /.*/,
    breaks: changing((delivery) => {
      const recipients = delivery.envelope.recipients.map((one) => ({ ...one, field: 'cc' as const }))
      return { ...delivery, envelope: { ...delivery.envelope, recipients } }
    }),
  },
  {
    name: 'leaks a key in an error',
    base: 'smtp',
    feature: 'silence',
    fails: /refused login/,
    breaks: retelling((error, secret) => again(error, { reason: `login with ${secret} failed` })),
  },
  {
    name: 'leaks a key in base64',
    base: 'http',
    feature: 'faults',
    fails: /refuse at login/,
    breaks: retelling((error, secret) =>
      again(error, { reason: `Authorization: Basic ${Buffer.from(secret).toString('base64')}` }),
    ),
  },
  {
    name: 'leaks an address in an error',
    base: 'smtp',
    feature: 'faults',
    fails: /refuse at envelope/,
    breaks: retelling((error, _, { envelope }) => {
      const { outcome = 'failed', kind = 'transient' } = error
      return new MailError(error.code, `no such user ${envelope.recipients[0]?.address}`, { outcome, kind })
    }),
  },
  {
    name: 'hangs the error of a library on its own as cause',
    base: 'http',
    feature: 'silence',
    fails: /refused login/,
    breaks: retelling((error, secret) => {
      error.cause = Object.assign(new Error('Request failed'), { config: { headers: { authorization: secret } } })
      return error
    }),
  },
  {
    name: 'hangs the error of a library on its own, hidden and without a secret',
    base: 'http',
    feature: 'silence',
    fails: /refused login/,
    breaks: retelling((error) =>
      Object.defineProperty(error, Symbol('raw'), { value: new Error('Request failed'), enumerable: false }),
    ),
  },
  {
    name: 'keeps its key on a public field',
    base: 'smtp',
    feature: 'silence',
    fails: /looked at/,
    breaks: (_, secret) => ({ options: { auth: { pass: secret } } }) as Partial<Provider>,
  },
  {
    name: 'rejects with an error of its own',
    base: 'smtp',
    feature: 'faults',
    fails: /(refuse|reset) at (greeting|afterBody)/,
    breaks: retelling(() => new TypeError('fetch failed')),
  },
  {
    name: 'ignores its signal',
    base: 'smtp',
    feature: 'abort',
    fails: /an aborted signal|an abort while/,
    breaks: sending(
      (hand) =>
        (delivery, { timeout }) =>
          hand(delivery, { timeout, signal: never }),
    ),
  },
  {
    name: 'ignores its time limit',
    base: 'http',
    feature: 'abort',
    fails: /timeout it is given/,
    breaks: sending(
      (hand) =>
        (delivery, { signal }) =>
          hand(delivery, { signal, timeout: 60_000 }),
    ),
  },
  {
    name: 'keeps a listener on every signal',
    base: 'http',
    feature: 'abort',
    fails: /keeps no listener/,
    breaks: sending((hand) => (delivery, context) => {
      context.signal.addEventListener('abort', () => {})
      return hand(delivery, context)
    }),
  },
  {
    name: 'drops custom headers',
    base: 'smtp',
    feature: 'message',
    fails: /custom headers/,
    breaks: changingMessage(() => ({ headers: [] })),
  },
  {
    name: 'keeps one value of a repeated header',
    base: 'smtp',
    feature: 'message',
    fails: /several values/,
    breaks: changingMessage(({ headers }) => ({
      headers: [...new Map(headers.map((header) => [header.name, header])).values()],
    })),
  },
  {
    name: 'cuts the subject',
    base: 'http',
    feature: 'message',
    fails: /arrive as they were/,
    breaks: changingMessage(({ subject }) => ({ subject: subject.slice(0, 76) })),
  },
  {
    name: 'makes html of text',
    base: 'http',
    feature: 'message',
    fails: /text alone/,
    breaks: changingMessage(({ text, html }) => ({ html: html ?? `<pre>${text}</pre>` })),
  },
  {
    name: 'makes text of html',
    base: 'http',
    feature: 'message',
    fails: /html alone/,
    breaks: changingMessage(({ text, html }) => ({ text: text ?? html })),
  },
  {
    name: 'cuts a display name at its comma',
    base: 'smtp',
    feature: 'names',
    fails: /deceptive display names/,
    breaks: changingMessage(({ to }) => ({
      to: to.map(({ address, name }) => ({ address, name: name?.split(/[,;"]/)[0] ?? '' })),
    })),
  },
  {
    name: 'drops bytes of an attachment',
    base: 'http',
    feature: 'attachments',
    fails: /attachments arrive|inline images/,
    breaks: changingMessage(({ attachments }) => ({
      attachments: attachments.map((file) => ({ ...file, content: Buffer.from(Buffer.from(file.content).toString()) })),
    })),
  },
  {
    name: 'attaches inline images like files',
    base: 'smtp',
    feature: 'attachments',
    fails: /inline images/,
    breaks: changingMessage(({ attachments }) => ({
      attachments: attachments.map(({ contentId: _, ...file }) => file),
    })),
  },
  {
    name: 'drops the invitation',
    base: 'smtp',
    feature: 'calendar',
    fails: /invitation/,
    breaks: changingMessage(() => ({ calendar: undefined })),
  },
  {
    name: 'drops attachments without bytes',
    base: 'smtp',
    feature: 'attachments',
    fails: /empty attachment/,
    breaks: changingMessage(({ attachments }) => ({
      attachments: attachments.filter(({ content }) => content.length),
    })),
  },
  {
    name: 'changes the bytes it is given',
    base: 'smtp',
    feature: 'attachments',
    fails: /attachments arrive|inline images/,
    breaks: sending((hand) => async (delivery, context) => {
      const answer = await hand(delivery, context)
      for (const { content } of delivery.message.attachments) content.fill(0)
      return answer
    }),
  },
  {
    name: 'writes into the delivery it is given',
    base: 'smtp',
    feature: 'labels',
    fails: /carries our id/,
    breaks: sending((hand) => async (delivery, context) => {
      ;(delivery.message.headers as { name: string; value: string }[]).push({ name: 'X-Mailer', value: 'broken' })
      return hand(delivery, context)
    }),
  },
  {
    name: 'writes what follows a line break as a header',
    base: 'smtp',
    feature: 'injection',
    fails: /.*/,
    breaks: changingMessage((message) => {
      const { subject, from, to, headers, attachments, metadata } = message
      const names = [from, ...to].map(({ name }) => name ?? '')
      const files = attachments.map(({ filename }) => filename)
      const texts = [subject, ...names, ...files, ...headers.map(({ value }) => value), ...Object.values(metadata)]
      const lines = texts.flatMap((text) => text.split('\r\n').slice(1, 2))
      return { headers: [...headers, ...lines.map((line) => ({ name: line.split(': ')[0]!, value: '1' }))] }
    }),
  },
  { name: 'forgets our id', base: 'http', feature: 'labels', fails: /carries our id/, breaks: forgettingId },
  { name: 'forgets the id of the receipt', base: 'smtp', feature: 'mailer', fails: /receipt/, breaks: forgettingId },
  {
    name: 'answers an id that is not the mail’s',
    base: 'smtp',
    feature: 'labels',
    fails: /answer names the mail/,
    breaks: sending((hand) => async (delivery, context) => ({
      ...(await hand(delivery, context)),
      providerMessageId: delivery.messageId,
    })),
  },
  {
    name: 'drops tags',
    base: 'http',
    feature: 'labels',
    fails: /tags come back/,
    breaks: changingMessage(() => ({ tags: [] })),
  },
  {
    name: 'drops metadata that is empty',
    base: 'smtp',
    feature: 'labels',
    fails: /metadata comes back/,
    breaks: changingMessage(({ metadata }) => ({
      metadata: Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== '')),
    })),
  },
  {
    name: 'says it takes more recipients than it mails',
    base: 'smtp',
    feature: 'limits',
    fails: /capabilities.recipients/,
    breaks: changing((delivery) => ({
      ...delivery,
      envelope: { ...delivery.envelope, recipients: delivery.envelope.recipients.slice(0, 50) },
    })),
  },
  {
    name: 'says it takes more tags than it sends',
    base: 'http',
    feature: 'limits',
    fails: /capabilities.tags/,
    breaks: changingMessage(({ tags }) => ({ tags: tags.slice(0, 3) })),
  },
  {
    name: 'says it takes more headers than it sends',
    base: 'smtp',
    feature: 'limits',
    fails: /capabilities.headers/,
    breaks: changingMessage(({ headers }) => ({ headers: headers.slice(0, 50) })),
  },
  {
    name: 'says it takes several reply-tos and sends one',
    base: 'smtp',
    feature: 'limits',
    fails: /capabilities.replyTo/,
    breaks: changingMessage(({ replyTo }) => ({ replyTo: replyTo.slice(0, 1) })),
  },
  {
    name: 'gives no number of bytes',
    base: 'http',
    feature: 'limits',
    fails: /capabilities.bytes/,
    breaks: ({ capabilities }) => ({ capabilities: { ...capabilities, bytes: Number.NaN } }),
  },
  {
    name: 'promises a bulk call it does not have',
    base: 'smtp',
    feature: 'limits',
    fails: /capabilities are whole/,
    breaks: ({ capabilities }) => ({ capabilities: { ...capabilities, bulk: 100 } }),
  },
  {
    name: 'mails whom To shows, not whom the envelope names',
    base: 'smtp',
    feature: 'envelope',
    fails: /only the envelope is mailed/,
    breaks: changing((delivery) => {
      const { to, cc } = delivery.message
      const shown = [...to, ...cc].map(({ address }) => ({ address, key: address, field: 'to' as const }))
      return { ...delivery, envelope: { ...delivery.envelope, recipients: shown } }
    }),
  },
  {
    name: 'lowers the case of local parts',
    base: 'http',
    feature: 'envelope',
    fails: /letter case/,
    breaks: readdressing((address) => address.toLowerCase()),
  },
  {
    name: 'takes the quotes off local parts',
    base: 'smtp',
    feature: 'envelope',
    fails: /split or join/,
    breaks: readdressing((address) => address.replaceAll('"', '').replaceAll(' ', '')),
  },
  {
    name: 'writes mailboxes in ASCII',
    base: 'smtp',
    feature: 'names',
    fails: /non-ASCII local part/,
    breaks: readdressing((address) => address.replace(/[^ -~]/g, '?')),
  },
  {
    name: 'takes provider options it does not know',
    base: 'http',
    feature: 'options',
    fails: /unknown providerOptions/,
    breaks: () => ({ refuse: () => [] }),
  },
  {
    name: 'refuses what it can carry',
    base: 'http',
    feature: 'options',
    fails: /refuse is pure/,
    breaks: () => ({ refuse: () => [{ path: 'providerOptions', code: 'unsupported', message: 'no' }] }),
  },
  {
    name: 'swallows the refusal of single recipients',
    base: 'smtp',
    feature: 'partial',
    fails: /one refused recipient/,
    breaks: swallowing,
  },
  {
    name: 'swallows the refusal of single recipients, behind a mailer',
    base: 'smtp',
    feature: 'partial',
    fails: /partial refusal/,
    breaks: swallowing,
  },
  {
    name: 'rejects when one of several recipients was refused',
    base: 'smtp',
    feature: 'partial',
    fails: /one refused recipient/,
    breaks: sending((hand) => async (delivery, context) => {
      const answer = await hand(delivery, context)
      if (answer.recipients) throw handOverError({ outcome: 'rejected', kind: 'recipient', reason: 'refused' })
      return answer
    }),
  },
  {
    name: 'says sent when nobody is left',
    base: 'smtp',
    feature: 'partial',
    fails: /every recipient is refused/,
    breaks: alwaysSent,
  },
  {
    name: 'connects before anything is sent',
    base: 'smtp',
    feature: 'mailer',
    fails: /nothing reaches the wire/,
    breaks: (healthy) => {
      healthy.verify?.({}).catch(() => {})
      return {}
    },
  },
  {
    name: 'does not wait in close',
    base: 'smtp',
    feature: 'close',
    fails: /running hand-over/,
    breaks: ({ close }) => ({ close: async () => void close?.() }),
  },
  {
    name: 'never closes its connections',
    base: 'smtp',
    feature: 'close',
    fails: /no connection or timer/,
    breaks: () => ({ close: async () => undefined }),
  },
  {
    name: 'does not open again after close',
    base: 'http',
    feature: 'close',
    fails: /opens anew/,
    breaks: (healthy) => {
      let closed = false
      return {
        async send(delivery, context) {
          if (closed) throw handOverError({ outcome: 'failed', kind: 'configuration', reason: 'closed' })
          return healthy.send(delivery, context)
        },
        async close() {
          closed = true
          await healthy.close?.()
        },
      }
    },
  },
  {
    name: 'mixes what is sent at once',
    base: 'smtp',
    feature: 'concurrency',
    fails: /do not mix/,
    breaks: (healthy) => {
      let current: Delivery | undefined
      return {
        async send(delivery, context) {
          current = delivery
          await Promise.resolve()
          return healthy.send({ ...delivery, message: current.message }, context)
        },
      }
    },
  },
  {
    name: 'remembers what it sent and answers repeats itself',
    base: 'smtp',
    feature: 'concurrency',
    fails: /sent twice/,
    breaks: (healthy) => {
      const answers = new Map<string, Promise<Answer>>()
      return {
        send(delivery, context) {
          const answer = answers.get(delivery.id) ?? healthy.send(delivery, context)
          answers.set(delivery.id, answer)
          return answer
        },
      }
    },
  },
  {
    name: 'shows the readers of a bulk call to one another',
    base: 'http',
    feature: 'bulk',
    fails: /sees nobody else/,
    breaks: oneForAll,
  },
  {
    name: 'shows the readers of a merge to one another',
    base: 'http',
    feature: 'mailer',
    fails: /merge/,
    breaks: oneForAll,
  },
  {
    name: 'ignores the signal of a bulk call',
    base: 'http',
    feature: 'bulk',
    fails: /aborted signal/,
    breaks: (healthy) => ({
      sendMany: async (deliveries, { timeout }) =>
        (await healthy.sendMany?.(deliveries, { timeout, signal: never })) ?? [],
    }),
  },
  {
    name: 'says sent of all when a bulk call is refused',
    base: 'http',
    feature: 'bulk',
    fails: /after the body/,
    breaks: (healthy) => ({
      async sendMany(deliveries, context) {
        const answers = (await healthy.sendMany?.(deliveries, context)) ?? []
        return answers.map((answer) => (answer instanceof MailError ? {} : answer))
      },
    }),
  },
  {
    name: 'answers a bulk call out of order',
    base: 'http',
    feature: 'bulk',
    fails: /one mail, sees nobody else|other content/,
    breaks: (healthy) => ({
      async sendMany(deliveries, context) {
        const answers = await Promise.all(
          deliveries.slice(1).map((delivery) => healthy.send(delivery, context).catch((error: MailError) => error)),
        )
        return [...answers, handOverError({ outcome: 'failed', kind: 'transient', reason: 'left for later' })]
      },
    }),
  },
  {
    name: 'sends a mail to verify',
    base: 'smtp',
    feature: 'verify',
    fails: /sends no mail/,
    breaks: (healthy) => ({
      async verify() {
        await healthy.send(probe, { signal: never, timeout: 1_000 })
      },
    }),
  },
  {
    name: 'verifies without looking',
    base: 'http',
    feature: 'verify',
    fails: /fails with a MailError/,
    breaks: () => ({ verify: async () => undefined }),
  },
]

const never = new AbortController().signal

const probe: Delivery = {
  id: 'msg_probe',
  messageId: '<probe@acme.example>',
  createdAt: 0,
  stream: 'transactional',
  sandbox: false,
  envelope: {
    from: 'hello@acme.example',
    recipients: [{ address: 'hello@acme.example', key: 'hello@acme.example', field: 'to' }],
  },
  message: {
    from: { address: 'hello@acme.example' },
    to: [{ address: 'hello@acme.example' }],
    cc: [],
    bcc: [],
    replyTo: [],
    subject: 'probe',
    text: 'probe',
    attachments: [],
    headers: [],
    tags: [],
    metadata: {},
    references: [],
    providerOptions: {},
  },
}

function answered(result: Answer | MailError): Answer {
  if (result instanceof MailError) throw result
  return result
}

/** The adapter with its lie. */
export function broken({ breaks }: BrokenAdapter, healthy: Provider, secret: string): Provider {
  // Called as methods: an adapter's may use `this`.
  const whole: Provider = {
    name: healthy.name,
    capabilities: healthy.capabilities,
    send: (delivery, context) => healthy.send(delivery, context),
    ...(healthy.sendMany ? { sendMany: (deliveries, context) => healthy.sendMany!(deliveries, context) } : {}),
    refuse: (delivery, options) => healthy.refuse?.(delivery, options) ?? [],
    verify: async (context) => healthy.verify?.(context),
    close: async () => healthy.close?.(),
  }
  return { ...whole, ...breaks(healthy, secret) }
}
