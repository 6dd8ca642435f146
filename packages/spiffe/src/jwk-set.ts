import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

import { isJsonObject, readPublicJwk } from './jwk.ts'
import type { JwtKey } from './jws.ts'

const MAX_BYTES = 262_144
const MAX_KEYS = 64

/**
 * The signing keys of a JWK set that is no SPIFFE bundle (RFC 7517, section 5), by `kid`: EC and RSA keys for signatures.
 * Other keys are left out.
 *
 * @throws SallyportError `SP_JWK_SET` where it is none, or a key in it is not acceptable
 */
export function readJwkSet(text: string): ReadonlyMap<string, JwtKey> {
  let set: JsonValue
  try {
    set = parseJson(text, { maxBytes: MAX_BYTES, maxDepth: 8 })
  } catch (cause) {
    throw invalid('it is not strict JSON of a bounded size', cause)
  }
  const list = isJsonObject(set) ? set['keys'] : undefined
  if (!Array.isArray(list) || list.length > MAX_KEYS) throw invalid('`keys` is no list of a few')
  const keys = new Map<string, JwtKey>()
  // Array.isArray gives up the type of the members; each is JSON.
  for (const jwk of list as readonly JsonValue[]) {
    if (!isJsonObject(jwk)) throw invalid('a key is not an object')
    const { kty, use, kid, alg } = jwk
    if ((kty !== 'EC' && kty !== 'RSA') || (use !== undefined && use !== 'sig')) continue
    if (typeof kid !== 'string' || kid === '' || keys.has(kid)) {
      throw invalid('a key without a name of its own')
    }
    if (alg !== undefined && typeof alg !== 'string') throw invalid('an `alg` that is not a text')
    const publicKey = readPublicJwk(jwk)
    if (typeof publicKey === 'string') throw invalid(publicKey)
    keys.set(kid, alg === undefined ? { publicKey } : { publicKey, alg })
  }
  return keys
}

function invalid(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_JWK_SET', 'the JWK set is not acceptable', {
    detail,
    fix: 'save the JWK set of the issuer as it publishes it',
    cause,
  })
}
