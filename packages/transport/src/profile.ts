import { constants } from 'node:crypto'
import type { SecureContextOptions } from 'node:tls'

import type { IdentityMaterial, TrustAnchors } from './identity.ts'

/** What both sides speak over TLS unless told otherwise. */
export const DEFAULT_ALPN: readonly string[] = ['http/1.1']

/** The hybrid group (X25519 with ML-KEM-768) that Node 24 prefers by default. */
export const POST_QUANTUM_GROUP = 'X25519MLKEM768'

/**
 * The TLS profile of both sides: 1.3 and nothing else, no tickets, the identity's own roots as the only ones.
 *
 * @param anchors with a certificate and key where they are an `IdentityMaterial`
 */
export function profile(
  anchors: TrustAnchors | IdentityMaterial,
  requirePostQuantum: boolean,
): SecureContextOptions {
  return {
    ca: anchors.rootsPem,
    ...('keyPem' in anchors ? { cert: anchors.chainPem, key: anchors.keyPem } : {}),
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    // A resumed session skips the certificate check, so short-lived identities would outlive themselves.
    secureOptions: constants.SSL_OP_NO_TICKET,
    ...(requirePostQuantum ? { ecdhCurve: POST_QUANTUM_GROUP } : {}),
  }
}
