import { createPrivateKey, createPublicKey, createSecretKey } from 'node:crypto'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { SallyportError } from '@sallyport/base'
import { readIfThere, writeDurably } from '../state/files.ts'

/** The Ed25519 key that signs the log's checkpoints, made on first use; its public half lies beside it for verifiers. */
export async function logSigner(dataDir: string): Promise<KeyObject> {
  const path = join(dataDir, 'log.key')
  const kept = await readIfThere(path)
  const key =
    kept === undefined ? generateKeyPairSync('ed25519').privateKey : createPrivateKey(kept)
  if (kept === undefined) {
    await writeDurably(path, key.export({ format: 'pem', type: 'pkcs8' }).toString())
  }
  const publicPem = createPublicKey(key).export({ format: 'pem', type: 'spki' }).toString()
  if ((await readIfThere(join(dataDir, 'log.pub'))) !== publicPem) {
    await writeDurably(join(dataDir, 'log.pub'), publicPem)
  }
  return key
}

/** 32 secret bytes in a file of their own, made on first use. @throws SallyportError `SP_GATEWAY_STATE` */
export async function secretFile(path: string): Promise<KeyObject> {
  const kept = await readIfThere(path)
  if (kept !== undefined) {
    const bytes = Buffer.from(kept.trim(), 'base64url')
    if (bytes.length === 32) return createSecretKey(bytes)
    throw new SallyportError('SP_GATEWAY_STATE', 'a file of the gateway cannot be read', {
      detail: path,
      fix: 'restore the file from a copy: what was sealed with it cannot be opened without it',
    })
  }
  const bytes = randomBytes(32)
  await writeDurably(path, bytes.toString('base64url'))
  return createSecretKey(bytes)
}
