import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { certificatesFromPem, TrustBundle, verifySvid } from '@sallyport/spiffe'
import type { IdentityMaterial } from '@sallyport/transport'

import type { JsonObject } from './refused.ts'
import type { Roots } from './roots.ts'
import { unusable } from './unusable.ts'

/**
 * Reads the answer to an enrolment or renewal, and believes it only as far as our own verifier does: for our key, in
 * our trust domain, under the roots that are trusted with or without it.
 *
 * @throws SallyportError `SP_ENROL_ANSWER`, `SP_SVID_*`, `SP_BUNDLE_INVALID`
 */
export function readIssued(
  answer: JsonObject,
  privateKey: KeyObject,
  trusted: Roots,
  now: number,
): { material: IdentityMaterial; spiffeId: string } {
  const { spiffeId, chain } = answer
  if (typeof spiffeId !== 'string' || typeof chain !== 'string') {
    throw unusable('a member is missing')
  }
  const { trustDomain } = trusted
  const roots = trusted.take(answer)
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
