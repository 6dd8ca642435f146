import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { hash, randomBytes, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { certificatesFromPem } from './bundle.ts'
import { KEY_USAGE, OID, parseCertificate } from './certificate.ts'
import { TAG } from './der-read.ts'
import { bits, boolean, der, namedBits, octets, oid, pem, sequence, set } from './der-write.ts'
import { time, unsigned } from './der-write.ts'

/** A signing certificate for names that are no SPIFFE ids, e.g. roles in a database, and its key (PKCS#8 PEM, P-256). */
export interface ClientAuthority {
  readonly certificatePem: string
  readonly privateKeyPem: string
}

/** How far back validity starts, for clocks that run behind. */
const BACKDATE_MS = 10_000
const NAME = /^[A-Za-z0-9_.-]{1,64}$/

/**
 * Makes an authority whose certificates sign in to servers that know clients by a common name. It is none of the trust domain's
 * roots: what it signs is no SVID and is accepted by nothing that asks for one.
 *
 * @param request.ttlSeconds seconds of validity
 * @param request.now milliseconds since the epoch
 */
export function createClientAuthority(request: {
  readonly name: string
  readonly ttlSeconds: number
  readonly now: number
}): ClientAuthority {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ format: 'der', type: 'spki' })
  const subject = commonName(request.name)
  const raw = signed(privateKey, {
    ...{ issuer: subject, subject, spki, serial: newSerial() },
    notBefore: request.now - BACKDATE_MS,
    notAfter: request.now + request.ttlSeconds * 1000,
    extensions: [
      extension(OID.basicConstraints, true, sequence(boolean(true), unsigned(Buffer.from([0])))),
      extension(OID.keyUsage, true, namedBits(KEY_USAGE.keyCertSign)),
      extension(OID.subjectKeyId, false, octets(keyIdOf(spki))),
    ],
  })
  return {
    certificatePem: pem('CERTIFICATE', raw),
    privateKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  }
}

/**
 * A client certificate for one common name.
 *
 * @param request.publicKeySpki SubjectPublicKeyInfo, DER; P-256 only
 * @param request.notAfter milliseconds since the epoch, cut to what the authority has left
 * @throws SallyportError `SP_ISSUE_REFUSED`
 */
export function issueClientCertificate(
  authority: ClientAuthority,
  request: {
    readonly commonName: string
    readonly publicKeySpki: Buffer
    readonly now: number
    readonly notAfter: number
  },
): { readonly certificatePem: string; readonly serial: string; readonly notAfter: number } {
  const [raw] = certificatesFromPem(authority.certificatePem)
  if (raw === undefined) throw refuse('the authority has no certificate')
  const issuer = parseCertificate(raw)
  const notAfter = Math.min(wholeSeconds(request.notAfter), issuer.notAfter)
  if (notAfter <= request.now) throw refuse('the lifetime is over')
  const spki = canonicalKey(request.publicKeySpki)
  const serial = newSerial()
  const made = signed(createPrivateKey(authority.privateKeyPem), {
    ...{ issuer: issuer.subject, subject: commonName(request.commonName), spki, serial },
    ...{ notBefore: request.now - BACKDATE_MS, notAfter },
    extensions: [
      extension(OID.basicConstraints, true, sequence()),
      extension(OID.keyUsage, true, namedBits(KEY_USAGE.digitalSignature)),
      extension(OID.extendedKeyUsage, false, sequence(oid(OID.clientAuth))),
      extension(
        OID.authorityKeyId,
        false,
        sequence(der(0x80, issuer.subjectKeyId ?? keyIdOf(issuer.spki))),
      ),
    ],
  })
  return { certificatePem: pem('CERTIFICATE', made), serial: serial.toString('hex'), notAfter }
}

function commonName(name: string): Buffer {
  if (!NAME.test(name)) throw refuse('the name is not 1 to 64 letters, digits, `_`, `.` or `-`')
  return sequence(set(sequence(oid(OID.commonName), der(TAG.utf8String, Buffer.from(name)))))
}

/** The key alone, encoded anew, so that nothing else a requester put there is signed. */
function canonicalKey(spki: Buffer): Buffer {
  let key: KeyObject
  try {
    key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  } catch {
    throw refuse('the public key cannot be read')
  }
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw refuse('the public key is not a P-256 key')
  }
  return key.export({ format: 'der', type: 'spki' })
}

const ALGORITHM = sequence(oid(OID.ecdsaSha256))

/** TBSCertificate and Certificate (RFC 5280, 4.1), ECDSA with SHA-256. */
function signed(
  key: KeyObject,
  body: {
    readonly issuer: Buffer
    readonly subject: Buffer
    readonly spki: Buffer
    readonly serial: Buffer
    readonly notBefore: number
    readonly notAfter: number
    readonly extensions: readonly Buffer[]
  },
): Buffer {
  const tbs = sequence(
    der(0xa0, unsigned(Buffer.from([2]))),
    unsigned(body.serial),
    ALGORITHM,
    body.issuer,
    sequence(time(wholeSeconds(body.notBefore)), time(wholeSeconds(body.notAfter))),
    body.subject,
    body.spki,
    der(0xa3, sequence(...body.extensions)),
  )
  return sequence(tbs, ALGORITHM, bits(sign('sha256', tbs, key)))
}

const wholeSeconds = (at: number): number => Math.floor(at / 1000) * 1000

const extension = (id: string, critical: boolean, value: Buffer): Buffer =>
  sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(value))

/** Key id (RFC 7093, method 1: SHA-256 cut to 160 bits) over the whole SPKI. */
const keyIdOf = (spki: Buffer): Buffer => hash('sha256', spki, 'buffer').subarray(0, 20)

function newSerial(): Buffer {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return serial
}

const refuse = (message: string): SallyportError => new SallyportError('SP_ISSUE_REFUSED', message)
