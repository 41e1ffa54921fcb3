import assert from 'node:assert/strict'
import type { Mailbox, MessageSnapshot } from '../../message/message.ts'
import type { Case } from './case.ts'
import { deliveryOf } from './delivery.ts'
import type { Stage } from './stage.ts'

/** What stands in for `Infinity`: more than messages have by default. */
const many = 60

interface Counted {
  readonly capability: 'recipients' | 'headers' | 'replyTo' | 'tags'
  readonly path: RegExp
  /** A message with this many. */
  readonly of: (count: number) => Partial<MessageSnapshot>
  /** How many of them the server saw. */
  readonly seen: (stage: Stage, message: Partial<MessageSnapshot>) => Promise<number>
}

const mailboxes = (count: number): Mailbox[] =>
  Array.from({ length: count }, (_, index) => ({ address: `r${index}@example.com` }))

const counted: readonly Counted[] = [
  {
    capability: 'recipients',
    path: /^to/,
    of: (count) => ({ to: mailboxes(count) }),
    seen: async (stage, message) => (await stage.deliver(deliveryOf(message))).recipients.length,
  },
  {
    capability: 'headers',
    path: /^headers/,
    of: (count) => ({
      headers: Array.from({ length: count }, (_, index) => ({ name: `X-N${index}`, value: `${index}` })),
    }),
    seen: async (stage, message) => {
      const { headers } = await stage.deliver(deliveryOf(message))
      return Object.keys(headers).filter((name) => /^x-n\d+$/.test(name)).length
    },
  },
  {
    capability: 'replyTo',
    path: /^replyTo/,
    of: (count) => ({ replyTo: mailboxes(count) }),
    seen: async (stage, message) => (await stage.deliver(deliveryOf(message))).replyTo.length,
  },
  {
    capability: 'tags',
    path: /^tags/,
    of: (count) => ({ tags: Array.from({ length: count }, (_, index) => `tag-${index}`) }),
    seen: async (stage, message) => (await stage.deliver(deliveryOf(message))).tags.length,
  },
]

export const limitCases: readonly Case[] = [
  ...counted.map(
    ({ capability, path, of, seen }): Case => ({
      feature: 'limits',
      name: `capabilities.${capability}: so many arrive, and one more is refused before the wire`,
      async run(stage) {
        const limit = Number(stage.capabilities[capability])
        assert.ok(limit >= 0, `capabilities.${capability} is a number`)
        const most = Math.min(limit, many)
        if (most > 0) assert.equal(await seen(stage, of(most)), most)
        if (limit > many && limit < Number.POSITIVE_INFINITY) assert.equal(await seen(stage, of(limit)), limit)
        const { bodies } = stage.server
        if (limit < Number.POSITIVE_INFINITY) stage.refuses(deliveryOf(of(limit + 1)), path)
        assert.equal(stage.server.bodies, bodies)
      },
    }),
  ),
  {
    feature: 'limits',
    name: 'capabilities.bytes: a message of more is refused before the wire',
    async run(stage) {
      const { bytes } = stage.capabilities
      assert.ok(bytes > 0)
      if (bytes === Number.POSITIVE_INFINITY) return
      const content = new Uint8Array(Math.ceil(bytes * 0.75) + 1_000)
      stage.refuses(
        deliveryOf({ attachments: [{ filename: 'a.bin', content, contentType: 'application/octet-stream' }] }),
        /^attachments/,
      )
    },
  },
  {
    feature: 'limits',
    name: 'capabilities are whole: every field is given and nothing is negative',
    async run({ provider, capabilities }) {
      assert.match(provider.name, /^[a-z0-9_-]{1,64}$/i)
      const kinds = {
        attachments: 'boolean',
        inline: 'boolean',
        calendar: 'boolean',
        envelope: 'boolean',
        recipients: 'number',
        bytes: 'number',
        headers: 'number',
        replyTo: 'number',
        bulk: 'number',
      } as const
      for (const [name, kind] of Object.entries(kinds)) {
        const value = capabilities[name as keyof typeof kinds]
        assert.equal(typeof value, kind, `capabilities.${name} is a ${kind}`)
        assert.ok(Number(value) >= 0)
      }
      assert.ok(['always', 'negotiated', 'never'].includes(capabilities.nonAsciiLocalPart))
      assert.ok(['events', 'header', false].includes(capabilities.metadata))
      assert.ok(capabilities.tags === false || capabilities.tags > 0)
      assert.equal(capabilities.bulk > 1, provider.sendMany !== undefined, 'bulk above 1 means sendMany, and only then')
    },
  },
  {
    feature: 'options',
    name: 'unknown providerOptions are refused by name, of whatever type they are',
    async run(stage) {
      for (const options of [{ noSuchSwitch: true }, { to: ['x@example.com'] }, 'text', 7, []]) {
        stage.refuses(deliveryOf(), /^providerOptions/, options)
      }
      assert.equal(stage.server.connections, 0, 'refuse touched the wire')
    },
  },
  {
    feature: 'options',
    name: 'refuse is pure: an ordinary message passes, and asking twice answers twice the same',
    async run({ provider, server }) {
      const delivery = deliveryOf()
      assert.deepEqual(provider.refuse?.(delivery, undefined) ?? [], [])
      const twice = [1, 2].map(() => provider.refuse?.(delivery, { noSuchSwitch: true }))
      assert.deepEqual(twice[0], twice[1])
      assert.equal(server.connections, 0)
    },
  },
]
