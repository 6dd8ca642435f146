import {
  DerReader,
  malformed,
  readBitOctets,
  readBoolean,
  readNamedBits,
  readOid,
  readOne,
  readSmallInteger,
  readTime,
  readUnsigned,
  TAG,
} from './der-read.ts'

/** Object identifiers of RFC 5280 that the profile reads. */
export const OID = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyId: '2.5.29.35',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
  caIssuers: '1.3.6.1.5.5.7.48.2',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  ecdsaSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
} as const

/** Bit numbers of KeyUsage (RFC 5280, 4.2.1.3). */
export const KEY_USAGE = { digitalSignature: 0, keyCertSign: 5, crlSign: 6 } as const

/** Context tags of GeneralName (RFC 5280, 4.2.1.6). */
export const GENERAL_NAME = { dns: 0x82, uri: 0x86 } as const

/** A GeneralName, as its tag and content. */
export interface GeneralName {
  readonly tag: number
  readonly content: Buffer
}

export interface NameConstraints {
  readonly permitted: readonly GeneralName[]
  readonly excluded: readonly GeneralName[]
}

interface Marked<T> {
  readonly critical: boolean
  readonly value: T
}

/** What the profile reads of an X.509 certificate, strictly decoded. */
export interface Certificate {
  readonly raw: Buffer
  /** The signed part, exactly as signed. */
  readonly tbs: Buffer
  /** Lower-case hex of the serial number's magnitude. */
  readonly serial: string
  readonly signatureAlgorithm: string
  readonly signature: Buffer
  readonly issuer: Buffer
  readonly subject: Buffer
  readonly subjectEmpty: boolean
  /** Milliseconds since the epoch; both ends count as valid. */
  readonly notBefore: number
  readonly notAfter: number
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer
  readonly basicConstraints?: Marked<{ readonly ca: boolean; readonly pathLength?: number }>
  readonly keyUsage?: Marked<ReadonlySet<number>>
  readonly extendedKeyUsage?: Marked<readonly string[]>
  readonly subjectAltName?: Marked<readonly GeneralName[]>
  readonly nameConstraints?: Marked<NameConstraints>
  readonly subjectKeyId?: Buffer
  readonly authorityKeyId?: Buffer
  /** The signer's certificate, DER, where the certificate carries it: nothing that is believed, only a chain's next link. */
  readonly enclosedSigner?: Buffer
  /** Critical extensions that are none of the above. */
  readonly unknownCritical: readonly string[]
}

const MAX_BYTES = 16_384

/**
 * Decodes a certificate (RFC 5280, section 4.1) strictly: version 3, inner and outer signature algorithm equal,
 * no unique ids, no extension twice.
 *
 * @throws SallyportError `SP_SVID_MALFORMED`
 */
export function parseCertificate(raw: Buffer): Certificate {
  if (raw.length > MAX_BYTES) throw malformed(`more than ${MAX_BYTES} bytes`)
  const outer = new DerReader(readOne(raw, TAG.sequence).content)
  const tbsNode = outer.next(TAG.sequence)
  const outerAlgorithm = outer.next(TAG.sequence)
  const signature = readBitOctets(outer.next(TAG.bitString))
  outer.end()

  const tbs = new DerReader(tbsNode.content)
  const version = readSmallInteger(readOne(tbs.next(0xa0).content, TAG.integer))
  if (version !== 2) throw malformed('not an X.509 version 3 certificate')
  const serial = readUnsigned(tbs.next(TAG.integer))
  if (serial.length > 20 || serial.every((byte) => byte === 0)) {
    throw malformed('a serial number of zero or over 20 octets')
  }
  const innerAlgorithm = tbs.next(TAG.sequence)
  if (!innerAlgorithm.raw.equals(outerAlgorithm.raw)) {
    throw malformed('two different signature algorithms')
  }
  const issuer = tbs.next(TAG.sequence)
  const validity = new DerReader(tbs.next(TAG.sequence).content)
  const notBefore = readTime(validity.next())
  const notAfter = readTime(validity.next())
  validity.end()
  const subject = tbs.next(TAG.sequence)
  const spki = tbs.next(TAG.sequence)
  const extensions = tbs.optional(0xa3)
  tbs.end()

  return {
    raw,
    tbs: tbsNode.raw,
    serial: serial.toString('hex'),
    signatureAlgorithm: readAlgorithm(outerAlgorithm.content),
    signature,
    issuer: issuer.raw,
    subject: subject.raw,
    subjectEmpty: subject.content.length === 0,
    notBefore,
    notAfter,
    spki: spki.raw,
    ...readExtensions(extensions?.content),
  }
}

/** The algorithm's OID; its parameters may only be absent or NULL (no RSASSA-PSS here). */
function readAlgorithm(content: Buffer): string {
  const reader = new DerReader(content)
  const name = readOid(reader.next(TAG.oid))
  const parameters = reader.optional(TAG.null)
  if (parameters && parameters.content.length > 0) throw malformed('a NULL with content')
  reader.end()
  return name
}

type Extensions = Pick<
  Certificate,
  | 'basicConstraints'
  | 'keyUsage'
  | 'extendedKeyUsage'
  | 'subjectAltName'
  | 'nameConstraints'
  | 'subjectKeyId'
  | 'authorityKeyId'
  | 'enclosedSigner'
  | 'unknownCritical'
>

function readExtensions(content: Buffer | undefined): Extensions {
  const unknownCritical: string[] = []
  let known: Omit<Extensions, 'unknownCritical'> = {}
  if (content === undefined) return { unknownCritical }
  const list = new DerReader(readOne(content, TAG.sequence).content)
  const seen = new Set<string>()
  while (!list.done) {
    const extension = new DerReader(list.next(TAG.sequence).content)
    const id = readOid(extension.next(TAG.oid))
    if (seen.has(id)) throw malformed(`extension ${id} twice`)
    seen.add(id)
    const flag = extension.optional(TAG.boolean)
    const critical = flag !== undefined && readBoolean(flag)
    // DER leaves a DEFAULT value out (X.690, 11.5).
    if (flag !== undefined && !critical) throw malformed('an explicit `critical` of FALSE')
    const value = extension.next(TAG.octetString).content
    extension.end()
    switch (id) {
      case OID.basicConstraints:
        known = { ...known, basicConstraints: { critical, value: readBasicConstraints(value) } }
        break
      case OID.keyUsage:
        known = {
          ...known,
          keyUsage: { critical, value: readNamedBits(readOne(value, TAG.bitString)) },
        }
        break
      case OID.extendedKeyUsage:
        known = { ...known, extendedKeyUsage: { critical, value: readExtendedKeyUsage(value) } }
        break
      case OID.subjectAltName:
        known = { ...known, subjectAltName: { critical, value: readGeneralNames(value) } }
        break
      case OID.nameConstraints:
        known = { ...known, nameConstraints: { critical, value: readNameConstraints(value) } }
        break
      case OID.subjectKeyId:
        known = { ...known, subjectKeyId: readOne(value, TAG.octetString).content }
        break
      case OID.authorityKeyId: {
        const keyId = readAuthorityKeyId(value)
        if (keyId) known = { ...known, authorityKeyId: keyId }
        break
      }
      case OID.authorityInfoAccess: {
        if (critical) unknownCritical.push(id)
        const enclosedSigner = readEnclosedSigner(value)
        if (enclosedSigner) known = { ...known, enclosedSigner }
        break
      }
      default:
        if (critical) unknownCritical.push(id)
    }
  }
  return { ...known, unknownCritical }
}

function readBasicConstraints(value: Buffer): { ca: boolean; pathLength?: number } {
  const reader = new DerReader(readOne(value, TAG.sequence).content)
  const flag = reader.optional(TAG.boolean)
  const ca = flag !== undefined && readBoolean(flag)
  if (flag !== undefined && !ca) throw malformed('an explicit `cA` of FALSE')
  const limit = reader.optional(TAG.integer)
  reader.end()
  if (limit === undefined) return { ca }
  if (!ca) throw malformed('a path length without `cA`')
  return { ca, pathLength: readSmallInteger(limit) }
}

function readExtendedKeyUsage(value: Buffer): string[] {
  const reader = new DerReader(readOne(value, TAG.sequence).content)
  const usages: string[] = []
  while (!reader.done) usages.push(readOid(reader.next(TAG.oid)))
  if (usages.length === 0) throw malformed('an empty extended key usage')
  return usages
}

function readGeneralNames(value: Buffer): GeneralName[] {
  const reader = new DerReader(readOne(value, TAG.sequence).content)
  const names: GeneralName[] = []
  while (!reader.done) {
    names.push(readGeneralName(reader))
  }
  if (names.length === 0) throw malformed('an empty subject alternative name')
  return names
}

/**
 * A GeneralName in the one form that DER has for its kind (RFC 5280, 4.2.1.6: implicit tags; X.690, 10.2). OpenSSL also reads strings that
 * are put together from pieces: a second URI could hide from this reader in one, and a constraint.
 */
function readGeneralName(reader: DerReader): GeneralName {
  const { tag, content } = reader.next()
  if (!GENERAL_NAME_TAGS.has(tag)) throw malformed('a general name of an unknown kind')
  return { tag, content }
}

/** otherName, x400Address, directoryName and ediPartyName are constructed, all others primitive. */
const GENERAL_NAME_TAGS: ReadonlySet<number> = new Set([
  0xa0, 0x81, 0x82, 0xa3, 0xa4, 0xa5, 0x86, 0x87, 0x88,
])

function readNameConstraints(value: Buffer): NameConstraints {
  const reader = new DerReader(readOne(value, TAG.sequence).content)
  const permitted = readSubtrees(reader.optional(0xa0)?.content)
  const excluded = readSubtrees(reader.optional(0xa1)?.content)
  reader.end()
  if (permitted.length + excluded.length === 0) throw malformed('empty name constraints')
  return { permitted, excluded }
}

function readSubtrees(content: Buffer | undefined): GeneralName[] {
  const bases: GeneralName[] = []
  if (content === undefined) return bases
  const reader = new DerReader(content)
  while (!reader.done) {
    const subtree = new DerReader(reader.next(TAG.sequence).content)
    bases.push(readGeneralName(subtree))
    // `minimum` is always 0 and `maximum` absent (RFC 5280, 4.2.1.10), so nothing may follow the base.
    subtree.end()
  }
  return bases
}

/**
 * What stands before the base64 of a signer's certificate in a location of `caIssuers` (RFC 5280, 4.2.2.1; RFC 2397). Node shows a
 * server the client's leaf and nothing of the chain beside it, so the leaf says itself who signed it.
 */
export const ENCLOSED = 'data:application/pkix-cert;base64,'
const MAX_ENCLOSED = 8192

/** The first location that holds a certificate itself; all others are of no use here. */
function readEnclosedSigner(value: Buffer): Buffer | undefined {
  const list = new DerReader(readOne(value, TAG.sequence).content)
  let found: Buffer | undefined
  while (!list.done) {
    const description = new DerReader(list.next(TAG.sequence).content)
    const method = readOid(description.next(TAG.oid))
    const { tag, content } = description.next()
    description.end()
    if (found || method !== OID.caIssuers || tag !== GENERAL_NAME.uri) continue
    if (content.length > MAX_ENCLOSED) continue
    const text = content.toString('latin1')
    if (text.startsWith(ENCLOSED)) found = Buffer.from(text.slice(ENCLOSED.length), 'base64')
  }
  return found
}

function readAuthorityKeyId(value: Buffer): Buffer | undefined {
  const reader = new DerReader(readOne(value, TAG.sequence).content)
  const keyId = reader.optional(0x80)?.content
  // authorityCertIssuer and authorityCertSerialNumber add nothing that the chain check relies on.
  reader.optional(0xa1)
  reader.optional(0x82)
  reader.end()
  return keyId
}
