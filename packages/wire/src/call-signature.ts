import { sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'

/** Signatures of call tokens, as JWS has them (RFC 7518 section 3.4; RFC 8037 section 3.1). */

/** How many bytes a signature has, of either algorithm. */
export const SIGNATURE_BYTES = 64

const P256_BYTES = SIGNATURE_BYTES / 2

/**
 * Signs what stands before the second dot of a token.
 *
 * @throws SallyportError `SP_CALL_TOKEN_KEY` where the key is neither P-256 nor Ed25519
 */
export function signOctets(octets: Uint8Array, privateKey: KeyObject): Buffer {
  // The key is given by itself, and the form of JWS made here: options beside it cost as much as the signature.
  return algorithmOf(privateKey) === 'EdDSA'
    ? sign(null, octets, privateKey)
    : sideBySide(sign('sha256', octets, privateKey))
}

/** @throws SallyportError `SP_CALL_TOKEN_KEY` */
export function verifyOctets(octets: Uint8Array, publicKey: KeyObject, signature: Buffer): boolean {
  if (signature.length !== SIGNATURE_BYTES) return false
  return algorithmOf(publicKey) === 'EdDSA'
    ? verify(null, octets, publicKey, signature)
    : verify('sha256', octets, publicKey, asDer(signature))
}

/** The algorithm follows from the key alone: a token never chooses it. @throws SallyportError `SP_CALL_TOKEN_KEY` */
export function algorithmOf(key: KeyObject): 'ES256' | 'EdDSA' {
  let algorithm = algorithms.get(key)
  if (algorithm === undefined) algorithms.set(key, (algorithm = readAlgorithm(key)))
  return algorithm
}

/** A key is asked once: each asking reads its parameters anew. */
const algorithms = new WeakMap<KeyObject, 'ES256' | 'EdDSA'>()

function readAlgorithm(key: KeyObject): 'ES256' | 'EdDSA' {
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') {
    return 'ES256'
  }
  throw new SallyportError('SP_CALL_TOKEN_KEY', 'call tokens are signed with P-256 or Ed25519 keys')
}

/** R and S of a P-256 signature in DER (RFC 3279 section 2.2.3), each in 32 bytes (RFC 7518 section 3.4). */
function sideBySide(der: Buffer): Buffer {
  const both = Buffer.alloc(2 * P256_BYTES)
  // SEQUENCE and INTEGER are each a byte of type and a byte of length: no more than 72 bytes follow.
  let at = 2
  for (let end = P256_BYTES; end <= both.length; end += P256_BYTES) {
    const length = der.readUInt8(at + 1)
    const from = at + 2
    at = from + length
    // A leading zero says that the number is not negative.
    const digits = der.subarray(length > P256_BYTES ? from + 1 : from, at)
    digits.copy(both, end - digits.length)
  }
  if (at !== der.length) throw new SallyportError('SP_INTERNAL', 'a signature is not DER')
  return both
}

/** The same signature as DER has it: each number in as few bytes as it takes, with a zero before where it would be negative. */
function asDer(both: Buffer): Buffer {
  const numbers = [both.subarray(0, P256_BYTES), both.subarray(P256_BYTES)].map((digits) => {
    let from = 0
    while (from < P256_BYTES - 1 && digits[from] === 0) from++
    const short = digits.subarray(from)
    const sign = short.readUInt8() > 0x7f ? [0] : []
    return Buffer.concat([Buffer.from([0x02, short.length + sign.length, ...sign]), short])
  })
  const content = Buffer.concat(numbers)
  return Buffer.concat([Buffer.from([0x30, content.length]), content])
}
