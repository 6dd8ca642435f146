import { SallyportError } from '@sallyport/base'

import { parseCertificate } from './certificate.ts'
import type { Certificate } from './certificate.ts'
import { checkTrustDomain } from './id.ts'
import { readPublicJwk } from './jwk.ts'
import type { PublicJwk } from './jwk.ts'
import type { JwtKey } from './jws.ts'
import { checkAuthority } from './profile.ts'

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----\s+([A-Za-z0-9+/=\s]+?)-----END \1-----/g

/** The authorities of exactly one trust domain. Bundles of different domains are never pooled. */
export class TrustBundle {
  readonly trustDomain: string
  /** Roots of X.509-SVIDs. */
  readonly authorities: readonly Certificate[]
  /** Keys of JWT-SVIDs, by `kid`. */
  readonly jwtKeys: ReadonlyMap<string, JwtKey>

  private constructor(
    trustDomain: string,
    authorities: readonly Certificate[],
    jwtKeys: ReadonlyMap<string, JwtKey>,
  ) {
    this.trustDomain = trustDomain
    this.authorities = authorities
    this.jwtKeys = jwtKeys
  }

  /**
   * Reads a bundle from PEM text that holds certificates and nothing else. An empty text is refused, not read
   * as "trust nothing", because where it stands it can only be a mistake.
   *
   * @param jwtKeys who signs JWT-SVIDs of the trust domain; none where left out
   * @throws SallyportError `SP_BUNDLE_INVALID`, `SP_SPIFFE_ID`, or what the profile says of a root
   */
  static fromPem(
    trustDomain: string,
    pem: string,
    jwtKeys: readonly { readonly kid: string; readonly publicJwk: PublicJwk }[] = [],
  ): TrustBundle {
    const keys = new Map<string, JwtKey>()
    for (const { kid, publicJwk } of jwtKeys) {
      const publicKey = readPublicJwk(publicJwk)
      if (typeof publicKey === 'string') throw invalid(publicKey)
      if (kid === '' || keys.has(kid)) throw invalid('a JWT key without a name of its own')
      keys.set(kid, { publicKey })
    }
    const authorities = certificatesFromPem(pem).map((raw) => parseCertificate(raw))
    return TrustBundle.of(trustDomain, authorities, keys)
  }

  /**
   * A bundle of what is parsed already. One without authorities trusts nothing.
   *
   * @throws SallyportError `SP_SPIFFE_ID`, or what the profile says of a root
   */
  static of(
    trustDomain: string,
    authorities: readonly Certificate[],
    jwtKeys: ReadonlyMap<string, JwtKey>,
  ): TrustBundle {
    checkTrustDomain(trustDomain)
    for (const authority of authorities) checkAuthority(authority, trustDomain)
    return new TrustBundle(trustDomain, authorities, jwtKeys)
  }
}

/**
 * DER of each certificate in a PEM text, in order.
 *
 * @throws SallyportError `SP_BUNDLE_INVALID` where there is none, or anything else stands between them
 */
export function certificatesFromPem(pem: string): Buffer[] {
  const certificates: Buffer[] = []
  const rest = pem.replace(BLOCK, (_all, label: string, body: string) => {
    if (label !== 'CERTIFICATE') throw invalid(`a PEM block of type ${label}`)
    const text = body.replaceAll(/\s/g, '')
    const bytes = Buffer.from(text, 'base64')
    // Buffer.from skips what it cannot read; writing it back shows whether it did.
    if (bytes.toString('base64') !== text) throw invalid('a PEM block that is not base64')
    certificates.push(bytes)
    return ''
  })
  if (rest.trim() !== '') throw invalid('text outside PEM blocks')
  if (certificates.length === 0) throw invalid('no certificate')
  return certificates
}

function invalid(what: string): SallyportError {
  return new SallyportError('SP_BUNDLE_INVALID', 'the PEM text is not a list of certificates', {
    detail: what,
    fix: 'give PEM certificates only, at least one',
  })
}
