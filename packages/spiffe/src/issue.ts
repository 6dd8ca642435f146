import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hash,
  randomBytes,
  sign,
} from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { SallyportError } from '@sallyport/base'

import { certificatesFromPem } from './bundle.ts'
import { ENCLOSED, GENERAL_NAME, KEY_USAGE, OID, parseCertificate } from './certificate.ts'
import type { Certificate } from './certificate.ts'
import { TAG } from './der-read.ts'
import {
  bits,
  boolean,
  der,
  namedBits,
  octets,
  oid,
  pem,
  sequence,
  set,
  time,
  unsigned,
} from './der-write.ts'
import { checkTrustDomain, parseSpiffeId } from './id.ts'
import { isChecked, isP256, readP256 } from './p256.ts'
import type { P256Key } from './p256.ts'
import { checkAuthority } from './profile.ts'

export interface RootRequest {
  readonly trustDomain: string
  /** Seconds of validity. */
  readonly ttlSeconds: number
  /** Milliseconds since the epoch. */
  readonly now?: number
}

export interface RootMaterial {
  readonly certificatePem: string
  /** PKCS#8 PEM, P-256. */
  readonly privateKeyPem: string
}

/** A P-256 key that signs where it is kept: in this process, or in a token that never gives it out. */
export interface CertificateSigner {
  readonly publicKey: KeyObject
  /** ECDSA over SHA-256 of `data`, DER (RFC 3279, 2.2.3). */
  sign(data: Uint8Array): Buffer
}

export interface LeafRequest {
  readonly spiffeId: string
  /** SubjectPublicKeyInfo, DER; P-256 only. */
  readonly publicKeySpki: Buffer
  /** Seconds of validity, cut to what the root has left. */
  readonly ttlSeconds: number
  /** Milliseconds since the epoch. */
  readonly now?: number
  readonly dnsNames?: readonly string[]
}

export interface IssuedSvid {
  /** The leaf first; the root is what the other side already has. */
  readonly chainPem: string
  /** Lower-case hex. */
  readonly serial: string
  /** Milliseconds since the epoch, as encoded (whole seconds). */
  readonly notBefore: number
  readonly notAfter: number
}

export interface Issuer {
  readonly trustDomain: string
  /**
   * Issues one X.509-SVID.
   *
   * @throws SallyportError `SP_ISSUE_REFUSED`, `SP_SPIFFE_ID`
   */
  issue(request: LeafRequest): IssuedSvid
}

/** How far back validity starts, for clocks that run behind (SPIRE's default). */
const BACKDATE_MS = 10_000
const MAX_DNS_NAMES = 16
const DNS_NAME =
  /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/

function refuse(message: string): SallyportError {
  return new SallyportError('SP_ISSUE_REFUSED', message)
}

/** Whole seconds, as certificates carry them. */
const seconds = (at: number): number => Math.floor(at / 1000) * 1000

/**
 * Makes the self-signed root of a trust domain: P-256, no path in its id, one level of signing certificates below it,
 * URI names constrained to the trust domain.
 *
 * @throws SallyportError `SP_SPIFFE_ID`, `SP_ISSUE_REFUSED`
 */
export function createRoot(request: RootRequest): RootMaterial {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    certificatePem: signRoot(signerOf(privateKey), request),
    privateKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  }
}

/**
 * The certificate (PEM) of such a root, by a key that is kept elsewhere.
 *
 * @throws SallyportError `SP_SPIFFE_ID`, `SP_ISSUE_REFUSED`, and the signer's own
 */
export function signRoot(signer: CertificateSigner, request: RootRequest): string {
  checkTrustDomain(request.trustDomain)
  if (!isP256(signer.publicKey)) throw refuse('the key of the root is not a P-256 key')
  const spki = signer.publicKey.export({ format: 'der', type: 'spki' })
  const now = request.now ?? Date.now()
  const keyId = keyIdOf(spki)
  const subject = authorityName(request.trustDomain, keyId)
  const raw = signCertificate(signer, {
    issuer: subject,
    subject,
    spki,
    ...validity(now, request.ttlSeconds, Number.MAX_SAFE_INTEGER),
    serial: newSerial(),
    extensions: authorityExtensions(request.trustDomain, keyId, 1),
  })
  return pem('CERTIFICATE', raw)
}

/**
 * Whether certificates of `signAuthority` may stand below this root: roots of before had a path length of zero.
 *
 * @throws SallyportError `SP_BUNDLE_INVALID`, `SP_SVID_MALFORMED`
 */
export function permitsAuthorities(rootPem: string): boolean {
  const { basicConstraints } = onlyCertificate(rootPem)
  const { ca, pathLength } = basicConstraints?.value ?? { ca: false, pathLength: 0 }
  return ca && pathLength !== 0
}

/**
 * Signs a signing certificate below a root: P-256, the root's trust domain, none below it but leaves, and no longer valid than the
 * root.
 *
 * @returns the certificate, PEM
 * @throws SallyportError `SP_ISSUE_REFUSED`, what the profile says of the root, and the signer's own
 */
export function signAuthority(
  root: { readonly certificatePem: string; readonly signer: CertificateSigner },
  request: { readonly publicKey: KeyObject; readonly ttlSeconds: number; readonly now?: number },
): string {
  const above = onlyCertificate(root.certificatePem)
  const trustDomain = trustDomainOf(above)
  checkAuthority(above, trustDomain)
  if (!permitsAuthorities(root.certificatePem)) {
    throw refuse('the root permits no signing certificate below it')
  }
  if (!root.signer.publicKey.export({ format: 'der', type: 'spki' }).equals(above.spki)) {
    throw refuse('the root key does not belong to the certificate')
  }
  if (!isP256(request.publicKey)) throw refuse('the key of the authority is not a P-256 key')
  const now = request.now ?? Date.now()
  if (now > above.notAfter || now < above.notBefore) throw refuse('the root is not valid now')
  const spki = request.publicKey.export({ format: 'der', type: 'spki' })
  const keyId = keyIdOf(spki)
  const raw = signCertificate(root.signer, {
    issuer: above.subject,
    subject: authorityName(trustDomain, keyId),
    spki,
    ...validity(now, request.ttlSeconds, above.notAfter),
    serial: newSerial(),
    extensions: [
      ...authorityExtensions(trustDomain, keyId, 0),
      extension(
        OID.authorityKeyId,
        false,
        sequence(der(0x80, above.subjectKeyId ?? keyIdOf(above.spki))),
      ),
    ],
  })
  return pem('CERTIFICATE', raw)
}

function onlyCertificate(text: string): Certificate {
  const [raw, ...others] = certificatesFromPem(text)
  if (raw === undefined || others.length > 0)
    throw refuse('there has to be exactly one certificate')
  return parseCertificate(raw)
}

function authorityName(trustDomain: string, keyId: Buffer): Buffer {
  return sequence(
    set(
      sequence(
        oid(OID.commonName),
        // A common name holds 64 characters at most; the key id keeps successors apart.
        der(
          TAG.utf8String,
          Buffer.from(`${trustDomain.slice(0, 40)} ${keyId.toString('hex').slice(0, 16)}`),
        ),
      ),
    ),
  )
}

function authorityExtensions(trustDomain: string, keyId: Buffer, pathLength: number): Buffer[] {
  const limit = unsigned(Buffer.from([pathLength]))
  return [
    extension(OID.basicConstraints, true, sequence(boolean(true), limit)),
    extension(OID.keyUsage, true, namedBits(KEY_USAGE.keyCertSign, KEY_USAGE.crlSign)),
    extension(OID.subjectKeyId, false, octets(keyId)),
    extension(OID.subjectAltName, false, sequence(uriName(`spiffe://${trustDomain}`))),
    extension(OID.nameConstraints, true, sequence(der(0xa0, sequence(uriName(trustDomain))))),
  ]
}

/**
 * An issuer over one signing certificate and its key. Checks once that they belong together. What a root issues stands alone; where
 * the certificate is not a root, it goes along with what it issues.
 *
 * @throws SallyportError `SP_ISSUE_REFUSED` and what the profile says of the certificate
 */
export function createIssuer(
  material: { readonly certificatePem: string } & (
    { readonly privateKey: KeyObject | string } | { readonly signer: CertificateSigner }
  ),
): Issuer {
  const root = onlyCertificate(material.certificatePem)
  const trustDomain = trustDomainOf(root)
  checkAuthority(root, trustDomain)
  const signer = 'signer' in material ? material.signer : signerOf(material.privateKey)
  if (!isP256(signer.publicKey)) throw refuse('the issuer key is not a P-256 key')
  const own = signer.publicKey.export({ format: 'der', type: 'spki' })
  if (!own.equals(root.spki)) throw refuse('the issuer key does not belong to the certificate')
  const selfSigned = root.subject.equals(root.issuer)
  const carried: Carried = selfSigned
    ? { extensions: [], pem: '' }
    : { extensions: [enclosedSigner(root)], pem: pem('CERTIFICATE', root.raw) }
  return {
    trustDomain,
    issue: (request) => issueLeaf(root, trustDomain, signer, carried, request),
  }
}

function signerOf(key: KeyObject | string): CertificateSigner {
  const privateKey = typeof key === 'string' ? createPrivateKey(key) : key
  return {
    publicKey: createPublicKey(privateKey),
    sign: (data) => sign('sha256', data, privateKey),
  }
}

function trustDomainOf(root: Certificate): string {
  const name = root.subjectAltName?.value.find((entry) => entry.tag === GENERAL_NAME.uri)
  if (!name) throw refuse('the issuer certificate names no trust domain')
  return parseSpiffeId(name.content.toString('latin1')).trustDomain
}

/** What the signer's certificate adds to each leaf; made once. */
interface Carried {
  readonly extensions: readonly Buffer[]
  readonly pem: string
}

function issueLeaf(
  root: Certificate,
  trustDomain: string,
  signer: CertificateSigner,
  carried: Carried,
  request: LeafRequest,
): IssuedSvid {
  const id = parseSpiffeId(request.spiffeId)
  if (id.trustDomain !== trustDomain) throw refuse('the id is of another trust domain')
  if (id.path === '') throw refuse('the id has no path')
  const spki = canonicalKey(request.publicKeySpki)
  const now = request.now ?? Date.now()
  if (now > root.notAfter || now < root.notBefore)
    throw refuse('the issuer certificate is not valid now')
  const names = request.dnsNames ?? []
  if (names.length > MAX_DNS_NAMES || names.some((name) => !DNS_NAME.test(name))) {
    throw refuse('a DNS name is not acceptable')
  }
  const period = validity(now, request.ttlSeconds, root.notAfter)
  const serial = newSerial()
  const raw = signCertificate(signer, {
    issuer: root.subject,
    subject: sequence(),
    spki,
    ...period,
    serial,
    extensions: [
      extension(OID.basicConstraints, true, sequence()),
      extension(OID.keyUsage, true, namedBits(KEY_USAGE.digitalSignature)),
      extension(OID.extendedKeyUsage, false, sequence(oid(OID.serverAuth), oid(OID.clientAuth))),
      extension(OID.subjectKeyId, false, octets(keyIdOf(spki))),
      extension(
        OID.authorityKeyId,
        false,
        sequence(der(0x80, root.subjectKeyId ?? keyIdOf(root.spki))),
      ),
      ...carried.extensions,
      extension(
        OID.subjectAltName,
        true,
        sequence(
          uriName(id.uri),
          ...names.map((name) => der(GENERAL_NAME.dns, Buffer.from(name, 'latin1'))),
        ),
      ),
    ],
  })
  return {
    chainPem: pem('CERTIFICATE', raw) + carried.pem,
    serial: serial.toString('hex'),
    ...period,
  }
}

/** Authority information access with the signer's certificate itself in the place of its address. */
function enclosedSigner(signer: Certificate): Buffer {
  return extension(
    OID.authorityInfoAccess,
    false,
    sequence(sequence(oid(OID.caIssuers), uriName(ENCLOSED + signer.raw.toString('base64')))),
  )
}

function validity(
  now: number,
  ttlSeconds: number,
  limit: number,
): { notBefore: number; notAfter: number } {
  if (!Number.isFinite(ttlSeconds) || ttlSeconds < 1) throw refuse('the lifetime is under a second')
  return {
    notBefore: seconds(now - BACKDATE_MS),
    notAfter: Math.min(seconds(now + ttlSeconds * 1000), limit),
  }
}

/** The key alone, encoded anew, so that nothing else a requester put there is signed. */
function canonicalKey(spki: Buffer): Buffer {
  if (isChecked(spki)) return spki
  let key: P256Key | undefined
  try {
    key = readP256(spki)
  } catch {
    throw refuse('the public key cannot be read')
  }
  if (!key) throw refuse('the public key is not a P-256 key')
  return key.spki
}

/** 128 bits, 126 of them random; never a leading zero octet, so that its hex form has one spelling. */
function newSerial(): Buffer {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return serial
}

/** Key id (RFC 7093, method 1: SHA-256 cut to 160 bits) over the whole SPKI. */
function keyIdOf(spki: Buffer): Buffer {
  return hash('sha256', spki, 'buffer').subarray(0, 20)
}

function uriName(uri: string): Buffer {
  return der(GENERAL_NAME.uri, Buffer.from(uri, 'latin1'))
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(value))
}

interface Body {
  readonly issuer: Buffer
  readonly subject: Buffer
  readonly spki: Buffer
  readonly notBefore: number
  readonly notAfter: number
  readonly serial: Buffer
  readonly extensions: readonly Buffer[]
}

const ALGORITHM = sequence(oid(OID.ecdsaSha256))

/** TBSCertificate and Certificate (RFC 5280, 4.1), ECDSA with SHA-256. */
function signCertificate(signer: CertificateSigner, body: Body): Buffer {
  const tbs = sequence(
    der(0xa0, unsigned(Buffer.from([2]))),
    unsigned(body.serial),
    ALGORITHM,
    body.issuer,
    sequence(time(body.notBefore), time(body.notAfter)),
    body.subject,
    body.spki,
    der(0xa3, sequence(...body.extensions)),
  )
  return sequence(tbs, ALGORITHM, bits(signer.sign(tbs)))
}
