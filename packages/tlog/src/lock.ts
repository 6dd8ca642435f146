import { readFileSync } from 'node:fs'
import { open, readFile, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { SallyportError } from '@sallyport/base'

/** A process id is reused; with its start time (proc(5), field 22) it names one process. */
function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function isAlive(holder: string): boolean {
  const [pid, start] = holder.split(' ')
  const now = processStart(Number(pid))
  if (now !== undefined) return now === start
  try {
    process.kill(Number(pid), 0)
    // No /proc to compare start times with: believe that it lives.
    return start === 'unknown'
  } catch {
    return false
  }
}

/**
 * Takes the one writer's place of a shard; a lock whose process is dead is taken over.
 *
 * @throws SallyportError `SP_LOG_LOCKED`
 */
export async function lockWriter(dir: string): Promise<() => Promise<void>> {
  const path = join(dir, 'writer.lock')
  const me = `${process.pid} ${processStart(process.pid) ?? 'unknown'}`
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const handle = await open(path, 'wx', 0o600)
      await handle.writeFile(me)
      await handle.close()
      return async () => {
        await unlink(path).catch(() => undefined)
      }
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    }
    const holder = await readFile(path, 'utf8').catch(() => '')
    if (holder !== '' && isAlive(holder)) break
    // Renaming to a name of our own first: of two processes that find the same dead holder, one wins.
    const stale = `${path}.${process.pid}`
    await rename(path, stale).catch(() => undefined)
    await unlink(stale).catch(() => undefined)
  }
  throw new SallyportError('SP_LOG_LOCKED', 'another process writes this log', {
    fix: 'stop the other gateway that uses this data directory, or give this one its own',
  })
}
