import { randomBytes } from 'node:crypto'
import { sha256Hex } from '@sallyport/base'

/** What a one-time secret is for. The purpose is hashed in, so that none is accepted in place of another kind. */
export type SecretKind = 'join' | 'link' | 'session' | 'challenge'

/** A fresh secret of 256 bits that says what it is: `spjoin_…`, `splink_…`. */
export function newSecret(kind: SecretKind): string {
  return `sp${kind}_${randomBytes(32).toString('base64url')}`
}

/** What is kept of it. Secrets are random, so a plain hash tells nothing and needs no salt. */
export function secretHash(kind: SecretKind, secret: string): string {
  return sha256Hex(`sallyport ${kind}\n${secret}`)
}
