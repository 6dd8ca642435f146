import fs from 'node:fs'
import { open } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

type Next = (sync: () => Promise<unknown>) => Promise<void>

/** Puts something in the place of every operation that makes bytes durable. @returns what puts the real ones back */
export async function replaceSync(next: Next): Promise<() => void> {
  const handle = await open(import.meta.filename)
  // The class of file handles is not exported; every handle has it as its prototype.
  const proto = Object.getPrototypeOf(handle) as { datasync: (this: unknown) => Promise<void> }
  await handle.close()
  const { datasync } = proto
  proto.datasync = function replaced() {
    return next(() => datasync.call(this))
  }
  const { write } = fs
  Object.assign(fs, {
    write: (...given: Write) => {
      if (isSynced(given[0])) void instead(write, given, next)
      else write(...given)
    },
  })
  syncBuiltinESMExports()
  return () => {
    proto.datasync = datasync
    fs.write = write
    syncBuiltinESMExports()
  }
}

/** In the form in which the log writes. */
type Write = [fd: number, Uint8Array, offset: number, length: number, position: number, Wrote]
type Wrote = (error: Error | null, bytes: number) => void

async function instead(
  write: typeof fs.write,
  [fd, data, offset, length, position, done]: Write,
  next: Next,
): Promise<void> {
  let wrote = 0
  try {
    await next(
      () =>
        new Promise<void>((resolve, reject) => {
          write(fd, data, offset, length, position, (error, bytes) => {
            wrote = bytes
            if (error) reject(error)
            else resolve()
          })
        }),
    )
  } catch (error) {
    done(error instanceof Error ? error : new Error(String(error)), 0)
    return
  }
  done(null, wrote)
}

/** Whether every write to it is synced (open(2), O_DSYNC). */
function isSynced(fd: number): boolean {
  if (process.platform !== 'linux') return false
  const info = fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
  const [, octal = ''] = /^flags:\s*(\d+)$/m.exec(info) ?? []
  return (Number.parseInt(octal, 8) & fs.constants.O_DSYNC) !== 0
}
