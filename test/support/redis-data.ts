import assert from 'node:assert/strict'
import { createClient } from 'redis'

/** Everything below a prefix, by the rest of each key's name; sorted sets as entries from member to score. */
export interface RedisData {
  readonly texts: ReadonlyMap<string, string>
  readonly hashes: ReadonlyMap<string, Readonly<Record<string, string>>>
  readonly sets: ReadonlyMap<string, ReadonlyMap<string, number>>
  readonly lists: ReadonlyMap<string, readonly string[]>
}

export async function readData(url: string, prefix: string): Promise<RedisData> {
  const client = await createClient({ url })
    .on('error', () => {})
    .connect()
  const start = `{${prefix}}:`
  const texts = new Map<string, string>()
  const hashes = new Map<string, Record<string, string>>()
  const sets = new Map<string, Map<string, number>>()
  const lists = new Map<string, string[]>()
  for await (const keys of client.scanIterator({ MATCH: `${start}*`, COUNT: 1_000 })) {
    for (const key of keys) {
      const name = key.slice(start.length)
      const type = await client.type(key)
      if (type === 'string') texts.set(name, (await client.get(key))!)
      else if (type === 'hash') hashes.set(name, { ...(await client.hGetAll(key)) })
      else if (type === 'list') lists.set(name, await client.lRange(key, 0, -1))
      else if (type === 'zset') {
        const members = await client.zRangeWithScores(key, 0, -1)
        sets.set(name, new Map(members.map(({ value, score }) => [value, score])))
      }
    }
  }
  client.destroy()
  return { texts, hashes, sets, lists }
}

const fields =
  'fence lease status accepted tenant key gone spare minute place sequence priority created seal labels given'.split(
    ' ',
  )

interface Meta {
  readonly id: string
  readonly [field: string]: string
}

/** What must hold between the parts of the data after every script, whatever was called in which order. */
export function checkData({ texts, hashes, sets, lists }: RedisData): void {
  const rows: Meta[] = [...hashes].flatMap(([name, { m = '' }]) =>
    name.startsWith('row:')
      ? [{ id: name.slice(4), ...Object.fromEntries(m.split(' ').map((value, i) => [fields[i]!, value])) }]
      : [],
  )
  const expected = new Map<string, Map<string, number>>()
  const put = (set: string, member: string, score: number) => {
    if (!expected.has(set)) expected.set(set, new Map())
    expected.get(set)!.set(member, score)
  }
  for (const row of rows) {
    assert.equal('c' in hashes.get(`row:${row.id}`)!, row.seal !== '-', 'content is there when its seal is')
    if (row.lease !== '-') put('leases', row.id, Number(row.lease))
    if (row.accepted === '1') {
      put(`list:${row.tenant}`, row.id, Number(row.created))
      put(`list:${row.tenant}:${row.status}`, row.id, Number(row.created))
      for (const label of row.labels!.split(',')) if (label !== '.') put(`label:${label}`, row.id, Number(row.created))
    }
    if (row.minute !== '-') assert.ok(lists.get(`ends:${row.minute}`)?.includes(row.id), 'its end is awaited')
    if (row.gone !== '-' || row.spare !== '-') {
      const ends = Math.min(...[row.gone, row.spare].filter((time) => time !== '-').map(Number))
      if (row.lease === '-') assert.ok(Number(row.minute) <= ends / 60_000, 'no later than it is')
    }
    const ticket = `${row.sequence}${row.priority} ${row.id}`
    const places = [...sets].filter(([name, members]) => /^(ready|timed)/.test(name) && members.has(ticket))
    assert.equal(places.length, 'rew'.includes(row.place!) ? 1 : 0, `${row.id} waits in one place or none`)
    for (const [name] of places) assert.equal(name.split(':').at(-1), row.tenant)
  }
  for (const [name, members] of sets) {
    if (/^(leases|list|label)/.test(name)) assert.deepEqual(members, expected.get(name), name)
  }
  for (const name of expected.keys()) assert.ok(sets.has(name), name)
  const waiting = rows.filter(({ place }) => 'rew'.includes(place!)).length
  assert.equal(Number(texts.get('waiting') ?? 0), waiting, 'the count of what waits')
  const queued = [...sets].filter(([name]) => /^(ready|timed)/.test(name)).flatMap(([, members]) => [...members.keys()])
  assert.equal(queued.length, waiting, 'nothing else waits')
  checkTurns(sets)
  for (const minute of [...lists.keys()].map((name) => name.slice(5))) assert.ok(sets.get('ends')?.has(minute), minute)
  for (const [name, id] of texts) if (name.startsWith('given:')) assert.ok(hashes.has(`row:${id}`), name)
}

function checkTurns(sets: RedisData['sets']): void {
  const turns = sets.get('turns') ?? new Map<string, number>()
  for (const [name] of sets) {
    const tenant = name.split(':').at(-1)!
    if (name.startsWith('ready:')) assert.ok(turns.has(tenant), `${tenant} has its turns`)
    if (!name.startsWith('timed:')) continue
    const clock = name.split(':')[1]
    const soonest = Math.min(...sets.get(name)!.values())
    if (!turns.has(tenant)) assert.equal(sets.get(`timers:${clock}`)?.get(tenant), soonest, `${tenant} has its timer`)
  }
  for (const clock of ['e', 'w']) {
    for (const tenant of sets.get(`timers:${clock}`)?.keys() ?? []) {
      assert.ok(sets.has(`timed:${clock}:${tenant}`) && !turns.has(tenant), `${tenant} waits for something`)
    }
  }
}
