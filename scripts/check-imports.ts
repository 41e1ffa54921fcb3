/**
 * Holds the arrows between the rooms: no cycles; a provider imports `src/provider.ts`, its own files and
 * `providers/shared` only; `src` imports no provider; and http, nest, cli → mailer → policies, dispatch, queues → ledger
 * → stores, also by way of other files. Type imports count: they bind as much when one reads.
 */
import { globSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'

/** Rooms from the lowest up: none may reach a higher one. */
const floors = [
  ['src/stores/'],
  ['src/ledger/'],
  ['src/policies/', 'src/dispatch/', 'src/queues/'],
  ['src/mailer.ts', 'src/create-mailer.ts', 'src/index.ts'],
  ['src/http/', 'src/nest/', 'src/cli/'],
]

type Graph = ReadonlyMap<string, readonly string[]>

/** Every violation in the tree under `root`, as a line that names the files. Empty when the arrows hold. */
export function violations(root: string): string[] {
  const files = globSync('{src,providers}/**/*.ts', { cwd: root }).map((file) => file.replaceAll('\\', '/'))
  const graph: Graph = new Map(
    files.sort().map((file) => [file, importsOf(file, readFileSync(`${root}/${file}`, 'utf8'))]),
  )
  return [...cycles(graph), ...strayImports(graph), ...climbs(graph)]
}

/** The files and packages of ours that one file imports, as paths from the root. Relies on the formatter's layout. */
function importsOf(file: string, source: string): string[] {
  const found = source
    .split('\n')
    .filter((line) => !/^\s*(\*|\/\/|\/\*)/.test(line))
    .flatMap((line) => [
      ...(/^(?:import\b|export\b|\})[^'"]*\bfrom\s*['"]([^'"]+)['"]/.exec(line)?.slice(1) ?? []),
      ...(/^import\s*['"]([^'"]+)['"]/.exec(line)?.slice(1) ?? []),
      ...Array.from(line.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g), (match) => match[1] as string),
    ])
    .filter((name) => name.startsWith('.') || /^sendwright(\/|$)/.test(name))
  return [...new Set(found.map((name) => (name.startsWith('.') ? posix.join(posix.dirname(file), name) : name)))]
}

/** One line for each import that closes a cycle. */
function cycles(graph: Graph): string[] {
  const found: string[] = []
  const done = new Set<string>()
  const path: string[] = []
  const visit = (file: string): void => {
    if (path.includes(file)) found.push(`cycle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`)
    if (path.includes(file) || done.has(file)) return
    path.push(file)
    for (const next of graph.get(file) ?? []) visit(next)
    path.pop()
    done.add(file)
  }
  for (const file of graph.keys()) visit(file)
  return found
}

function strayImports(graph: Graph): string[] {
  return [...graph].flatMap(([file, imports]) =>
    imports.filter((to) => !mayImport(file, to)).map((to) => `${file} may not import ${to}`),
  )
}

function mayImport(file: string, to: string): boolean {
  if (/^sendwright(\/|$)/.test(to)) return false
  if (file.startsWith('src/')) {
    return to.startsWith('src/') && (!to.startsWith('src/testing/') || file.startsWith('src/testing/'))
  }
  const own = /^providers\/[^/.]+/.exec(file)?.[0] ?? file
  return (
    to === 'src/provider.ts' ||
    [own, 'providers/shared'].some((room) => to === `${room}.ts` || to.startsWith(`${room}/`))
  )
}

const floorOf = (file: string): number =>
  floors.findIndex((rooms) => rooms.some((room) => file === room || (room.endsWith('/') && file.startsWith(room))))

/** One line for each file that reaches a room above its own, with the way it gets there. */
function climbs(graph: Graph): string[] {
  const found: string[] = []
  for (const file of graph.keys()) {
    const floor = floorOf(file)
    if (floor === -1) continue
    const ways = new Map([[file, [file]]])
    for (const [at, way] of ways) {
      for (const next of graph.get(at) ?? []) {
        if (ways.has(next)) continue
        // A room of a floor of its own answers for what it reaches itself.
        if (floorOf(next) > floor) found.push(`upwards: ${[...way, next].join(' → ')}`)
        else if (floorOf(next) === -1) ways.set(next, [...way, next])
      }
    }
  }
  return found
}

if (import.meta.main ?? process.argv[1] === import.meta.filename) {
  const found = violations(`${import.meta.dirname}/..`)
  for (const line of found) console.error(line)
  console.log(`imports: ${found.length} violations`)
  process.exitCode = found.length > 0 ? 1 : 0
}
