import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import type { MailStore } from '../../src/index.ts'
import type { Chance } from './chance.ts'
import type { Ground } from './ground.ts'
import { serve } from './served-store.ts'

/** A place for stores of one engine. */
export interface Engine {
  readonly name: string
  /** Where a new store, with nothing in it, will be. */
  newGround(): Promise<Ground>
  /** Makes the engine itself fail for a moment: its server is killed and started again, or connections are cut. */
  readonly disturb?: (chance: Chance) => Promise<void>
  close(): Promise<void>
}

export type EngineName = 'sqlite' | 'redis' | 'postgres'

export const engineNames: readonly EngineName[] = ['sqlite', 'redis', 'postgres']

/** Stores under `folder`, or on servers of their own. */
export async function engine(name: EngineName, folder: string): Promise<Engine> {
  switch (name) {
    case 'sqlite':
      return {
        name,
        newGround: async () => ({ engine: 'sqlite', path: join(mkdtempSync(join(folder, 'sqlite-')), 'mail.db') }),
        close: async () => undefined,
      }
    default:
      throw new Error(`no ${name} yet`)
  }
}

/** Stores that this process serves to the others. */
export function servedEngine(name: string, make: () => MailStore): Engine {
  const open: { close(): Promise<void> }[] = []
  return {
    name,
    async newGround() {
      const serving = await serve(make())
      open.push(serving)
      return { engine: 'served', port: serving.port }
    },
    async close() {
      await Promise.all(open.map((serving) => serving.close()))
    },
  }
}
