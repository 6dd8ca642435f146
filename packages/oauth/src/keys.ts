import { createPublicKey } from 'node:crypto'
import type { TokenTrust } from '@sallyport/wire'

/** The keys that tokens are signed with now, as a JWK set (RFC 7517, section 5). @param now milliseconds since the epoch */
export function publicKeys(
  trust: TokenTrust | undefined,
  now: number,
): { readonly keys: readonly unknown[] } {
  const live = (trust?.keys ?? []).filter(({ notAfter }) => notAfter > now)
  return {
    keys: live.map(({ kid, key }) => ({
      ...createPublicKey({
        key: Buffer.from(key, 'base64url'),
        format: 'der',
        type: 'spki',
      }).export({ format: 'jwk' }),
      kid,
      alg: 'ES256',
      use: 'sig',
    })),
  }
}
