import { constants, write } from 'node:fs'
import { mkdir, open, readdir, readFile } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

/** The file operations the log needs. Tests put a storage that loses power in its place. */
export interface Storage {
  list(): Promise<string[]>
  read(name: string): Promise<Buffer>
  /** So many bytes from a position on; fewer where the file ends before. */
  readAt(name: string, position: number, length: number): Promise<Buffer>
  /** Opens for writing at positions, making the file where it is missing. */
  open(name: string): Promise<StorageFile>
  /** Makes created names durable. */
  syncDirectory(): Promise<void>
}

export interface StorageFile {
  write(data: Uint8Array, position: number): Promise<void>
  /** Writes and syncs: what was written is durable when this resolves. */
  writeDurably(data: Uint8Array, position: number): Promise<void>
  truncate(size: number): Promise<void>
  sync(): Promise<void>
  close(): Promise<void>
}

/**
 * Linux writes and syncs in one operation where a file is opened so (open(2), O_DSYNC: as if each write were followed by fdatasync):
 * half the way to the threads that do it, and back. Elsewhere the flag promises less, or there is none.
 */
const SYNCED = process.platform === 'linux' ? constants.O_RDWR | constants.O_DSYNC : undefined

/** The real file system, below one directory. */
export async function fileStorage(dir: string): Promise<Storage> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  return {
    list: () => readdir(dir),
    read: (name) => readFile(join(dir, name)),
    async readAt(name, position, length) {
      const handle = await open(join(dir, name), 'r')
      try {
        const { size } = await handle.stat()
        const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - position)))
        let filled = 0
        while (filled < bytes.length) {
          const { bytesRead } = await handle.read(
            bytes,
            filled,
            bytes.length - filled,
            position + filled,
          )
          if (bytesRead === 0) break
          filled += bytesRead
        }
        return bytes.subarray(0, filled)
      } finally {
        await handle.close()
      }
    },
    async open(name) {
      const path = join(dir, name)
      const handle = await open(path, 'r+').catch((error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
          return open(path, 'wx+', 0o600)
        }
        throw error
      })
      const synced = SYNCED === undefined ? undefined : await also(handle, path, SYNCED)
      return {
        write: (data, position) => writeAll(handle.fd, data, position),
        async writeDurably(data, position) {
          await writeAll((synced ?? handle).fd, data, position)
          if (!synced) await handle.datasync()
        },
        truncate: (size) => handle.truncate(size),
        sync: () => handle.datasync(),
        async close() {
          await synced?.close()
          await handle.close()
        },
      }
    },
    async syncDirectory() {
      const handle = await open(dir, 'r')
      try {
        await handle.sync()
      } finally {
        await handle.close()
      }
    },
  }
}

/** Opens a file that is open a second time, in another way. */
async function also(handle: FileHandle, path: string, flags: number): Promise<FileHandle> {
  try {
    return await open(path, flags)
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Writes without the promise that a file handle makes for each piece: the log does this for every call that is made. */
function writeAll(fd: number, data: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0
    const next = (): void => {
      write(fd, data, done, data.byteLength - done, position + done, (error, bytesWritten) => {
        if (error) {
          reject(error)
          return
        }
        done += bytesWritten
        if (done < data.byteLength) next()
        else resolve()
      })
    }
    next()
  })
}
