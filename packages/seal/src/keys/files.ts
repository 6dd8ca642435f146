import { open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { exists, missing } from './local.ts'

/** Names of the keys in a folder, by the ending of their files. */
export async function namesIn(dir: string, ending: string): Promise<string[]> {
  const files = await readdir(dir)
  return files
    .filter((file) => file.endsWith(ending))
    .map((file) => file.slice(0, -ending.length))
    .toSorted()
}

/** Text and metadata of a key's file. @throws SallyportError `SP_KEY_MISSING` */
export async function readKeyFile(
  dir: string,
  name: string,
  ending: string,
): Promise<{ readonly text: string; readonly mode: number; readonly createdAt: number }> {
  const path = join(dir, `${name}${ending}`)
  try {
    const text = await readFile(path, 'utf8')
    const { mode, mtimeMs } = await stat(path)
    // Written once: the time of its last change is that of its making.
    return { text, mode, createdAt: Math.floor(mtimeMs) }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw missing(name, path)
    }
    throw error
  }
}

/** Writes a key's file durably (0600). @throws SallyportError `SP_KEY_EXISTS` */
export async function writeKeyFile(
  dir: string,
  name: string,
  ending: string,
  text: string,
): Promise<void> {
  const path = join(dir, `${name}${ending}`)
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      throw exists(name, path)
    }
    throw error
  }
  await syncFolder(dir)
}

/** Takes a key's file away, durably. */
export async function destroyKeyFile(dir: string, name: string, ending: string): Promise<void> {
  await rm(join(dir, `${name}${ending}`), { force: true })
  await syncFolder(dir)
}

async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
