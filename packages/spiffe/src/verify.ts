import { createPublicKey, hash, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { SallyportError } from '@sallyport/base'

import type { TrustBundle } from './bundle.ts'
import { parseCertificate } from './certificate.ts'
import type { Certificate } from './certificate.ts'
import { malformed } from './der-read.ts'
import type { SpiffeId } from './id.ts'
import { isCanonicalP256 } from './p256.ts'
import { breaks, checkAuthority, checkLeaf, checkNameConstraints } from './profile.ts'

/** A peer that proved an identity; made by `verifySvid` only. */
export interface VerifiedSvid {
  readonly id: SpiffeId
  /** Lower-case hex. */
  readonly serial: string
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  /** Milliseconds since the epoch: the last valid one. */
  readonly notAfter: number
  /** SHA-256 of the root at the end of its chain (DER), lower-case hex. */
  readonly root: string
  readonly publicKey: KeyObject
}

/** Longest chain looked at: a leaf and three signing certificates. */
const MAX_CHAIN = 4

const HASH_OF: Readonly<Record<string, { hash: string | null; keyType: string }>> = {
  '1.2.840.10045.4.3.2': { hash: 'sha256', keyType: 'ec' },
  '1.2.840.10045.4.3.3': { hash: 'sha384', keyType: 'ec' },
  '1.2.840.10045.4.3.4': { hash: 'sha512', keyType: 'ec' },
  '1.2.840.113549.1.1.11': { hash: 'sha256', keyType: 'rsa' },
  '1.2.840.113549.1.1.12': { hash: 'sha384', keyType: 'rsa' },
  '1.2.840.113549.1.1.13': { hash: 'sha512', keyType: 'rsa' },
  '1.3.101.112': { hash: null, keyType: 'ed25519' },
}

/**
 * Verifies an X.509-SVID against the bundle of exactly the trust domain that its leaf claims (X509-SVID, section 5;
 * RFC 5280, section 6). The chain stands in order, leaf first; it may end with the root or just before it. A leaf that comes
 * alone may enclose the certificate of its signer.
 * Every certificate of the path, the root too, must be valid at `now`.
 *
 * @param chainDer leaf first, each DER
 * @param bundles by trust domain; a domain without an entry is foreign
 * @param options `now` in milliseconds since the epoch
 * @throws SallyportError `SP_SVID_MALFORMED`, `SP_SVID_PROFILE`, `SP_SPIFFE_ID`, `SP_SVID_FOREIGN`,
 *   `SP_SVID_UNTRUSTED`, `SP_SVID_EXPIRED`, `SP_SVID_NOT_YET_VALID`
 */
export function verifySvid(
  chainDer: readonly Buffer[],
  bundles: ReadonlyMap<string, TrustBundle>,
  options: { readonly now: number },
): VerifiedSvid {
  const [leafDer, ...above] = chainDer
  if (leafDer === undefined) throw malformed('an empty chain')
  if (chainDer.length > MAX_CHAIN) throw malformed(`more than ${MAX_CHAIN} certificates`)
  const leaf = parseCertificate(leafDer)
  const id = checkLeaf(leaf)
  const bundle = bundles.get(id.trustDomain)
  if (!bundle || bundle.trustDomain !== id.trustDomain) {
    throw new SallyportError('SP_SVID_FOREIGN', 'the certificate is of a foreign trust domain', {
      detail: `no bundle for ${id.trustDomain}`,
    })
  }
  // Only where nothing came beside the leaf: it is judged exactly as if it had.
  const chain = above.length === 0 && leaf.enclosedSigner ? [leaf.enclosedSigner] : above
  const path = [leaf, ...chain.map((raw) => signerOf(bundle, raw))]
  const anchored = endAtRoot(path, bundle)
  for (const [index, certificate] of anchored.entries()) {
    if (index > 0) checkSigner(certificate, anchored.slice(0, index), id.trustDomain)
    checkValidity(certificate, options.now)
  }
  // Keys of other kinds than we issue are judged at once. Of a P-256 key the object is made when somebody asks for it: few do,
  // and it costs nearly as much as checking a signature.
  const judged = isCanonicalP256(leaf.spki) ? undefined : publicKeyOf(leaf)
  return {
    id,
    serial: leaf.serial,
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
    root: fingerprintOf(anchored.at(-1) ?? leaf),
    get publicKey() {
      return judged ?? publicKeyOf(leaf)
    },
  }
}

const fingerprints = new WeakMap<Certificate, string>()

function fingerprintOf(certificate: Certificate): string {
  const known = fingerprints.get(certificate)
  if (known !== undefined) return known
  const made = hash('sha256', certificate.raw, 'hex')
  fingerprints.set(certificate, made)
  return made
}

/** The chain with each signature checked, and the bundle's own root at its end. */
function endAtRoot(path: readonly Certificate[], bundle: TrustBundle): Certificate[] {
  const isRoot = (certificate: Certificate): boolean =>
    bundle.authorities.some((root) => root.raw.equals(certificate.raw))
  const last = path.at(-1)
  const below = path.length > 1 && last && isRoot(last) ? path.slice(0, -1) : path
  for (const [index, certificate] of below.entries()) {
    if (isRoot(certificate)) throw untrusted('a root inside the chain')
    const signer = below[index + 1]
    if (signer === undefined) {
      const root = bundle.authorities.find((candidate) =>
        signedByRoot(bundle, certificate, candidate),
      )
      if (!root) throw untrusted('no root of the trust domain signed the chain')
      return [...below, root]
    }
    if (!signed(certificate, signer))
      throw untrusted('a link of the chain is not signed by the next')
  }
  throw malformed('an empty chain')
}

function checkSigner(
  signer: Certificate,
  below: readonly Certificate[],
  trustDomain: string,
): void {
  checkAuthority(signer, trustDomain)
  const { pathLength } = signer.basicConstraints?.value ?? {}
  // The leaf does not count against the path length.
  if (pathLength !== undefined && below.length - 1 > pathLength) {
    throw breaks('more signing certificates than the path length allows')
  }
  if (signer.nameConstraints) {
    for (const certificate of below) checkNameConstraints(signer.nameConstraints.value, certificate)
  }
}

function checkValidity(certificate: Certificate, now: number): void {
  if (now < certificate.notBefore) {
    throw new SallyportError('SP_SVID_NOT_YET_VALID', 'the certificate is not yet valid', {
      detail: `valid from ${new Date(certificate.notBefore).toISOString()}`,
      fix: 'check the clocks of both machines',
    })
  }
  if (!(now <= certificate.notAfter)) {
    throw new SallyportError('SP_SVID_EXPIRED', 'the certificate has expired', {
      detail: `valid until ${new Date(certificate.notAfter).toISOString()}`,
      fix: 'renew the certificate and connect again',
    })
  }
}

/** Signing certificates that were once well signed under a bundle: few, and met at every handshake. */
const MAX_KNOWN = 32

interface Known {
  readonly certificate: Certificate
  readonly signedBy: Set<Certificate>
}
const known = new WeakMap<TrustBundle, Map<string, Known>>()

/** A signing certificate as it was read before, where it was well signed then; all else of it is judged anew each time. */
function signerOf(bundle: TrustBundle, raw: Buffer): Certificate {
  return known.get(bundle)?.get(raw.toString('latin1'))?.certificate ?? parseCertificate(raw)
}

/** `signed` of a signing certificate, remembered where it holds. The bundle's own roots are the only signers that last. */
function signedByRoot(bundle: TrustBundle, certificate: Certificate, root: Certificate): boolean {
  if (!certificate.basicConstraints?.value.ca) return signed(certificate, root)
  const memory = known.get(bundle) ?? new Map<string, Known>()
  known.set(bundle, memory)
  const name = certificate.raw.toString('latin1')
  if (memory.get(name)?.signedBy.has(root)) return true
  if (!signed(certificate, root)) return false
  const entry = memory.get(name) ?? { certificate, signedBy: new Set() }
  entry.signedBy.add(root)
  memory.set(name, entry)
  const [oldest] = memory.keys()
  if (memory.size > MAX_KNOWN && oldest !== undefined) memory.delete(oldest)
  return true
}

function signed(certificate: Certificate, by: Certificate): boolean {
  if (!certificate.issuer.equals(by.subject)) return false
  const { authorityKeyId } = certificate
  if (authorityKeyId && by.subjectKeyId && !authorityKeyId.equals(by.subjectKeyId)) return false
  const algorithm = HASH_OF[certificate.signatureAlgorithm]
  if (!algorithm) return false
  const key = publicKeyOf(by)
  if (key.asymmetricKeyType !== algorithm.keyType) return false
  return verify(algorithm.hash, certificate.tbs, key, certificate.signature)
}

const WEAKEST_RSA = 2048

const keys = new WeakMap<Certificate, KeyObject>()

function publicKeyOf(certificate: Certificate): KeyObject {
  const read = keys.get(certificate)
  if (read) return read
  let key: KeyObject
  try {
    key = createPublicKey({ key: certificate.spki, format: 'der', type: 'spki' })
  } catch {
    throw malformed('a public key that cannot be read')
  }
  const { modulusLength } = (key.asymmetricKeyType !== 'ec' && key.asymmetricKeyDetails) || {}
  if (modulusLength !== undefined && modulusLength < WEAKEST_RSA) {
    throw breaks(`an RSA key of fewer than ${WEAKEST_RSA} bits`)
  }
  keys.set(certificate, key)
  return key
}

function untrusted(what: string): SallyportError {
  return new SallyportError('SP_SVID_UNTRUSTED', 'the certificate is not trusted', { detail: what })
}
