import { createPrivateKey, createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { parseJson, SallyportError } from '@sallyport/base'
import type { Barrier } from '../barrier/types.ts'
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

const ENDING = '.sealed'

interface SealedKey {
  readonly publicKey: KeyObject
  readonly ciphertext: Buffer
  readonly createdAt: number
}

/**
 * Keys in files of one folder, `NAME.sealed`, encrypted under a barrier. On disk nobody can read them; in the memory of the unsealed process
 * they are.
 */
export function sealedKeys(options: {
  readonly dir: string
  readonly barrier: Barrier
}): KeyProvider {
  const { dir, barrier } = options
  const usable = (): void => {
    if (barrier.status().state !== 'unsealed') {
      throw new SallyportError('SP_SEAL_SEALED', 'the barrier is sealed', {
        fix: 'unseal it with `sallyport unseal`',
      })
    }
  }
  const read = async (name: string): Promise<SealedKey> => {
    checkName(name)
    const { text, createdAt } = await readKeyFile(dir, name, ENDING)
    try {
      const value = parseJson(text)
      if (value === null || typeof value !== 'object') throw new Error('it is not an object')
      const { publicKey, ciphertext } = Object.fromEntries(Object.entries(value))
      if (typeof publicKey !== 'string' || typeof ciphertext !== 'string') {
        throw new Error('a member is missing')
      }
      const der = Buffer.from(publicKey, 'base64url')
      const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
      return { publicKey: key, ciphertext: Buffer.from(ciphertext, 'base64url'), createdAt }
    } catch (cause) {
      throw damaged(name, cause instanceof Error ? cause.message : String(cause), cause)
    }
  }
  return {
    kind: 'sealed',
    async signer(name) {
      const { publicKey, ciphertext } = await read(name)
      const der = await barrier.decrypt(pathOf(name), 1, ciphertext)
      const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
      der.fill(0)
      const signer = localSigner(key, usable)
      if (!signer.publicKey.equals(publicKey)) {
        throw damaged(name, 'the public key beside it is another')
      }
      return signer
    },
    async generate(name, algorithm) {
      checkName(name)
      const key = newPrivateKey(algorithm)
      const der = key.export({ format: 'der', type: 'pkcs8' })
      const ciphertext = await barrier.encrypt(pathOf(name), 1, der)
      der.fill(0)
      const spki = createPublicKey(key).export({ format: 'der', type: 'spki' })
      const text = JSON.stringify({
        publicKey: spki.toString('base64url'),
        ciphertext: ciphertext.toString('base64url'),
      })
      await writeKeyFile(dir, name, ENDING, `${text}\n`)
      return localSigner(key, usable)
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
          const { publicKey, createdAt } = await read(name)
          const fingerprint = fingerprintOf(publicKey)
          const [algorithm, provider, use] = [algorithmOf(publicKey), 'sealed', 'sign'] as const
          return { name, algorithm, use, provider, exportable: true, createdAt, fingerprint }
        }),
      )
    },
    close: async () => undefined,
  }
}

const pathOf = (name: string): string => `key/${name}`
