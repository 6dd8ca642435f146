import { createSecretKey, hkdfSync, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { errorCode, SallyportError } from '@sallyport/base'
import { decrypt, encrypt } from '../cipher.ts'
import { splitSecret } from '../shares.ts'
import type { Document, SharesSeal, TermEntry, UnsealerSeal, Wrapped } from './document.ts'
import { ShareBox, sharesSecret } from './share-box.ts'
import type { Unsealer } from './types.ts'

const KEY_BYTES = 32

/** What an unsealed barrier holds in memory. */
export interface Keys {
  readonly root: KeyObject
  readonly wrapping: KeyObject
  readonly mac: KeyObject
  /** By term, unwrapped on first use. */
  readonly data: Map<number, KeyObject>
}

export const newKeys = (): Keys => keysOf(randomBytes(KEY_BYTES))

export function newTerm(keys: Keys, id: string, term: number, createdAt: number): TermEntry {
  const secret = randomBytes(KEY_BYTES)
  const wrapped = wrap(keys.wrapping, secret, termContext(id, term))
  secret.fill(0)
  return { term, createdAt, spent: 0, ...wrapped }
}

export async function sealedByShares(
  root: KeyObject,
  count: number,
  threshold: number,
  id: string,
): Promise<{ seal: SharesSeal; shares: readonly string[] }> {
  const secret = randomBytes(KEY_BYTES)
  const { set, shares, commitments } = await splitSecret(secret, count, threshold)
  const bytes = root.export()
  const wrapped = wrap(secretKey(secret), bytes, sharesContext(id, set))
  bytes.fill(0)
  return { seal: { set, threshold, commitments, ...wrapped }, shares }
}

export async function sealedByUnsealer(
  root: KeyObject,
  unsealer: Unsealer,
  id: string,
): Promise<UnsealerSeal> {
  const bytes = root.export()
  const wrapped = await unsealer.wrap(bytes, unsealerContext(id))
  bytes.fill(0)
  const seal = { id: unsealer.id, wrapped: wrapped.toString('base64url') }
  const back = await rootFromUnsealer(unsealer, seal, id)
  const same = createSecretKey(back).equals(root)
  back.fill(0)
  if (!same) throw unsealerFailed(new Error('it gave another key back'))
  return seal
}

export async function rootFromUnsealer(
  unsealer: Unsealer,
  { wrapped }: UnsealerSeal,
  id: string,
): Promise<Buffer> {
  try {
    const root = await unsealer.unwrap(Buffer.from(wrapped, 'base64url'), unsealerContext(id))
    if (root.byteLength !== KEY_BYTES) throw new Error('it gave no key back')
    return root
  } catch (cause) {
    throw errorCode(cause) === 'SP_INTERNAL' ? unsealerFailed(cause) : cause
  }
}

export async function rootFromShares(box: ShareBox, seal: SharesSeal, id: string): Promise<Buffer> {
  const key = secretKey(await sharesSecret(box))
  try {
    return unwrap(key, seal, sharesContext(id, seal.set))
  } catch (cause) {
    // Each share met its commitment: what they open is what does not hold.
    throw new SallyportError('SP_SEAL_CORRUPT', 'the shares do not open the barrier', { cause })
  }
}

/** Where people hold shares, a threshold of them is asked for whatever changes who can unseal. */
export async function proven(authority: readonly string[], document: Document): Promise<void> {
  const { shares, id } = document
  if (!shares) return
  const root = await rootFromShares(ShareBox.all(authority, shares), shares, id)
  root.fill(0)
}

/** The bytes are zeroed. */
export function keysOf(bytes: Buffer): Keys {
  const root = createSecretKey(bytes)
  bytes.fill(0)
  const derive = (use: string): KeyObject =>
    secretKey(Buffer.from(hkdfSync('sha256', root, '', `sallyport-barrier/1 ${use}`, KEY_BYTES)))
  return { root, wrapping: derive('wrapping'), mac: derive('mac'), data: new Map() }
}

export function dataKeyOf(keys: Keys, id: string, entry: TermEntry): KeyObject {
  return secretKey(unwrap(keys.wrapping, entry, termContext(id, entry.term)))
}

/** The bytes are zeroed; what remains is in OpenSSL's hands. */
function secretKey(bytes: Buffer): KeyObject {
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}

function wrap(key: KeyObject, secret: Uint8Array, context: string): Wrapped {
  const { iv, ct } = encrypt(key, secret, context)
  return { iv: iv.toString('base64url'), ct: ct.toString('base64url') }
}

function unwrap(key: KeyObject, { iv, ct }: Wrapped, context: string): Buffer {
  try {
    return decrypt(key, Buffer.from(iv, 'base64url'), Buffer.from(ct, 'base64url'), context)
  } catch (cause) {
    throw new SallyportError('SP_SEAL_CORRUPT', 'a key of the barrier does not open', { cause })
  }
}

const termContext = (id: string, term: number): string => `sallyport-barrier/1 term ${id} ${term}`
const sharesContext = (id: string, set: string): string =>
  `sallyport-barrier/1 root ${id} shares ${set}`
const unsealerContext = (id: string): string => `sallyport-barrier/1 root ${id} unsealer`

export const noShares = (): SallyportError =>
  new SallyportError('SP_SEAL_SHARES', 'nobody could unseal the barrier with shares', {
    fix: 'give it shares, an unsealer, or both',
  })

const unsealerFailed = (cause: unknown): SallyportError =>
  new SallyportError('SP_SEAL_UNSEALER', 'the unsealer does not give the root key back', {
    cause,
    detail: cause instanceof Error ? cause.message : String(cause),
    fix: 'check that it is the key that the barrier was made with, or unseal with shares',
  })
