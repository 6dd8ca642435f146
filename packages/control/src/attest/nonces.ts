import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { sha256Hex } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Tx } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import { refuse } from './refuse.ts'

/** The purpose under which used nonces are kept, beside the challenges of people. */
export const SPENT_NONCE = 'attestation-spent'
const LIFE_MS = 120_000
const RANDOM = 16
const MAC = 32

/** Nonces that nothing is kept of until they are used, so that strangers who ask for many fill nothing. */
export interface Nonces {
  issue(): { readonly nonce: string; readonly expiresAt: number }
  /** Takes note that a nonce was used; with the transaction it stays so. @throws SallyportError `SP_ATTESTATION_REFUSED` */
  spend(tx: Tx, nonce: string): Promise<void>
  /** Whether it is one of ours and still good; says nothing of earlier uses. @throws SallyportError `SP_ATTESTATION_REFUSED` */
  check(nonce: string): void
}

/**
 * Control planes of one trust root know the nonces of each other: the key is made of a signature that only the bundle key
 * makes, that nobody is shown, and that is the same each time (Ed25519).
 */
export function createNonces({ trust, clock }: { trust: Trust; clock: Clock }): Nonces {
  const secret = trust.bundle.sign(Buffer.from('sallyport-attestation-nonces/1'))
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'sallyport attestation nonce', MAC))
  const mac = (body: Buffer): Buffer => createHmac('sha256', key).update(body).digest()
  const expiryOf = (nonce: string): number => {
    const bytes = Buffer.from(nonce, 'base64url')
    const body = bytes.subarray(0, RANDOM + 8)
    const given = bytes.subarray(RANDOM + 8)
    const genuine =
      // Buffer.from skips what it cannot read; writing it back shows whether it did.
      bytes.toString('base64url') === nonce &&
      given.length === MAC &&
      timingSafeEqual(given, mac(body))
    if (!genuine) throw refuse('the nonce is none of ours')
    const expiresAt = Number(body.readBigUInt64BE(RANDOM))
    if (clock.now() >= expiresAt) throw refuse('the nonce has expired')
    return expiresAt
  }
  return {
    issue() {
      const expiresAt = Math.floor(clock.now()) + LIFE_MS
      const body = Buffer.alloc(RANDOM + 8)
      randomBytes(RANDOM).copy(body)
      body.writeBigUInt64BE(BigInt(expiresAt), RANDOM)
      return { nonce: Buffer.concat([body, mac(body)]).toString('base64url'), expiresAt }
    },
    check: (nonce) => void expiryOf(nonce),
    async spend(tx, nonce) {
      const inserted = await tx
        .insertInto('challenges')
        .values({
          hash: sha256Hex(`attestation nonce ${nonce}`),
          purpose: SPENT_NONCE,
          expires_at: expiryOf(nonce),
        })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst()
      if (inserted.numInsertedOrUpdatedRows !== 1n) throw refuse('the nonce was used before')
    },
  }
}
