import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Failure, Stage, Transcript } from '../../providers/smtp/outcome.ts'
import { answerOf, parseReply, queueIdOf, verdictOf } from '../../providers/smtp/outcome.ts'
import { MailError } from '../../src/provider.ts'

/** PROVIDERS 2.5, read as INVARIANTS O1 asks: stage, reply, outcome, kind. */
const table: readonly (readonly [Stage, string, string, string])[] = [
  ['greeting', '554 5.7.1 Go away', 'failed', 'configuration'],
  ['greeting', '421 4.3.2 Closing', 'failed', 'transient'],
  ['greeting', '421 4.7.0 Too many connections', 'failed', 'throttled'],
  ['hello', '550 Who', 'failed', 'configuration'],
  ['tls', '454 4.7.0 TLS not available', 'failed', 'throttled'],
  ['tls', '454 TLS not available', 'failed', 'transient'],
  ['tls', '503 5.5.1 Not offered', 'failed', 'configuration'],
  ['login', '535 5.7.8 Bad credentials', 'failed', 'login'],
  ['login', '534 5.7.9 Too weak', 'failed', 'login'],
  ['login', '454 4.7.0 Temporary', 'failed', 'transient'],
  ['login', '421 4.7.0 Try again', 'failed', 'transient'],
  ['sender', '530 5.7.0 Authentication required', 'failed', 'login'],
  ['sender', '550 5.1.8 Bad sender', 'failed', 'sender'],
  ['sender', '553 5.1.7 Bad sender', 'failed', 'sender'],
  ['sender', '550 5.7.1 Not allowed', 'failed', 'sender'],
  ['sender', '554 Message rejected: Email address is not verified', 'failed', 'sender'],
  ['sender', '552 5.3.4 Too big', 'failed', 'size'],
  ['sender', '550 5.4.5 Daily limit', 'failed', 'throttled'],
  ['sender', '454 Throttling failure: Maximum sending rate exceeded', 'failed', 'throttled'],
  ['sender', '451 4.3.0 Later', 'failed', 'transient'],
  ['sender', '421 4.4.2 Idle', 'failed', 'transient'],
  ['sender', '501 5.5.4 Syntax', 'failed', 'configuration'],
  ['sender', '503 5.5.1 Sequence', 'failed', 'transient'],
  ['recipient', '550 5.1.1 No such user', 'rejected', 'recipient'],
  ['recipient', '550-5.1.1 No such user\n550 5.1.1 here', 'rejected', 'recipient'],
  ['recipient', '551 Moved', 'rejected', 'recipient'],
  ['recipient', '553 5.1.3 Syntax', 'rejected', 'recipient'],
  ['recipient', '501 Bad address', 'rejected', 'recipient'],
  ['recipient', '550 5.2.1 Disabled', 'rejected', 'recipient'],
  ['recipient', '552 5.2.2 Full', 'rejected', 'recipient'],
  ['recipient', '552 Too many recipients', 'failed', 'transient'],
  ['recipient', '550 5.7.1 Relay denied', 'rejected', 'recipient'],
  ['recipient', '450 4.2.1 Busy', 'failed', 'transient'],
  ['recipient', '451 4.7.1 Greylisted', 'failed', 'transient'],
  ['recipient', '452 4.5.3 Too many recipients', 'failed', 'transient'],
  ['recipient', '450 4.7.28 Rate', 'failed', 'throttled'],
  ['data', '554 5.5.1 No valid recipients', 'failed', 'configuration'],
  ['data', '554 5.7.1 Refused', 'rejected', 'content'],
  ['data', '451 4.3.0 Later', 'failed', 'transient'],
  ['end', '550 5.7.1 Spam', 'rejected', 'content'],
  ['end', '554 Refused', 'rejected', 'content'],
  ['end', '552 5.3.4 Too big', 'rejected', 'size'],
  ['end', '552 5.2.3 Too big', 'rejected', 'size'],
  ['end', '554 5.6.0 Conversion', 'rejected', 'content'],
  ['end', '550 5.1.1 No such user', 'rejected', 'recipient'],
  ['end', '550 5.7.26 Unauthenticated', 'failed', 'sender'],
  ['end', '421 4.3.2 Closing', 'failed', 'transient'],
  ['end', '451 4.3.0 Later', 'failed', 'transient'],
  ['end', '452 4.3.1 Full', 'failed', 'transient'],
]

for (const [stage, reply, outcome, kind] of table) {
  test(`O1 ${stage}: ${reply.replaceAll('\n', ' / ')} is ${outcome}, ${kind}`, () => {
    const parsed = parseReply(reply)
    assert.ok(parsed)
    assert.deepEqual(verdictOf(stage, parsed), { outcome, kind })
  })
}

test('what is no reply is none', () => {
  for (const text of ['', '2', '25', '250x', 'hello', '199 x', '600 x', '\x00\x7f<html>', ' 250 Ok']) {
    assert.equal(parseReply(text), undefined, text)
  }
  assert.deepEqual(parseReply('250'), { code: 250 })
  assert.deepEqual(parseReply('250 2.0.0'), { code: 250, enhanced: '2.0.0' })
  assert.deepEqual(parseReply('550 5.1.1.1 x'), { code: 550 })
})

test('queue ids are read as Postfix, Exim and Amazon write them', () => {
  assert.equal(queueIdOf('250 2.0.0 Ok: queued as 4FxYz123'), '4FxYz123')
  assert.equal(queueIdOf('250 OK id=1tXyZ0-0000-AbC'), '1tXyZ0-0000-AbC')
  const amazon = '0102018f3a3b4c5d-1a2b3c4d-1111-2222-3333-444455556666-000000'
  assert.equal(queueIdOf(`250 Ok ${amazon}`), amazon)
  assert.equal(queueIdOf('250 2.6.0 Message accepted'), undefined)
})

const people = ['a@example.com', 'b@example.com'].map((address) => ({ address, key: address, field: 'to' as const }))
const end = (transcript: Partial<Transcript>) => answerOf({ refused: new Map(), ...transcript }, people, ['hunter2'])
const thrown = (failure: Failure) => {
  try {
    end({ failure })
  } catch (error) {
    assert.ok(error instanceof MailError)
    return error
  }
  return assert.fail('it must throw')
}

test('O3 what breaks off without a reply is unknown from the dot on, and failed before it', () => {
  for (const stage of [
    'connect',
    'greeting',
    'hello',
    'tls',
    'login',
    'sender',
    'recipient',
    'data',
    'body',
  ] as const) {
    for (const cause of ['lost', 'garbage', 'timeout', 'aborted'] as const) {
      assert.equal(thrown({ stage, cause }).outcome, 'failed')
    }
  }
  for (const cause of ['lost', 'garbage', 'timeout', 'aborted'] as const) {
    assert.equal(thrown({ stage: 'end', cause }).outcome, 'unknown')
  }
  assert.equal(thrown({ stage: 'end', reply: '2' }).outcome, 'unknown')
})

test('P11 reasons hold neither addresses nor secrets', () => {
  const { message } = thrown({ stage: 'end', reply: '550 5.7.1 <a@example.com> and hunter2\r\n550 5.7.1 no' })
  assert.doesNotMatch(message, /example|hunter2|\n/)
})

test('O5 recipients that end alike are one error, those that differ are named', () => {
  const refused = new Map([['a@example.com', '550 5.1.1 No such user']])
  assert.deepEqual(end({ taken: '250 2.0.0 Ok', refused }).recipients, [
    { address: 'a@example.com', outcome: 'rejected', code: '550 5.1.1', reason: '5.1.1 No such user' },
  ])
  assert.deepEqual(
    end({ failure: { stage: 'end', cause: 'lost' }, refused }).recipients?.map(({ outcome }) => outcome),
    ['rejected', 'unknown'],
  )
  assert.throws(() => end({ failure: { stage: 'end', reply: '554 5.7.1 Spam' }, refused }), { outcome: 'rejected' })
  assert.deepEqual(end({ taken: '250 2.0.0 Ok' }).recipients, undefined)
})
