import { canonicalJson } from '@sallyport/base'

/** What the holder of a machine's key signs to enrol an agent by its certificate. */
export interface Possession {
  readonly trustDomain: string
  /** As the control plane gave it; good once. */
  readonly nonce: string
  /** The certificate request that is to be answered, PEM: a proof for one key is none for another. */
  readonly csr: string
  /** SHA-256 of the machine's certificate, DER, lower-case hex. */
  readonly certificate: string
}

/** The signed text. Its format member keeps it apart from everything else that such a key may ever sign. */
export function possessionText(possession: Possession): Buffer {
  const { trustDomain, nonce, csr, certificate } = possession
  return Buffer.from(
    canonicalJson({ format: 'sallyport-x509pop/1', trustDomain, nonce, csr, certificate }),
  )
}
