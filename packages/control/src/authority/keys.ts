import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { CertificateSigner } from '@sallyport/spiffe'

/** Where the keys of signing certificates are kept: files here, a token elsewhere. All are P-256. */
export interface AuthorityKeys {
  /** Makes a key that is durable when this returns. */
  create(name: string): CertificateSigner
  /** @throws Error where there is none */
  open(name: string): CertificateSigner
  /** No failure where there is none. */
  destroy(name: string): void
  names(): readonly string[]
}

const SUFFIX = '.key'

/** Keys in files of a folder, 0600. */
export function fileKeys(folder: string): AuthorityKeys {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const file = (name: string): string => join(folder, `${name}${SUFFIX}`)
  return {
    create(name) {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      writeDurably(
        folder,
        `${name}${SUFFIX}`,
        String(privateKey.export({ format: 'pem', type: 'pkcs8' })),
      )
      return keySigner(privateKey)
    },
    open: (name) => keySigner(createPrivateKey(readFileSync(file(name), 'utf8'))),
    destroy(name) {
      rmSync(file(name), { force: true })
    },
    names: () =>
      readdirSync(folder)
        .filter((name) => name.endsWith(SUFFIX))
        .map((name) => name.slice(0, -SUFFIX.length)),
  }
}

/** A signer over a key that this process holds. */
function keySigner(key: KeyObject): CertificateSigner {
  return { publicKey: createPublicKey(key), sign: (data) => sign('sha256', data, key) }
}

/** Replaces a file in one step: after a crash there is the old one or the new one, whole. */
export function writeDurably(folder: string, name: string, text: string): void {
  const partial = join(folder, `${name}.partial`)
  writeFileSync(partial, text, { mode: 0o600, flush: true })
  renameSync(partial, join(folder, name))
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

export function readIfThere(folder: string, name: string): string | undefined {
  const path = join(folder, name)
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}
