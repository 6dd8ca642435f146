import { OID } from './certificate.ts'
import {
  DerReader,
  malformed,
  readBoolean,
  readNamedBits,
  readOid,
  readOne,
  TAG,
} from './der-read.ts'

/** What a certificate of any public-key infrastructure asks of whoever judges it. */
export interface CertificateExtensions {
  /** Object identifiers of all extensions. */
  readonly present: ReadonlySet<string>
  /** Of those, the ones that nobody may pass over who does not know them (RFC 5280, 4.2). */
  readonly critical: ReadonlySet<string>
  /** Bit numbers of the key usage (RFC 5280, 4.2.1.3); absent where any use is meant. */
  readonly keyUsage?: ReadonlySet<number>
}

/**
 * Reads which extensions a certificate has (RFC 5280, 4.1). Nothing else of it is judged, so certificates that are no SVIDs can be
 * read; one that has an extension twice cannot.
 *
 * @param raw DER
 * @throws SallyportError `SP_SVID_MALFORMED`
 */
export function extensionsOf(raw: Buffer): CertificateExtensions {
  const outer = new DerReader(readOne(raw, TAG.sequence).content)
  const tbs = new DerReader(outer.next(TAG.sequence).content)
  let list: Buffer | undefined
  while (!tbs.done) {
    const { tag, content } = tbs.next()
    // Extensions are [3], and nothing stands behind them.
    if (tag !== 0xa3) continue
    tbs.end()
    list = readOne(content, TAG.sequence).content
  }
  const present = new Set<string>()
  const critical = new Set<string>()
  let keyUsage: ReadonlySet<number> | undefined
  for (const extensions = new DerReader(list ?? Buffer.alloc(0)); !extensions.done;) {
    const extension = new DerReader(extensions.next(TAG.sequence).content)
    const id = readOid(extension.next(TAG.oid))
    if (present.has(id)) throw malformed(`extension ${id} twice`)
    present.add(id)
    const flag = extension.optional(TAG.boolean)
    if (flag !== undefined && readBoolean(flag)) critical.add(id)
    const value = extension.next(TAG.octetString).content
    extension.end()
    if (id === OID.keyUsage) keyUsage = readNamedBits(readOne(value, TAG.bitString))
  }
  return { present, critical, ...(keyUsage ? { keyUsage } : {}) }
}
