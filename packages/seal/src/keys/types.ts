import type { KeyObject } from 'node:crypto'

export type KeyAlgorithm = 'p256' | 'ed25519'

/** Signs with one private key, wherever that is. Synchronous: what a PKCS#11 module answers, it answers within the call. */
export interface Signer {
  readonly publicKey: KeyObject
  /**
   * P-256: ECDSA over SHA-256 of `data`, DER (RFC 3279). Ed25519: RFC 8032, 64 bytes.
   *
   * @throws SallyportError `SP_HSM_*`, `SP_SEAL_SEALED`
   */
  sign(data: Uint8Array): Buffer
}

/** One key, for the register of keys. Never holds a secret. */
export interface KeyInfo {
  readonly name: string
  readonly algorithm: KeyAlgorithm | 'aes256'
  readonly use: 'sign' | 'unseal' | 'encrypt'
  /** `software`, `sealed` or `pkcs11`. */
  readonly provider: string
  /** Whether somebody who may use the key could carry it away. */
  readonly exportable: boolean
  /** Milliseconds since the epoch, to the day in PKCS#11; absent where the provider does not know. */
  readonly createdAt?: number
  /** Hex SHA-256 of the public key (SubjectPublicKeyInfo); absent for secret keys. */
  readonly fingerprint?: string
}

/**
 * Where signing keys live. Implementations: files (`software`), files under a barrier (`sealed`), a token (`pkcs11`).
 *
 * A cloud KMS fits in two places: as an `Unsealer`, whose calls may take a network round trip, and through its PKCS#11 module, as a
 * provider whose keys never leave it.
 */
export interface KeyProvider {
  readonly kind: string
  /** @throws SallyportError `SP_KEY_MISSING`, and the provider's own */
  signer(name: string): Promise<Signer>
  /** Makes a key that was not there. @throws SallyportError `SP_KEY_EXISTS`, and the provider's own */
  generate(name: string, algorithm: KeyAlgorithm): Promise<Signer>
  /** Of signing keys, sorted; no key is opened for it. */
  names(): Promise<readonly string[]>
  /** Destroys a key that nothing is to be signed with any more; no failure where there is none. @throws the provider's own */
  destroy(name: string): Promise<void>
  keys(): Promise<readonly KeyInfo[]>
  close(): Promise<void>
}
