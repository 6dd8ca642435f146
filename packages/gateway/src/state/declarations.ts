import { join } from 'node:path'
import { canonicalJson } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import { readIfThere, writeDurably } from './files.ts'

/**
 * Keeps a declaration as `declarations/DIGEST.json` for as long as the log is kept. The name is the SHA-256 of the text, and
 * stands in every decision record: a reader of the log can tell whether the file is the one that decided.
 */
export async function keepDeclaration(
  dataDir: string,
  digest: string,
  declaration: Declaration,
): Promise<void> {
  const path = join(dataDir, 'declarations', `${digest}.json`)
  const text = canonicalJson(declaration)
  if ((await readIfThere(path)) !== text) await writeDurably(path, text)
}
