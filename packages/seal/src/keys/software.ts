import { createPrivateKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { destroyKeyFile, namesIn, readKeyFile, writeKeyFile } from './files.ts'
import {
  algorithmOf,
  checkName,
  damaged,
  fingerprintOf,
  localSigner,
  newPrivateKey,
} from './local.ts'
import type { KeyProvider } from './types.ts'

const ENDING = '.key'

/** Keys in files of one folder, `NAME.key`: PKCS#8 PEM, 0600. For demos and development: whoever reads the file has the key. */
export function softwareKeys({ dir }: { readonly dir: string }): KeyProvider {
  const read = async (name: string): Promise<{ key: KeyObject; createdAt: number }> => {
    checkName(name)
    const { text, mode, createdAt } = await readKeyFile(dir, name, ENDING)
    if ((mode & 0o077) !== 0) {
      throw new SallyportError('SP_KEY_PERMISSIONS', `others can read the key \`${name}\``, {
        detail: `mode ${(mode & 0o777).toString(8)}`,
        fix: 'find out who did, then `chmod 600` it',
      })
    }
    try {
      return { key: createPrivateKey(text), createdAt }
    } catch (cause) {
      throw damaged(name, 'it is not a PKCS#8 PEM', cause)
    }
  }
  return {
    kind: 'software',
    signer: async (name) => localSigner((await read(name)).key),
    async generate(name, algorithm) {
      checkName(name)
      const key = newPrivateKey(algorithm)
      const pem = key.export({ format: 'pem', type: 'pkcs8' }).toString()
      await writeKeyFile(dir, name, ENDING, pem)
      return localSigner(key)
    },
    names: () => namesIn(dir, ENDING),
    async destroy(name) {
      checkName(name)
      await destroyKeyFile(dir, name, ENDING)
    },
    async keys() {
      const names = await namesIn(dir, ENDING)
      return Promise.all(
        names.map(async (name) => {
          const { key, createdAt } = await read(name)
          const { publicKey } = localSigner(key)
          const fingerprint = fingerprintOf(publicKey)
          const [algorithm, provider, use] = [algorithmOf(key), 'software', 'sign'] as const
          return { name, algorithm, use, provider, exportable: true, createdAt, fingerprint }
        }),
      )
    },
    close: async () => undefined,
  }
}
