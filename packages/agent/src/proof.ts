import { createPrivateKey, constants, sign, X509Certificate } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { SallyportError, sha256Hex } from '@sallyport/base'
import type { Target, TrustAnchors } from '@sallyport/transport'
import { possessionText } from '@sallyport/wire'

import { unusable } from './unusable.ts'
import { callPlane } from './plane.ts'
import type { JsonObject } from './refused.ts'

/** What stands for an agent at its enrolment. */
export type EnrolProof =
  | {
      /** A one-use join token. */
      readonly token: string
    }
  | {
      /** The certificate of this machine, and its key, PEM. */
      readonly machine: { readonly certificatePem: string; readonly keyPem: string }
    }
  | {
      /** The projected service account token of this pod. */
      readonly serviceAccountToken: string
    }

/**
 * Hands a certificate request to the control plane with the proof that belongs to it.
 *
 * @throws RefusedError, SallyportError as `callPlane`; `SP_JOIN_TOKEN` where there is none
 */
export async function present(
  proof: EnrolProof,
  csr: string,
  anchors: TrustAnchors,
  target: Target,
): Promise<JsonObject> {
  if ('token' in proof) {
    // A command that was to print one and failed leaves nothing.
    if (proof.token === '') {
      throw new SallyportError('SP_JOIN_TOKEN', 'there is no join token', {
        fix: 'see that the control plane runs, and make one: `sallyport agent enroll NAME`',
      })
    }
    return callPlane(anchors, target, 'POST', '/v1/enroll', { token: proof.token, csr })
  }
  if ('serviceAccountToken' in proof) {
    const { serviceAccountToken: token } = proof
    return callPlane(anchors, target, 'POST', '/v1/attest/kubernetes', { token, csr })
  }
  const { nonce } = await callPlane(anchors, target, 'POST', '/v1/attest/nonce', {})
  if (typeof nonce !== 'string') throw unusable('no nonce')
  const { certificatePem: certificate, keyPem } = proof.machine
  const text = possessionText({
    trustDomain: anchors.trustDomain,
    nonce,
    csr,
    certificate: sha256Hex(new X509Certificate(certificate).raw),
  })
  const signature = signedBy(createPrivateKey(keyPem), text).toString('base64url')
  const body = { nonce, csr, certificate, signature }
  return callPlane(anchors, target, 'POST', '/v1/attest/x509pop', body)
}

function signedBy(key: KeyObject, text: Buffer): Buffer {
  if (key.asymmetricKeyType === 'ed25519') return sign(null, text, key)
  if (key.asymmetricKeyType !== 'rsa') return sign('sha256', text, key)
  const padding = constants.RSA_PKCS1_PSS_PADDING
  return sign('sha256', text, { key, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST })
}
