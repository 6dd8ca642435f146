import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

/** Writes a file so that after a crash it holds either the old or the new text, whole; durable when this resolves. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const dir = dirname(path)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const temporary = `${path}.new`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The text of a file; undefined where there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * The JSON in one of the gateway's own files; undefined where there is none.
 *
 * @throws SallyportError `SP_GATEWAY_STATE` where it cannot be read: it is never taken for absent
 */
export async function readJsonFile(path: string): Promise<JsonValue | undefined> {
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  try {
    return parseJson(text, { maxBytes: 64 * 1024 * 1024 })
  } catch (cause) {
    throw new SallyportError('SP_GATEWAY_STATE', 'a file of the gateway cannot be read', {
      detail: path,
      fix: 'restore the file from a copy, or enrol the gateway anew in an empty directory',
      cause,
    })
  }
}
