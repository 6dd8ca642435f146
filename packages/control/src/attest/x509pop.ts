import { constants, verify, X509Certificate } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { sha256Hex } from '@sallyport/base'
import type { Network } from '@sallyport/network'
import { certificatesFromPem, extensionsOf } from '@sallyport/spiffe'
import { possessionText } from '@sallyport/wire'
import { refuse } from './refuse.ts'

export interface PopProof {
  readonly nonce: string
  readonly csr: string
  /** PEM, the machine's certificate alone. */
  readonly certificate: string
  /** Over `possessionText`, base64url: ECDSA (DER), RSA-PSS with SHA-256, or Ed25519. */
  readonly signature: string
}

/** What was proven: which agent, and by what, so that the same proof is known again. */
export interface Evidence {
  readonly agent: string
  readonly by: string
}

const NAME_CONSTRAINTS = '2.5.29.30'
/** What is judged here, or says nothing that a judgement hangs on (RFC 5280, 4.2.1): key ids, key usage, names, CA or not, its use. */
const JUDGED: ReadonlySet<string> = new Set([
  ...['2.5.29.14', '2.5.29.15', '2.5.29.17', '2.5.29.19', '2.5.29.35', '2.5.29.37'],
])
const DIGITAL_SIGNATURE = 0
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const ANY_USE = '2.5.29.37.0'
const WEAKEST_RSA = 2048
const CURVES: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1'])

/**
 * Whether the sender holds the key of a certificate that one of the declared CAs issued itself, for the DNS name of exactly
 * one agent. The nonce is for the caller to check.
 *
 * @throws SallyportError `SP_ATTESTATION_REFUSED`
 */
export function provePossession(proof: PopProof, network: Network, now: number): Evidence {
  const { x509pop } = network.attestors ?? {}
  if (!x509pop) throw refuse('no `attestors.x509pop` is declared')
  const certificate = single(proof.certificate)
  // The signature first: whoever holds no key learns nothing about what would be accepted.
  const digest = sha256Hex(certificate.raw)
  const text = possessionText({
    trustDomain: network.trustDomain,
    nonce: proof.nonce,
    csr: proof.csr,
    certificate: digest,
  })
  if (!signed(text, certificate.publicKey, proof.signature)) {
    throw refuse('the signature is not by the key of the certificate')
  }
  const authorities = certificatesFromPem(x509pop.ca).map((raw) => new X509Certificate(raw))
  const issuer = authorities.find((ca) => issued(ca, certificate))
  if (!issuer) throw refuse('none of the declared CAs issued the certificate')
  for (const one of [certificate, issuer]) checkValidity(one, now)
  checkExtensions(certificate, issuer)
  if (certificate.ca) throw refuse('the certificate is one of a CA')
  for (const one of [certificate, issuer]) {
    // What Node calls key usage is the extended one (RFC 5280, 4.2.1.12); without it, any use is meant.
    const uses: readonly string[] | undefined = one.keyUsage
    if (uses && !uses.includes(CLIENT_AUTH) && !(one === issuer && uses.includes(ANY_USE))) {
      throw refuse('the certificate is not for client authentication')
    }
  }
  const matching = network.agents.filter(({ attest }) => {
    const wanted = attest?.x509pop
    return (
      wanted !== undefined &&
      // One name, and nothing beside it.
      certificate.subjectAltName === `DNS:${wanted.dnsName}` &&
      (wanted.sha256 === undefined || wanted.sha256 === digest)
    )
  })
  const [agent, ...others] = matching
  if (!agent || others.length > 0) {
    throw refuse(`no one agent is declared for \`${certificate.subjectAltName ?? ''}\``)
  }
  return { agent: agent.name, by: `x509pop:${machineOf(certificate)}` }
}

/**
 * What a machine is known by again: its key. The certificate is no name for it, since whoever holds one can spell it anew: of an
 * ECDSA signature (r, s) the pair (r, n − s) is as good.
 */
function machineOf({ publicKey }: X509Certificate): string {
  return sha256Hex(publicKey.export({ format: 'der', type: 'spki' }))
}

function single(pem: string): X509Certificate {
  let raws: readonly Buffer[]
  try {
    raws = certificatesFromPem(pem)
  } catch (cause) {
    throw refuse('the certificate is not PEM', cause)
  }
  const [raw, ...others] = raws
  if (!raw || others.length > 0) throw refuse('exactly one certificate is taken')
  try {
    return new X509Certificate(raw)
  } catch (cause) {
    throw refuse('the certificate cannot be read', cause)
  }
}

function issued(ca: X509Certificate, certificate: X509Certificate): boolean {
  return ca.ca && certificate.checkIssued(ca) && certificate.verify(ca.publicKey)
}

/** Whoever made a certificate may demand that it be refused where what they wrote is not understood (RFC 5280, 4.2). */
function checkExtensions(certificate: X509Certificate, issuer: X509Certificate): void {
  const [leaf, ca] = [certificate, issuer].map(({ raw }) => {
    try {
      return extensionsOf(raw)
    } catch (cause) {
      throw refuse('the extensions of a certificate cannot be read', cause)
    }
  })
  if (ca?.present.has(NAME_CONSTRAINTS)) {
    throw refuse('the CA has name constraints, which are not judged here')
  }
  for (const critical of [leaf?.critical, ca?.critical]) {
    const unknown = critical?.difference(JUDGED) ?? new Set<string>()
    if (unknown.size > 0) {
      throw refuse(`a critical extension is not understood: ${[...unknown].join(', ')}`)
    }
  }
  if (leaf?.keyUsage && !leaf.keyUsage.has(DIGITAL_SIGNATURE)) {
    throw refuse('the key of the certificate is not for signatures')
  }
}

function checkValidity({ validFromDate, validToDate }: X509Certificate, now: number): void {
  if (now < validFromDate.getTime()) throw refuse('a certificate is not yet valid')
  // Written so that a time that cannot be read fails too.
  if (!(now <= validToDate.getTime())) throw refuse('a certificate has expired')
}

function signed(text: Buffer, key: KeyObject, signature: string): boolean {
  const bytes = Buffer.from(signature, 'base64url')
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {}
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return verify(null, text, key, bytes)
    case 'ec':
      return CURVES.has(namedCurve) && verify('sha256', text, key, bytes)
    case 'rsa': {
      if (modulusLength < WEAKEST_RSA) throw refuse('an RSA key of fewer than 2048 bits')
      const padding = constants.RSA_PKCS1_PSS_PADDING
      const saltLength = constants.RSA_PSS_SALTLEN_DIGEST
      return verify('sha256', text, { key, padding, saltLength }, bytes)
    }
    default:
      throw refuse('a key of a kind that is not taken')
  }
}
