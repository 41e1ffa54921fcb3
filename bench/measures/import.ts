/** How long a fresh process takes to import one package, in milliseconds, and the memory it takes: `import.ts <name>`. */
import { report } from './measure.ts'

const name = process.argv[2] ?? 'sendwright'
const before = process.memoryUsage.rss()
const start = performance.now()
await import(name)
report({ ms: performance.now() - start, mb: (process.memoryUsage.rss() - before) / 1e6 })
