import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { FederationStore } from './types.ts'

/** The last good bundles of other trust domains, a file each: after a crash the old one or the new one, whole. */
export function federationFolder(folder: string): FederationStore {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  return {
    read(name) {
      const path = join(folder, name)
      return existsSync(path) ? readFileSync(path, 'utf8') : undefined
    },
    write(name, text) {
      const path = join(folder, name)
      writeFileSync(`${path}.partial`, text, { mode: 0o600, flush: true })
      renameSync(`${path}.partial`, path)
      const handle = openSync(folder, 'r')
      try {
        fsyncSync(handle)
      } finally {
        closeSync(handle)
      }
    },
  }
}
