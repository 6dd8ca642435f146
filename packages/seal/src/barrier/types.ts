/**
 * Where a barrier's one document is kept: a file, or a row of a database. It holds wrapped keys only; whoever can write it can destroy, not
 * read. Failures are thrown as they are; the barrier names them `SP_SEAL_STORAGE`.
 */
export interface BarrierStorage {
  /** The document, or undefined where there is none. */
  read(): Promise<string | undefined>
  /**
   * Puts `next` in the place of `previous`, atomically and durably, and only where `previous` is what is there (undefined: nothing is there).
   *
   * @returns false where something else is there
   */
  replace(previous: string | undefined, next: string): Promise<boolean>
}

/** Unseals without people: a key that stays in an HSM or a cloud KMS, or (development) a file of mode 0600. */
export interface Unsealer {
  /** Stands in the document: which key of which provider, e.g. `pkcs11:token=bank;object=sallyport-unseal`. */
  readonly id: string
  /** @param context bound to the result where the mechanism can */
  wrap(rootKey: Buffer, context: string): Promise<Buffer>
  unwrap(wrapped: Buffer, context: string): Promise<Buffer>
}

export interface BarrierOptions {
  readonly storage: BarrierStorage
  readonly clock?: { now(): number }
  /** Encryptions under one data key before the next one is made without being asked (default 2³¹, below 2³² of NIST SP 800-38D). */
  readonly maxUses?: number
  /** Encryptions that are written down as spent in advance, so that no crash forgets them (default 2¹⁶). */
  readonly leaseUses?: number
  /** Data keys that may be asked for (default 4096): each stays in the document, which has to stay readable. */
  readonly maxTerms?: number
}

/** How the root key is to be protected: by people's shares, by an unsealer, or by either. */
export interface Protection {
  /** `count` shares, of which `threshold` unseal; 5 and 3 in the command line. */
  readonly shares?: { readonly count: number; readonly threshold: number }
  readonly unsealer?: Unsealer
}

export type BarrierState = 'sealed' | 'half-unsealed' | 'unsealed'

export interface BarrierStatus {
  readonly id: string
  readonly state: BarrierState
  /** Absent where people hold no shares. */
  readonly shares?: {
    readonly set: string
    readonly count: number
    readonly threshold: number
    /** Given so far, towards unsealing. */
    readonly given: number
  }
  /** Id of the unsealer, where there is one. */
  readonly unsealer?: string
  /** The set of shares that waits for its confirmation. */
  readonly rekeying?: { readonly set: string; readonly count: number; readonly threshold: number }
}

/** One data key, for the register of keys. */
export interface KeyTerm {
  readonly term: number
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  /** Encryptions written down as spent. */
  readonly spent: number
  /** Whether new ciphertexts use it. */
  readonly active: boolean
}

/**
 * Encrypts what is stored elsewhere. Keys: data key ← root key ← shares or unsealer. Each ciphertext is bound to the path and version it was
 * made for, to the key term and to this barrier.
 */
export interface Barrier {
  readonly id: string
  status(): BarrierStatus
  /**
   * AES-256-GCM under the newest data key.
   *
   * @param path what it belongs to, e.g. `secret/openai`: any text, compared letter by letter
   * @param version whole number from 0
   * @throws SallyportError `SP_SEAL_SEALED`, `SP_SEAL_PATH`, `SP_SEAL_STORAGE`
   */
  encrypt(path: string, version: number, plaintext: Uint8Array): Promise<Buffer>
  /**
   * @throws SallyportError `SP_SEAL_SEALED`, `SP_SEAL_PATH`, `SP_SEAL_INVALID` (altered, or of another path, version or barrier),
   *   `SP_SEAL_UNKNOWN_KEY`
   */
  decrypt(path: string, version: number, ciphertext: Uint8Array): Promise<Buffer>
  /** Takes over what another process wrote, e.g. the key that it rotated to. */
  refresh(): Promise<void>
  /** Whether an older data key made it: encrypt it again to move it to the newest. @throws SallyportError `SP_SEAL_SEALED`, `SP_SEAL_INVALID` */
  isStale(ciphertext: Uint8Array): boolean
  /** @throws SallyportError `SP_SEAL_SEALED` */
  terms(): readonly KeyTerm[]
  /**
   * Takes one share towards unsealing; the one that reaches the threshold unseals. The same share twice counts once.
   *
   * @throws SallyportError `SP_SEAL_SHARE`, `SP_SEAL_UNSEALED`, `SP_SEAL_CORRUPT`, `SP_SEAL_STORAGE`
   */
  unsealWithShare(share: string): Promise<BarrierStatus>
  /** @throws SallyportError `SP_SEAL_UNSEALER`, `SP_SEAL_UNSEALED`, `SP_SEAL_CORRUPT`, `SP_SEAL_STORAGE`, and the unsealer's own */
  unsealWith(unsealer: Unsealer): Promise<BarrierStatus>
  /** Forgets the keys, and the shares given so far. */
  seal(): void
  /**
   * New data key for what is encrypted from now on; older ciphertexts still open. Returns its term.
   *
   * @throws SallyportError `SP_SEAL_SEALED`, `SP_SEAL_STORAGE`, `SP_SEAL_BUDGET` where there are too many already
   */
  rotate(): Promise<number>
  /**
   * New shares for the same root key. The old ones stay valid until `confirmRekey` has seen a threshold of the new ones, so that shares that
   * got lost on the way lock nobody out.
   *
   * @param authority a threshold of the present shares, where there are any
   * @throws SallyportError `SP_SEAL_SEALED`, `SP_SEAL_SHARE`, `SP_SEAL_SHARES`, `SP_SEAL_STORAGE`
   */
  beginRekey(
    shares: { readonly count: number; readonly threshold: number },
    authority: readonly string[],
  ): Promise<readonly string[]>
  /** @param shares a threshold of the new ones @throws SallyportError `SP_SEAL_SEALED`, `SP_SEAL_SHARE`, `SP_SEAL_NO_REKEY` */
  confirmRekey(shares: readonly string[]): Promise<void>
  /** @throws SallyportError `SP_SEAL_SEALED`, `SP_SEAL_NO_REKEY` */
  cancelRekey(): Promise<void>
  /**
   * Puts another unsealer, or none, in the place of the present one. It has to give the root key back before it counts.
   *
   * @param authority a threshold of the present shares, where there are any
   * @throws SallyportError `SP_SEAL_SEALED`, `SP_SEAL_SHARE`, `SP_SEAL_UNSEALER`, `SP_SEAL_SHARES` (neither shares nor unsealer would be left)
   */
  setUnsealer(unsealer: Unsealer | undefined, authority: readonly string[]): Promise<void>
}
