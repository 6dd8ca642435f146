import { createSecretKey, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { SallyportError } from '@sallyport/base'
import type { Unsealer } from '../barrier/types.ts'
import { decrypt, encrypt } from '../cipher.ts'
import { writeKeyFile } from './files.ts'
import { damaged, missing } from './local.ts'

const IV_BYTES = 12
const KEY_BYTES = 32

/**
 * Makes the file (0600) of an unsealer: for demos and development, since whoever reads the disk has both the file and what it opens.
 *
 * @throws SallyportError `SP_KEY_EXISTS`
 */
export async function makeFileUnsealer(path: string): Promise<Unsealer> {
  const text = `${randomBytes(KEY_BYTES).toString('base64url')}\n`
  await writeKeyFile(dirname(path), basename(path), '', text)
  return fileUnsealer(path)
}

/** Unseals with the key in a file. Its calls throw `SP_KEY_MISSING`, `SP_KEY_PERMISSIONS`, `SP_KEY_DAMAGED`. */
export function fileUnsealer(path: string): Unsealer {
  const read = async (): Promise<KeyObject> => {
    const name = basename(path)
    const found = await stat(path).catch(() => undefined)
    if (!found) throw missing(name, path)
    if ((found.mode & 0o077) !== 0) {
      throw new SallyportError('SP_KEY_PERMISSIONS', `others can read the key \`${name}\``, {
        detail: `mode ${(found.mode & 0o777).toString(8)}`,
        fix: 'find out who did, then `chmod 600` it',
      })
    }
    const bytes = Buffer.from((await readFile(path, 'utf8')).trim(), 'base64url')
    if (bytes.byteLength !== KEY_BYTES) throw damaged(name, 'it has not 32 bytes')
    const key = createSecretKey(bytes)
    bytes.fill(0)
    return key
  }
  return {
    id: `file:${basename(path)}`,
    async wrap(rootKey, context) {
      const { iv, ct } = encrypt(await read(), rootKey, context)
      return Buffer.concat([iv, ct])
    },
    async unwrap(wrapped, context) {
      return decrypt(
        await read(),
        wrapped.subarray(0, IV_BYTES),
        wrapped.subarray(IV_BYTES),
        context,
      )
    },
  }
}
