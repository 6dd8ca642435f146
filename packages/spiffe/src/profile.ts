import { SallyportError } from '@sallyport/base'

import { GENERAL_NAME, KEY_USAGE, OID } from './certificate.ts'
import type { Certificate, GeneralName, NameConstraints } from './certificate.ts'
import { parseSpiffeId } from './id.ts'
import type { SpiffeId } from './id.ts'

export function breaks(rule: string): SallyportError {
  return new SallyportError('SP_SVID_PROFILE', 'the certificate is not an acceptable X.509-SVID', {
    detail: rule,
  })
}

/** URI alternative names, as text. Bytes outside ASCII come out as characters that no SPIFFE id allows. */
function uris(certificate: Certificate): string[] {
  const names = certificate.subjectAltName?.value ?? []
  return names
    .filter((name) => name.tag === GENERAL_NAME.uri)
    .map((name) => name.content.toString('latin1'))
}

function checkCommon(certificate: Certificate): void {
  const [unknown] = certificate.unknownCritical
  if (unknown !== undefined) throw breaks(`critical extension ${unknown} is not understood`)
}

/**
 * The leaf rules of the X509-SVID standard (sections 2, 3.1, 4 and appendix A), as strictly as this product issues:
 * exactly one URI name, a SPIFFE id with a path; never a CA; key usage present, critical, digitalSignature without
 * keyCertSign and cRLSign; extended key usage present with serverAuth and clientAuth.
 *
 * @throws SallyportError `SP_SVID_PROFILE`, `SP_SPIFFE_ID`
 */
export function checkLeaf(certificate: Certificate): SpiffeId {
  if (certificate.basicConstraints?.value.ca) throw breaks('a CA certificate authenticates nobody')
  checkCommon(certificate)
  if (certificate.nameConstraints) throw breaks('name constraints on a leaf')
  const usage = certificate.keyUsage
  if (!usage) throw breaks('key usage is absent')
  if (!usage.critical) throw breaks('key usage is not critical')
  if (usage.value.has(KEY_USAGE.keyCertSign)) throw breaks('keyCertSign on a leaf')
  if (usage.value.has(KEY_USAGE.crlSign)) throw breaks('cRLSign on a leaf')
  if (!usage.value.has(KEY_USAGE.digitalSignature)) throw breaks('digitalSignature is not set')
  const extended = certificate.extendedKeyUsage?.value
  if (!extended) throw breaks('extended key usage is absent')
  if (!extended.includes(OID.serverAuth)) throw breaks('serverAuth is not set')
  if (!extended.includes(OID.clientAuth)) throw breaks('clientAuth is not set')
  const [uri, second] = uris(certificate)
  if (uri === undefined) throw breaks('no URI alternative name')
  if (second !== undefined) throw breaks('more than one URI alternative name')
  if (certificate.subjectEmpty && !certificate.subjectAltName?.critical) {
    throw breaks('the alternative name is not critical though the subject is empty')
  }
  const id = parseSpiffeId(uri)
  if (id.path === '') throw breaks('the SPIFFE id has no path')
  return id
}

/**
 * The rules for a signing certificate: cA set and critical, key usage critical with keyCertSign, and where it carries a
 * URI name, exactly the trust domain's own id without a path.
 *
 * @throws SallyportError `SP_SVID_PROFILE`, `SP_SPIFFE_ID`
 */
export function checkAuthority(certificate: Certificate, trustDomain: string): void {
  const constraints = certificate.basicConstraints
  if (!constraints?.value.ca) throw breaks('a signing certificate without cA')
  if (!constraints.critical) throw breaks('a signing certificate whose cA is not critical')
  checkCommon(certificate)
  const usage = certificate.keyUsage
  if (!usage?.critical) throw breaks('a signing certificate without critical key usage')
  if (!usage.value.has(KEY_USAGE.keyCertSign)) {
    throw breaks('a signing certificate without keyCertSign')
  }
  const extended = certificate.extendedKeyUsage?.value
  if (extended && !(extended.includes(OID.serverAuth) && extended.includes(OID.clientAuth))) {
    throw breaks('a signing certificate whose extended key usage leaves out TLS')
  }
  const [uri, second] = uris(certificate)
  if (second !== undefined) throw breaks('a signing certificate with more than one URI name')
  if (uri === undefined) return
  const id = parseSpiffeId(uri)
  if (id.path !== '') throw breaks('a signing certificate with a path in its SPIFFE id')
  if (id.trustDomain !== trustDomain) throw breaks('a signing certificate of another trust domain')
}

/**
 * Applies the name constraints of one signing certificate to a certificate below it (RFC 5280, 4.2.1.10). URI
 * constraints are evaluated on the host, which for a SPIFFE id is the trust domain. A constraint on a kind of name
 * that is not evaluated here refuses every certificate that bears such a name.
 *
 * @throws SallyportError `SP_SVID_PROFILE`
 */
export function checkNameConstraints(constraints: NameConstraints, below: Certificate): void {
  const names = below.subjectAltName?.value ?? []
  const all = [...constraints.permitted, ...constraints.excluded]
  for (const base of all) {
    if (base.tag === GENERAL_NAME.uri) continue
    const bears =
      base.tag === DIRECTORY_NAME
        ? !below.subjectEmpty || names.some((name) => name.tag === DIRECTORY_NAME)
        : names.some((name) => name.tag === base.tag)
    if (bears) throw breaks('a name constraint of a kind that is not supported')
  }
  const permitted = constraints.permitted.filter((base) => base.tag === GENERAL_NAME.uri)
  const excluded = constraints.excluded.filter((base) => base.tag === GENERAL_NAME.uri)
  for (const uri of uris(below)) {
    const host = parseSpiffeId(uri).trustDomain
    if (permitted.length > 0 && !permitted.some((base) => covers(base, host))) {
      throw breaks('a URI outside the permitted names')
    }
    if (excluded.some((base) => covers(base, host))) throw breaks('a URI among the excluded names')
  }
}

const DIRECTORY_NAME = 0xa4

/** A constraint that begins with a dot covers subdomains only, any other exactly one host. */
function covers(base: GeneralName, host: string): boolean {
  const text = base.content.toString('latin1').toLowerCase()
  return text.startsWith('.') ? host.endsWith(text) && host.length > text.length : host === text
}
