import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/** SubjectPublicKeyInfo of an uncompressed point on P-256 up to the point itself (RFC 5480, section 2). */
const HEAD = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex')
const LENGTH = HEAD.length + 64

export interface P256Key {
  readonly key: KeyObject
  /** The one canonical encoding, whatever form the key came in. */
  readonly spki: Buffer
}

/**
 * Reads a P-256 public key. OpenSSL checks that the point lies on the curve.
 *
 * @param spki SubjectPublicKeyInfo, DER
 * @returns undefined for a key of another type or curve
 * @throws Error of `node:crypto` where it cannot be read
 */
export function readP256(spki: Buffer): P256Key | undefined {
  const read = readKey(spki)
  if (read) checked.add(read.spki)
  return read
}

/** Encodings that `readP256` made: a key that a request brought is not read again to put it into the certificate. */
const checked = new WeakSet<Buffer>()

/** Whether this very buffer was read as a P-256 key before. */
export function isChecked(spki: Buffer): boolean {
  return checked.has(spki)
}

function readKey(spki: Buffer): P256Key | undefined {
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  // Most keys come in this form already, and encoding one anew costs more than signing with it.
  if (isCanonicalP256(spki)) return { key, spki: Buffer.from(spki) }
  return isP256(key) ? { key, spki: key.export({ format: 'der', type: 'spki' }) } : undefined
}

/** Whether this is the one encoding of a P-256 key; whether the point lies on the curve is not looked at. */
export function isCanonicalP256(spki: Buffer): boolean {
  return spki.length === LENGTH && spki.compare(HEAD, 0, HEAD.length, 0, HEAD.length) === 0
}

export function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1'
}
