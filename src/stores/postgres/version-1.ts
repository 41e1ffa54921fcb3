import { entryFunctions } from './version-1/entries.ts'
import { forgetFunctions } from './version-1/forgetting.ts'
import { limitFunctions } from './version-1/limits.ts'
import { listFunctions } from './version-1/lists.ts'
import { messageFunctions } from './version-1/messages.ts'
import { queueFunctions } from './version-1/queue.ts'
import { sharedFunctions } from './version-1/shared.ts'
import { suppressionFunctions } from './version-1/suppressions.ts'
import { tables } from './version-1/tables.ts'
import { writeFunctions } from './version-1/writing.ts'

/** The first layout of the store. */
export const version1 = (schema: string): string =>
  [
    tables,
    sharedFunctions,
    suppressionFunctions,
    forgetFunctions,
    writeFunctions,
    messageFunctions,
    queueFunctions,
    listFunctions,
    limitFunctions,
    entryFunctions,
  ]
    .map((part) => part(schema))
    .join('\n')
