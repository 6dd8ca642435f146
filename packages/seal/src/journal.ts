import { constants } from 'node:fs'
import { mkdir, open, rename } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { sha256Hex, SallyportError } from '@sallyport/base'

/** One fact about keys. Times are milliseconds since the epoch, binary members base64url. */
export type Entry =
  /** The key that names subjects, wrapped; the first entry, once. */
  | { readonly t: 'naming'; readonly iv: string; readonly ct: string }
  /** A data key, wrapped, with its first lease. */
  | { readonly t: 'key'; readonly k: string; readonly iv: string; readonly ct: string }
  /** One more lease of uses for a key. */
  | { readonly t: 'lease'; readonly k: string }
  /** The key ids that an erasure destroyed. */
  | { readonly t: 'erased'; readonly ks: readonly string[]; readonly at: number }

const FILE = 'keyring.jsonl'

/**
 * The append-only file of a keyring: one line a write, each `CHECKSUM SP [entries]`, synced before it counts. So a crash can
 * tear the last line only, and what a torn line held was never acknowledged.
 */
export class Journal {
  readonly #path: string
  #file: FileHandle
  #failed: unknown

  private constructor(path: string, file: FileHandle) {
    this.#path = path
    this.#file = file
  }

  /** Whether a write failed: every later one is refused. */
  get failed(): boolean {
    return this.#failed !== undefined
  }

  /** @throws SallyportError `SP_SEAL_CORRUPT` where a line before the last one does not hold */
  static async open(dir: string): Promise<{ journal: Journal; entries: Entry[] }> {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    const path = join(dir, FILE)
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o600)
    try {
      const { entries, length } = readLines(await file.readFile('utf8'))
      // Cut the torn tail off, or the next line would continue it.
      await file.truncate(length)
      await file.sync()
      await syncDir(dir)
      return { journal: new Journal(path, file), entries }
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** As `open`, and changes nothing: another process may be writing. What it appends meanwhile is not seen. */
  static async openForReading(dir: string): Promise<{ journal: Journal; entries: Entry[] }> {
    const path = join(dir, FILE)
    const file = await open(path, constants.O_RDONLY)
    try {
      // A torn tail is a line that is being written.
      const { entries } = readLines(await file.readFile('utf8'))
      return { journal: new Journal(path, file), entries }
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /**
   * Appends entries as one line and syncs it. After a failure the journal stays failed: what the disk holds is unknown,
   * and a second fsync would report success for pages the first one lost.
   */
  async append(entries: readonly Entry[]): Promise<void> {
    await this.#guarded(async () => {
      await this.#file.appendFile(line(entries))
      await this.#file.datasync()
    })
  }

  /** Replaces the whole file by `entries`, atomically, and overwrites the old one's bytes. */
  async rewrite(entries: Iterable<Entry>): Promise<void> {
    await this.#guarded(async () => {
      const temporary = `${this.#path}.new`
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | constants.O_APPEND
      const file = await open(temporary, flags, 0o600)
      try {
        for (const entry of entries) await file.appendFile(line([entry]))
        await file.sync()
        await rename(temporary, this.#path)
        await syncDir(dirname(this.#path))
      } catch (error) {
        await file.close()
        throw error
      }
      const old = this.#file
      this.#file = file
      await overwrite(old)
    })
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async #guarded(act: () => Promise<void>): Promise<void> {
    if (this.#failed !== undefined) throw failure(this.#failed)
    try {
      await act()
    } catch (error) {
      this.#failed = error
      throw failure(error)
    }
  }
}

function line(entries: readonly Entry[]): string {
  const text = JSON.stringify(entries)
  return `${sha256Hex(text).slice(0, 16)} ${text}\n`
}

function readLines(text: string): { entries: Entry[]; length: number } {
  const entries: Entry[] = []
  let at = 0
  while (at < text.length) {
    const end = text.indexOf('\n', at)
    const found = end < 0 ? undefined : readLine(text.slice(at, end))
    if (!found) {
      if (end >= 0 && end + 1 < text.length) {
        throw new SallyportError('SP_SEAL_CORRUPT', 'the keyring file is damaged', {
          detail: `the line at character ${at} does not match its checksum`,
          fix: 'restore the keyring directory from a backup',
        })
      }
      break
    }
    for (const entry of found) entries.push(entry)
    at = end + 1
  }
  return { entries, length: Buffer.byteLength(text.slice(0, at)) }
}

function readLine(text: string): Entry[] | undefined {
  const body = text.slice(17)
  if (text.slice(0, 17) !== `${sha256Hex(body).slice(0, 16)} `) return undefined
  // The checksum matches: this is a line that this class wrote.
  return JSON.parse(body) as Entry[]
}

/** Best effort: a copy-on-write or flash medium may keep the old blocks. The data keys in them are wrapped anyway. */
async function overwrite(old: FileHandle): Promise<void> {
  try {
    const { size } = await old.stat()
    await old.truncate(0)
    await old.appendFile(Buffer.alloc(size))
    await old.sync()
  } finally {
    await old.close()
  }
}

async function syncDir(dir: string): Promise<void> {
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function failure(cause: unknown): SallyportError {
  return new SallyportError('SP_SEAL_STORAGE', 'the keyring cannot be written', {
    cause,
    detail: cause instanceof Error ? cause.message : String(cause),
    fix: 'free the disk, then restart the process',
  })
}
