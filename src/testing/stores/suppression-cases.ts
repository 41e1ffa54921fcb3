import assert from 'node:assert/strict'
import { day, type Suite, second } from './case.ts'
import { suppression } from './samples.ts'

export const suppressions: Suite = {
  'P3: hasMany answers for each key, in order, by tenant and scope': async ({ store }) => {
    await store.suppress.add([
      suppression({ key: 'a@x.example' }),
      suppression({ key: 'b@x.example', scope: 'stream:marketing' }),
      suppression({ key: 'c@x.example', tenant: 't' }),
    ])
    const asked = ['b@x.example', 'c@x.example', 'a@x.example', 'd@x.example']
    const found = async (tenant: string | undefined, scopes: string[]) =>
      (await store.suppress.hasMany(tenant, asked, scopes)).map((entry) => entry?.key)
    assert.deepEqual(await found(undefined, ['all']), [undefined, undefined, 'a@x.example', undefined])
    assert.deepEqual(await found(undefined, ['all', 'stream:marketing']), [
      'b@x.example',
      undefined,
      'a@x.example',
      undefined,
    ])
    assert.deepEqual(await found('t', ['all', 'stream:marketing']), [undefined, 'c@x.example', undefined, undefined])
    assert.deepEqual(await store.suppress.hasMany(undefined, [], ['all']), [])
  },

  'P8: tenants and keys that would join to the same text stay apart': async ({ store }) => {
    await store.suppress.add([suppression({ tenant: 'a', key: 'b:c' }), suppression({ key: 'a:b' })])
    assert.deepEqual(await store.suppress.get('a:b', 'c'), [])
    assert.deepEqual(await store.suppress.get('', 'a:b'), [])
    assert.equal((await store.suppress.get('a', 'b:c')).length, 1)
  },

  'the first of the asked scopes that covers a key is answered': async ({ store }) => {
    await store.suppress.add([
      suppression({ scope: 'topic:news', reason: 'unsubscribe' }),
      suppression({ scope: 'all', reason: 'complaint' }),
    ])
    const [entry] = await store.suppress.hasMany(undefined, ['ada@example.com'], ['all', 'topic:news'])
    assert.equal(entry?.reason, 'complaint')
    const [other] = await store.suppress.hasMany(undefined, ['ada@example.com'], ['topic:news', 'all'])
    assert.equal(other?.reason, 'unsubscribe')
  },

  'an entry covers until it expires': async ({ store, now, advance }) => {
    const has = async () => (await store.suppress.hasMany(undefined, ['ada@example.com'], ['all']))[0] !== undefined
    await store.suppress.add([suppression({ expiresAt: now() + 10 * second })])
    await advance(10 * second - 1)
    assert.equal(await has(), true)
    await advance(1)
    assert.equal(await has(), false)
    assert.deepEqual(await store.suppress.get(undefined, 'ada@example.com'), [])
    assert.equal(await store.suppress.remove(undefined, 'ada@example.com'), 0)
    await store.suppress.add([suppression()])
    await advance(400 * day)
    assert.equal(await has(), true, 'without expiry it stays')
  },

  'adding again replaces; removing takes one scope or all': async ({ store }) => {
    const key = 'ada@example.com'
    await store.suppress.add([suppression({ note: 'first' })])
    const second = suppression({ note: 'second', reason: 'hard_bounce' })
    await store.suppress.add([second, suppression({ scope: 'topic:a' }), suppression({ scope: 'topic:b' })])
    assert.deepEqual(
      (await store.suppress.get(undefined, key)).find(({ scope }) => scope === 'all'),
      second,
    )
    assert.equal((await store.suppress.get(undefined, key)).length, 3)
    assert.equal(await store.suppress.remove(undefined, key, 'topic:a'), 1)
    assert.equal(await store.suppress.remove(undefined, key, 'topic:a'), 0)
    assert.equal(await store.suppress.remove('t', key), 0)
    assert.equal(await store.suppress.remove(undefined, key), 2)
    assert.deepEqual(await store.suppress.get(undefined, key), [])
  },

  'entries for one mailbox added at once are all kept': async ({ store }) => {
    await Promise.all(Array.from({ length: 20 }, (_, i) => store.suppress.add([suppression({ scope: `topic:${i}` })])))
    assert.equal((await store.suppress.get(undefined, 'ada@example.com')).length, 20)
  },
}
