import { constants } from 'node:fs'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { BarrierStorage } from './types.ts'

/** Keeps the document in a file (0600), replaced by rename, so that a crash leaves the old one or the new one. One process at a time. */
export function fileStorage(path: string): BarrierStorage {
  const read = async (): Promise<string | undefined> => {
    try {
      return await readFile(path, 'utf8')
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    }
  }
  return {
    read,
    async replace(previous, next) {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      if ((await read()) !== previous) return false
      const temporary = `${path}.new`
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC
      const file = await open(temporary, flags, 0o600)
      try {
        await file.writeFile(next)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(temporary, path)
      const folder = await open(dirname(path), 'r')
      try {
        await folder.sync()
      } finally {
        await folder.close()
      }
      return true
    },
  }
}
