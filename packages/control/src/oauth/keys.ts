import { generateKeyPairSync, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { canonicalJson, sha256Hex } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { TokenKey } from '@sallyport/wire'
import type { Publisher } from '../domain/publisher.ts'
import type { Trust } from '../trust.ts'

/** A key signs for a day; a process that runs longer makes the next one. */
const LIFE_MS = 24 * 3_600_000
/** No new token is signed so close to the end that it could outlive its key. */
const REST_MS = 10 * 60_000

/** A key of this process that gateways know. */
export interface SigningKey {
  readonly kid: string
  readonly privateKey: KeyObject
  /** Milliseconds since the epoch. */
  readonly notAfter: number
}

/** What the bundle key signs of a key that signs tokens. */
function tokenKeyText({ kid, key, notAfter }: TokenKey): Buffer {
  return Buffer.from(canonicalJson({ format: 'sallyport-token-key/1', kid, key, notAfter }))
}

/** Whether this network's bundle key vouched for a key that signs tokens. */
export function isVouched(entry: TokenKey, signature: string, { bundle }: Trust): boolean {
  const text = tokenKeyText(entry)
  return verify(null, text, bundle.publicKey, Buffer.from(signature, 'base64url'))
}

/**
 * The key that this process signs access tokens with: made when it is first needed, kept in memory alone, and known to gateways
 * before it signs anything.
 */
export function createTokenKeys(deps: {
  readonly trust: Trust
  readonly clock: Clock
  readonly publisher: Publisher
}): () => Promise<SigningKey> {
  const { trust, clock, publisher } = deps
  let current: Promise<SigningKey> | undefined
  let until = 0

  async function make(): Promise<SigningKey> {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const spki = publicKey.export({ format: 'der', type: 'spki' })
    const entry: TokenKey = {
      kid: sha256Hex(spki).slice(0, 32),
      key: spki.toString('base64url'),
      notAfter: clock.now() + LIFE_MS,
    }
    const signature = trust.bundle.sign(tokenKeyText(entry)).toString('base64url')
    await publisher.publish(async (tx) => {
      await tx.deleteFrom('token_keys').where('not_after', '<=', clock.now()).execute()
      await tx
        .insertInto('token_keys')
        .values({ kid: entry.kid, key: entry.key, not_after: entry.notAfter, signature })
        .execute()
      return { result: undefined, changed: true }
    })
    return { kid: entry.kid, privateKey, notAfter: entry.notAfter }
  }

  return () => {
    if (current && clock.now() < until - REST_MS) return current
    until = clock.now() + LIFE_MS
    const made = make()
    current = made
    made.catch(() => {
      // The next request tries again.
      if (current === made) current = undefined
    })
    return made
  }
}
