import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { SallyportError } from '@sallyport/base'

import { OID } from './certificate.ts'
import { DerReader, readBitOctets, readOid, readOne, readSmallInteger, TAG } from './der-read.ts'
import { bits, der, oid, pem, sequence, unsigned } from './der-write.ts'
import { readP256 } from './p256.ts'
import type { P256Key } from './p256.ts'

const MAX_CSR_CHARACTERS = 8192
/** RFC 7468, section 7, with lines of any length: requests come from many tools. */
const PEM =
  /^-----BEGIN CERTIFICATE REQUEST-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE REQUEST-----\s*$/

/**
 * A certificate request (PKCS#10, RFC 2986) that proves possession of a P-256 key and asks for nothing: names are
 * the issuer's to give.
 *
 * @param privateKey a P-256 key, or its PEM
 */
export function csrFor(privateKey: KeyObject | string): string {
  const key = typeof privateKey === 'string' ? createPrivateKey(privateKey) : privateKey
  const info = sequence(
    unsigned(Buffer.from([0])),
    sequence(),
    createPublicKey(key).export({ format: 'der', type: 'spki' }),
    der(0xa0),
  )
  const signature = sign('sha256', info, key)
  return pem('CERTIFICATE REQUEST', sequence(info, sequence(oid(OID.ecdsaSha256)), bits(signature)))
}

/**
 * The public key of a request (PKCS#10, RFC 2986, section 4), once its self-signature is verified. Names and attributes
 * are skipped: nothing else of the request is used.
 *
 * @returns SubjectPublicKeyInfo, DER
 * @throws SallyportError `SP_CSR_INVALID`
 */
export function publicKeyFromCsr(text: string): Buffer {
  if (text.length > MAX_CSR_CHARACTERS) throw invalid('it is too long')
  const body = PEM.exec(text)?.[1]
  if (body === undefined) throw invalid('it is not one PEM certificate request')
  let key: P256Key | undefined
  let genuine: boolean
  try {
    const request = new DerReader(readOne(Buffer.from(body, 'base64'), TAG.sequence).content)
    const info = request.next(TAG.sequence)
    const algorithm = new DerReader(request.next(TAG.sequence).content)
    const named = readOid(algorithm.next(TAG.oid))
    algorithm.end()
    const signature = readBitOctets(request.next(TAG.bitString))
    request.end()
    if (named !== OID.ecdsaSha256) throw invalid('it is not signed by ECDSA with SHA-256')
    const fields = new DerReader(info.content)
    if (readSmallInteger(fields.next(TAG.integer)) !== 0) throw invalid('it is not version 1')
    fields.next(TAG.sequence)
    const spki = fields.next(TAG.sequence).raw
    fields.optional(0xa0)
    fields.end()
    key = readP256(spki)
    genuine = key !== undefined && verify('sha256', info.raw, key.key, signature)
  } catch (cause) {
    if (cause instanceof SallyportError && cause.code === 'SP_CSR_INVALID') throw cause
    throw invalid('it cannot be read', cause)
  }
  if (key === undefined) throw invalid('its key is not P-256')
  if (!genuine) throw invalid('its signature does not verify')
  return key.spki
}

function invalid(why: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_CSR_INVALID', `the certificate request is not acceptable: ${why}`, {
    fix: 'send a PKCS#10 request in PEM, signed with its own P-256 key',
    cause,
  })
}
