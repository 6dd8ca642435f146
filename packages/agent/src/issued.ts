import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { SallyportError } from '@sallyport/base'
import { certificatesFromPem, TrustBundle, verifySvid } from '@sallyport/spiffe'
import type { IdentityMaterial } from '@sallyport/transport'

import type { JsonObject } from './refused.ts'

/**
 * Reads the answer to an enrolment or renewal, and believes it only as far as our own verifier does: for our key, in
 * our trust domain, under the roots that came with it.
 *
 * @throws SallyportError `SP_ENROL_ANSWER`, `SP_SVID_*`, `SP_BUNDLE_INVALID`
 */
export function readIssued(
  answer: JsonObject,
  privateKey: KeyObject,
  trustDomain: string,
  now: number,
): { material: IdentityMaterial; spiffeId: string } {
  const { spiffeId, chain, roots } = answer
  if (typeof spiffeId !== 'string' || typeof chain !== 'string' || typeof roots !== 'string') {
    throw unusable('a member is missing')
  }
  const bundles = new Map([[trustDomain, TrustBundle.fromPem(trustDomain, roots)]])
  const svid = verifySvid(certificatesFromPem(chain), bundles, { now })
  if (svid.id.uri !== spiffeId) throw unusable('the certificate is for another id')
  if (!svid.publicKey.equals(createPublicKey(privateKey))) {
    throw unusable('the certificate is for another key')
  }
  return {
    spiffeId,
    material: {
      chainPem: chain,
      keyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
      rootsPem: roots,
      trustDomain,
      notAfter: svid.notAfter,
    },
  }
}

export function unusable(detail: string): SallyportError {
  return new SallyportError(
    'SP_ENROL_ANSWER',
    'the control plane issued an identity that cannot be used',
    { detail },
  )
}
