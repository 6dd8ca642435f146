import { randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { KeyProvider } from '@sallyport/seal'
import type { CertificateSigner } from '@sallyport/spiffe'

/** Where the keys of signing certificates are: where the keys of the network are. All are P-256. */
export interface AuthorityKeys {
  /** Makes a key that is durable when this resolves. */
  create(name: string): Promise<CertificateSigner>
  /** @throws SallyportError where there is none, and the provider's own */
  open(name: string): Promise<CertificateSigner>
  /** No failure where there is none. */
  destroy(name: string): Promise<void>
  names(): Promise<readonly string[]>
}

/**
 * Keys of a provider whose names begin with `prefix`, and no others: whatever else it keeps is not touched.
 *
 * @param prefix empty where the provider is for these keys alone
 */
export function providedKeys(provider: KeyProvider, prefix: string): AuthorityKeys {
  return {
    create: (name) => provider.generate(`${prefix}${name}`, 'p256'),
    open: (name) => provider.signer(`${prefix}${name}`),
    destroy: (name) => provider.destroy(`${prefix}${name}`),
    async names() {
      const all = await provider.names()
      return all.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length))
    },
  }
}

const OWNER = 'owner'

/**
 * What tells this control plane's signing keys from those of others that share a token: an id in its folder, made once. Nobody takes
 * another's key for a leftover of their own.
 */
export function ownerIn(folder: string): string {
  const known = readIfThere(folder, OWNER)
  if (known !== undefined) return known
  const made = randomBytes(4).toString('hex')
  writeDurably(folder, OWNER, made)
  return made
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
