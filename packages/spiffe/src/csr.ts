import { createPrivateKey, createPublicKey, sign, webcrypto } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { SallyportError } from '@sallyport/base'

import { OID } from './certificate.ts'
import { bits, der, oid, pem, sequence, unsigned } from './der-write.ts'

const MAX_CSR_CHARACTERS = 8192

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
 * The public key of a request, once its self-signature is verified. Everything else in the request is ignored.
 *
 * @returns SubjectPublicKeyInfo, DER
 * @throws SallyportError `SP_CSR_INVALID`
 */
export async function publicKeyFromCsr(text: string): Promise<Buffer> {
  if (text.length > MAX_CSR_CHARACTERS) throw invalid('it is too long')
  // The library also reads bare base64 and hex; only the one PEM form is accepted here.
  if (
    !/^-----BEGIN CERTIFICATE REQUEST-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE REQUEST-----\s*$/.test(
      text,
    )
  ) {
    throw invalid('it is not one PEM certificate request')
  }
  // Only the control plane reads requests: nobody else pays for loading the library, which needs its shim first.
  await import('reflect-metadata')
  const { Pkcs10CertificateRequest } = await import('@peculiar/x509')
  let spki: Buffer
  let genuine: boolean
  try {
    const request = new Pkcs10CertificateRequest(text)
    genuine = await request.verify(webcrypto)
    spki = Buffer.from(request.publicKey.rawData)
  } catch (cause) {
    throw invalid('it cannot be read', cause)
  }
  if (!genuine) throw invalid('its signature does not verify')
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw invalid('its key is not P-256')
  return spki
}

function invalid(why: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_CSR_INVALID', `the certificate request is not acceptable: ${why}`, {
    fix: 'send a PKCS#10 request in PEM, signed with its own P-256 key',
    cause,
  })
}
