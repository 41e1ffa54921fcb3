/**
 * One of several processes that ask the same of one file at the same time: `node sqlite-race.ts <path> <race> <name>`.
 * Starts on the first line of its standard input and prints what it won, as JSON.
 */
import { once } from 'node:events'
import { sqlite } from '../../../src/stores/sqlite.ts'
import type { MailStore } from '../../../src/stores/store.ts'
import { rowOf } from '../../../src/testing/stores/samples.ts'

export const racedKeys = 150
export const raceLimit = 300
export const racedTakes = 200
export const raceWindows = [{ limit: raceLimit, per: 86_400_000 }]

const lease = { owner: 'race', ms: 40_000 }
const numbers = Array.from({ length: racedKeys }, (_, i) => i)

const races: Readonly<Record<string, (store: MailStore, name: string) => Promise<readonly string[]>>> = {
  async claims(store, name) {
    const claims = await Promise.all(
      numbers.map((i) => store.claim(rowOf({ id: `${name}-${i}`, key: `key-${i}` }), { lease })),
    )
    return numbers.filter((i) => claims[i]!.state === 'claimed').map((i) => `key-${i}`)
  },

  async takeovers(store) {
    const taken = await Promise.all(numbers.map((i) => store.takeover(`row-${i}`, ['unknown'], lease)))
    return taken.flatMap((held) => (held ? [held.row.id] : []))
  },

  async due(store) {
    const won: string[] = []
    for (let none = 0; none < 3; ) {
      const { held } = await store.due(7, lease)
      won.push(...held.map(({ row }) => row.id))
      none = held.length === 0 ? none + 1 : 0
    }
    return won
  },

  async limits(store) {
    const takes = await Promise.all(Array.from({ length: racedTakes }, () => store.limits.take('race', raceWindows, 1)))
    return takes.filter(({ ok }) => ok).map(() => 'taken')
  },

  async once(store) {
    const first = await Promise.all(numbers.map((i) => store.once(`event-${i}`, 60_000)))
    return numbers.filter((i) => first[i]).map((i) => `event-${i}`)
  },
}

if (process.argv[1] === import.meta.filename) {
  const [path, race, name] = process.argv.slice(2) as [string, string, string]
  process.stdout.write('ready\n')
  await once(process.stdin, 'data')
  process.stdin.destroy()
  const store = sqlite(path)
  process.stdout.write(`${JSON.stringify(await races[race]!(store, name))}\n`)
  await store.close()
}
