import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode, SallyportError } from '@sallyport/base'
import { createBarrier, fileStorage, openBarrier } from '@sallyport/seal'
import type { Barrier, Unsealer } from '@sallyport/seal'

const KEY_FILE = 'unseal.key'

/**
 * The barrier of a control plane, unsealed by a key in a file of its own (0600) beside it: for one machine. It is made where there
 * is none.
 *
 * @param dir `DATA/control`
 * @throws SallyportError `SP_SEAL_*`, `SP_TRUST_PERMISSIONS`
 */
export async function openControlBarrier(dir: string): Promise<Barrier> {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const storage = fileStorage(join(dir, 'barrier.json'))
  const unsealer = fileUnsealer(join(dir, KEY_FILE))
  try {
    const barrier = await openBarrier({ storage })
    await barrier.unsealWith(unsealer)
    return barrier
  } catch (error) {
    if (errorCode(error) !== 'SP_SEAL_MISSING') throw error
    return (await createBarrier({ storage, unsealer })).barrier
  }
}

function fileUnsealer(file: string): Unsealer {
  const key = (): Buffer => {
    try {
      writeFileSync(file, `${randomBytes(32).toString('base64url')}\n`, {
        mode: 0o600,
        flag: 'wx',
        flush: true,
      })
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    }
    if ((statSync(file).mode & 0o077) !== 0) {
      throw new SallyportError('SP_TRUST_PERMISSIONS', `others can read \`${KEY_FILE}\``, {
        fix: 'find out who did, then `chmod 600` it',
      })
    }
    return Buffer.from(readFileSync(file, 'utf8').trim(), 'base64url')
  }
  return {
    id: 'file:unseal.key',
    wrap: async (rootKey, context) => {
      const iv = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key(), iv).setAAD(Buffer.from(context))
      return Buffer.concat([iv, cipher.update(rootKey), cipher.final(), cipher.getAuthTag()])
    },
    unwrap: async (wrapped, context) => {
      const decipher = createDecipheriv('aes-256-gcm', key(), wrapped.subarray(0, 12), {
        authTagLength: 16,
      })
      decipher.setAAD(Buffer.from(context)).setAuthTag(wrapped.subarray(-16))
      return Buffer.concat([decipher.update(wrapped.subarray(12, -16)), decipher.final()])
    },
  }
}
