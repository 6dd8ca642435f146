import { createPublicKey, generateKeyPairSync, hash, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import type { KeyAlgorithm, Signer } from './types.ts'

/** Signs in this process. @param usable throws where the key must not be used now */
export function localSigner(privateKey: KeyObject, usable: () => void = () => undefined): Signer {
  const digest = algorithmOf(privateKey) === 'ed25519' ? null : 'sha256'
  return {
    publicKey: createPublicKey(privateKey),
    sign(data) {
      usable()
      return sign(digest, data, privateKey)
    },
  }
}

export function newPrivateKey(algorithm: KeyAlgorithm): KeyObject {
  return algorithm === 'ed25519'
    ? generateKeyPairSync('ed25519').privateKey
    : generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
}

/** @throws SallyportError `SP_KEY_DAMAGED` where it is neither P-256 nor Ed25519 */
export function algorithmOf(key: KeyObject): KeyAlgorithm {
  if (key.asymmetricKeyType === 'ed25519') return 'ed25519'
  if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'p256'
  throw new SallyportError('SP_KEY_DAMAGED', 'a key is neither P-256 nor Ed25519')
}

/** Hex SHA-256 of the SubjectPublicKeyInfo. */
export function fingerprintOf(publicKey: KeyObject): string {
  return hash('sha256', publicKey.export({ format: 'der', type: 'spki' }), 'hex')
}

const NAME = /^[a-z0-9][a-z0-9-]{0,63}$/

/** Key names become file names and labels. @throws SallyportError `SP_KEY_NAME` */
export function checkName(name: string): void {
  if (NAME.test(name)) return
  throw new SallyportError('SP_KEY_NAME', 'this is not a name of a key', {
    fix: 'use 1 to 64 small letters, digits and hyphens, no hyphen first',
  })
}

export function missing(name: string, detail: string): SallyportError {
  return new SallyportError('SP_KEY_MISSING', `there is no key \`${name}\``, {
    detail,
    fix: 'name the right data directory, or restore it from a backup',
  })
}

export function exists(name: string, detail: string): SallyportError {
  return new SallyportError('SP_KEY_EXISTS', `there is a key \`${name}\` already`, {
    detail,
    fix: 'a key is never overwritten; use another data directory',
  })
}

export function damaged(name: string, detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_KEY_DAMAGED', `the key \`${name}\` cannot be read`, {
    detail,
    fix: 'restore it from a backup',
    cause,
  })
}
