import { mkdir, open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** The file operations the log needs. Tests put a storage that loses power in its place. */
export interface Storage {
  list(): Promise<string[]>
  read(name: string): Promise<Buffer>
  /** Opens for writing at positions, making the file where it is missing. */
  open(name: string): Promise<StorageFile>
  /** Makes created names durable. */
  syncDirectory(): Promise<void>
}

export interface StorageFile {
  write(data: Uint8Array, position: number): Promise<void>
  truncate(size: number): Promise<void>
  sync(): Promise<void>
  close(): Promise<void>
}

/** The real file system, below one directory. */
export async function fileStorage(dir: string): Promise<Storage> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  return {
    list: () => readdir(dir),
    read: (name) => readFile(join(dir, name)),
    async open(name) {
      const path = join(dir, name)
      const handle = await open(path, 'r+').catch((error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
          return open(path, 'wx+', 0o600)
        }
        throw error
      })
      return {
        async write(data, position) {
          let done = 0
          while (done < data.byteLength) {
            const { bytesWritten } = await handle.write(
              data,
              done,
              data.byteLength - done,
              position + done,
            )
            done += bytesWritten
          }
        },
        truncate: (size) => handle.truncate(size),
        sync: () => handle.datasync(),
        close: () => handle.close(),
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
