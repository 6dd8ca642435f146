import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { canonicalJson, sha256Hex } from '@sallyport/base'
import type { Trust } from '../trust.ts'

/** What a one-time secret is for. The purpose is hashed in, so that none is accepted in place of another kind. */
export type SecretKind = 'join' | 'link' | 'session' | 'challenge'

/** What a secret stands for, as its row has it. */
type Facts = Readonly<Record<string, unknown>>

/**
 * Makes secrets that prove themselves what they stand for: whoever can write into the database, and knows no key of the control
 * plane, can enter a hash and whatever beside it, and yet lets nobody in.
 */
export interface Vouching {
  /** A fresh secret that says what it is (`spjoin_…`, `splink_…`): 256 random bits, and a MAC over them and what it stands for. */
  issue(kind: SecretKind, facts: Facts): string
  /** Whether a control plane of this trust root gave this secret out for exactly this. */
  vouches(kind: SecretKind, secret: string, facts: Facts): boolean
}

const RANDOM = 43

/** Control planes of one trust root know the secrets of each other, as they do nonces of attestation: the key comes of their common one. */
export function createVouching({ bundle }: Pick<Trust, 'bundle'>): Vouching {
  const secret = bundle.sign(Buffer.from('sallyport-issued-secrets/1'))
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'sallyport issued secrets', 32))
  const mac = (kind: SecretKind, random: string, facts: Facts): string =>
    createHmac('sha256', key).update(canonicalJson({ kind, random, facts })).digest('base64url')
  return {
    issue(kind, facts) {
      const random = randomBytes(32).toString('base64url')
      return `sp${kind}_${random}${mac(kind, random, facts)}`
    },
    vouches(kind, given, facts) {
      const head = `sp${kind}_`
      const random = given.slice(head.length, head.length + RANDOM)
      const expected = Buffer.from(`${head}${random}${mac(kind, random, facts)}`)
      const bytes = Buffer.from(given)
      return bytes.length === expected.length && timingSafeEqual(bytes, expected)
    },
  }
}

/** What is kept of it. Secrets are random, so a plain hash tells nothing and needs no salt. */
export function secretHash(kind: SecretKind, secret: string): string {
  return sha256Hex(`sallyport ${kind}\n${secret}`)
}
