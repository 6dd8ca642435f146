import { copyFile, open, rename } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import {
  createBarrier,
  fileStorage,
  fileUnsealer,
  makeFileUnsealer,
  softwareKeys,
} from '@sallyport/seal'
import { BARRIER_FILE, UNSEAL_FILE } from './keys.ts'
import type { KeySettings } from './settings.ts'

/**
 * Gives a data directory of version 0.1, whose keys are files, what later ones are made with: a barrier, a log key in the folder `trust`, and
 * `keys.json`, which is written last. Every step is one that a crash may repeat.
 */
export async function upgradeTrust(dataDir: string): Promise<void> {
  const dir = join(dataDir, 'trust')
  const old = existsSync(join(dir, 'ca.key')) && existsSync(join(dir, 'bundle.key'))
  if (existsSync(join(dir, 'keys.json')) || !old) return
  const unsealFile = join(dir, UNSEAL_FILE)
  const unsealer = existsSync(unsealFile)
    ? fileUnsealer(unsealFile)
    : await makeFileUnsealer(unsealFile)
  const storage = fileStorage(join(dir, BARRIER_FILE))
  if ((await storage.read()) === undefined) await createBarrier({ storage, unsealer })
  if (!existsSync(join(dir, 'log.key'))) {
    const earlier = join(dataDir, 'control', 'log.key')
    // Its checkpoints are known: the log goes on with the same key.
    if (existsSync(earlier)) await copyFile(earlier, join(dir, 'log.key'))
    else await softwareKeys({ dir }).generate('log', 'ed25519')
  }
  const settings: KeySettings = { kind: 'software', madeAt: Date.now() }
  const temporary = join(dir, 'keys.json.new')
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(`${JSON.stringify(settings, null, 2)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, join(dir, 'keys.json'))
}
