import { createHmac, createSecretKey, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { decrypt, encrypt } from './cipher.ts'
import { Journal } from './journal.ts'
import type { Entry } from './journal.ts'

/** A ciphertext with the id of its key; base64url, the tag at the end of `ct`. */
export interface Sealed {
  readonly k: string
  readonly iv: string
  readonly ct: string
}

export interface KeyringOptions {
  /** Made (0700) where it does not exist; one process at a time. */
  readonly dir: string
  /** 32 secret bytes that wrap every data key (AES-256-GCM). */
  readonly kek: KeyObject
  readonly clock?: Clock
  /** Encryptions under one data key before the next one is made: below 2³², where random IVs begin to collide. */
  readonly maxUses?: number
  /** Uses that are written down as spent in advance, so that no restart forgets them. */
  readonly leaseUses?: number
}

interface DataKey {
  readonly k: string
  readonly iv: string
  readonly ct: string
  /** Unwrapped on first use. */
  key: KeyObject | undefined
  /** Uses that the file already counts as spent. */
  leased: number
  used: number
}

const MAX_USES = 2 ** 31
const LEASE_USES = 2 ** 16
const MAX_NAMES = 4096

/**
 * Envelope encryption with one random data key a subject, so that a subject's data can be erased by erasing the key.
 * Nothing on disk names a subject: key ids are HMACs under a naming key that is itself wrapped.
 */
export class Keyring {
  readonly #kek: KeyObject
  readonly #naming: KeyObject
  readonly #journal: Journal
  readonly #clock: Clock
  readonly #maxUses: number
  readonly #leaseUses: number
  readonly #keys = new Map<string, DataKey>()
  /** Subject name → the key that new ciphertexts use. */
  readonly #active = new Map<string, DataKey>()
  /** Subject name → what must be durable before its key is used. */
  readonly #pending = new Map<string, Promise<void>>()
  /** Subject → its name, of those seen lately. */
  readonly #names = new Map<string, string>()
  readonly #erased: Extract<Entry, { t: 'erased' }>[] = []
  readonly #erasedIds = new Set<string>()
  #batch: Entry[] = []
  #commit: Promise<void> | undefined
  /** Every write to the file, one after another. */
  #writes: Promise<void> = Promise.resolve()

  constructor(
    options: Required<Omit<KeyringOptions, 'dir'>>,
    journal: Journal,
    naming: KeyObject,
    entries: readonly Entry[],
  ) {
    this.#kek = options.kek
    this.#clock = options.clock
    this.#maxUses = options.maxUses
    this.#leaseUses = options.leaseUses
    this.#journal = journal
    this.#naming = naming
    for (const entry of entries) this.#load(entry)
  }

  /** True once a write failed: no key is made or erased any more until the process starts anew; those there are go on. */
  get failed(): boolean {
    return this.#journal.failed
  }

  /**
   * Encrypts under the subject's key (a text as UTF-8), which is made where there is none. The key is durable before the ciphertext is returned.
   *
   * @param aad what the ciphertext belongs to, record and path: it opens nowhere else
   * @throws SallyportError `SP_SEAL_STORAGE`
   */
  async seal(subject: string, plaintext: string | Uint8Array, aad: string): Promise<Sealed> {
    for (;;) {
      const sealed = this.sealNow(subject, plaintext, aad)
      if (sealed) return sealed
      const name = this.#nameOf(subject)
      await (this.#pending.get(name) ?? this.#provide(name, this.#active.get(name)))
    }
  }

  /** As `seal`, at once; undefined where a key, or a lease of one, has to be made durable first. */
  sealNow(subject: string, plaintext: string | Uint8Array, aad: string): Sealed | undefined {
    const name = this.#nameOf(subject)
    const active = this.#active.get(name)
    if (!active || active.used >= active.leased) return undefined
    // Nothing is awaited between the check and the encryption: concurrent seals cannot overdraw the lease.
    active.used++
    const { iv, ct } = encrypt(this.#unwrap(active), plaintext, bound(active.k, aad))
    // In the order of their names, which the canonical form has.
    return { ct: ct.toString('base64url'), iv: iv.toString('base64url'), k: active.k }
  }

  /**
   * Decrypts what `seal` made for the same `aad`.
   *
   * @throws SallyportError `SP_SEAL_ERASED`, `SP_SEAL_UNKNOWN_KEY`, `SP_SEAL_INVALID`
   */
  async open(sealed: Sealed, aad: string): Promise<Buffer> {
    return this.openNow(sealed, aad)
  }

  /** As `open`, at once: opening waits for nothing. */
  openNow(sealed: Sealed, aad: string): Buffer {
    // Keys stand in this map only once they are durable.
    const entry = this.#keys.get(sealed.k)
    if (!entry) {
      throw this.#erasedIds.has(sealed.k)
        ? new SallyportError('SP_SEAL_ERASED', 'the key of this value was erased')
        : new SallyportError('SP_SEAL_UNKNOWN_KEY', 'this keyring has no key for this value')
    }
    try {
      return decrypt(
        this.#unwrap(entry),
        Buffer.from(sealed.iv, 'base64url'),
        Buffer.from(sealed.ct, 'base64url'),
        bound(sealed.k, aad),
      )
    } catch (cause) {
      if (cause instanceof SallyportError) throw cause
      throw new SallyportError('SP_SEAL_INVALID', 'the sealed value does not open here', { cause })
    }
  }

  /**
   * Destroys every key of a subject: the file is rewritten without them, and only then is this true. What was sealed for the subject can
   * never be opened again; what is sealed for it later gets a new key.
   *
   * @returns false where the subject had no key
   * @throws SallyportError `SP_SEAL_STORAGE`: then nothing is promised, erase again after a restart
   */
  async erase(subject: string): Promise<boolean> {
    const name = this.#nameOf(subject)
    this.#names.delete(subject)
    await this.#pending.get(name)
    const doomed = [...this.#keys.keys()].filter((k) => nameIn(k) === name)
    if (doomed.length === 0) return false
    // Out of memory first: no seal or open may use them while the file is being rewritten.
    for (const k of doomed) {
      this.#keys.delete(k)
      this.#erasedIds.add(k)
    }
    this.#active.delete(name)
    this.#erased.push({ t: 'erased', ks: doomed, at: this.#clock.now() })
    await this.#write(() => this.#journal.rewrite(this.#entries()))
    return true
  }

  /** Resolves when everything asked for so far is durable. */
  async flush(): Promise<void> {
    await this.#commit
    await this.#writes
  }

  async close(): Promise<void> {
    await this.flush()
    await this.#journal.close()
  }

  #load(entry: Entry): void {
    if (entry.t === 'key') {
      const { k, iv, ct } = entry
      if (this.#keys.has(k))
        throw new SallyportError('SP_SEAL_CORRUPT', 'the keyring file has a key twice')
      const key: DataKey = {
        k,
        iv,
        ct,
        key: undefined,
        leased: this.#leaseUses,
        used: this.#leaseUses,
      }
      this.#keys.set(k, key)
      this.#active.set(nameIn(k), key)
    } else if (entry.t === 'lease') {
      const key = this.#keys.get(entry.k)
      if (!key) return
      key.leased += this.#leaseUses
      // Whatever an earlier process left unused of its leases is lost.
      key.used = key.leased
    } else if (entry.t === 'erased') {
      this.#erased.push(entry)
      for (const k of entry.ks) this.#erasedIds.add(k)
    }
  }

  /** Gives the subject a key with uses left: one more lease, or a new key where there is none or its budget is spent. */
  async #provide(name: string, active: DataKey | undefined): Promise<void> {
    const done = Promise.withResolvers<void>()
    // Waiters look at the outcome themselves; the one below reports a failure.
    done.promise.catch(() => undefined)
    this.#pending.set(name, done.promise)
    try {
      if (active && active.leased + this.#leaseUses <= this.#maxUses) {
        await this.#commitEntry({ t: 'lease', k: active.k })
        active.leased += this.#leaseUses
      } else {
        const made = this.#newKey(name)
        await this.#commitEntry({ t: 'key', k: made.k, iv: made.iv, ct: made.ct })
        this.#keys.set(made.k, made)
        this.#active.set(name, made)
      }
      done.resolve()
    } catch (error) {
      done.reject(error)
      throw error
    } finally {
      this.#pending.delete(name)
    }
  }

  #newKey(name: string): DataKey {
    const secret = randomBytes(32)
    // Random, so that a key id never returns, whatever a crash took back.
    const k = `${name}.${randomBytes(9).toString('base64url')}`
    const { iv, ct } = encrypt(this.#kek, secret, wrapping(k))
    const key = createSecretKey(secret)
    secret.fill(0)
    return {
      k,
      iv: iv.toString('base64url'),
      ct: ct.toString('base64url'),
      key,
      leased: this.#leaseUses,
      used: 0,
    }
  }

  /** Group commit: entries asked for while a write is under way share the next one. */
  #commitEntry(entry: Entry): Promise<void> {
    this.#batch.push(entry)
    this.#commit ??= this.#write(async () => {
      const batch = this.#batch
      this.#batch = []
      this.#commit = undefined
      await this.#journal.append(batch)
    })
    return this.#commit
  }

  #write(act: () => Promise<void>): Promise<void> {
    const written = this.#writes.then(act)
    // The queue goes on; who asked for the write gets the failure, and the journal stays failed.
    this.#writes = written.catch(() => undefined)
    return written
  }

  *#entries(): Generator<Entry> {
    yield wrapNaming(this.#kek, this.#naming)
    for (const { k, iv, ct, leased } of this.#keys.values()) {
      yield { t: 'key', k, iv, ct }
      for (let spent = this.#leaseUses; spent < leased; spent += this.#leaseUses) {
        yield { t: 'lease', k }
      }
    }
    yield* this.#erased
  }

  #unwrap(entry: DataKey): KeyObject {
    if (!entry.key) {
      const iv = Buffer.from(entry.iv, 'base64url')
      const ct = Buffer.from(entry.ct, 'base64url')
      const secret = decrypt(this.#kek, iv, ct, wrapping(entry.k))
      entry.key = createSecretKey(secret)
      secret.fill(0)
    }
    return entry.key
  }

  #nameOf(subject: string): string {
    let name = this.#names.get(subject)
    if (name !== undefined) return name
    const mac = createHmac('sha256', this.#naming).update(subject).digest()
    name = mac.subarray(0, 16).toString('base64url')
    if (this.#names.size >= MAX_NAMES) this.#names.clear()
    this.#names.set(subject, name)
    return name
  }
}

/** The part of a key id that stands for the subject; the rest tells its keys apart. */
const nameIn = (k: string): string => k.slice(0, k.indexOf('.'))
const bound = (k: string, aad: string): string => `sallyport-seal/1 value ${k} ${aad}`
const wrapping = (k: string): string => `sallyport-seal/1 key ${k}`
const NAMING = 'sallyport-seal/1 naming'

function wrapNaming(kek: KeyObject, naming: KeyObject): Entry {
  const { iv, ct } = encrypt(kek, naming.export(), NAMING)
  return { t: 'naming', iv: iv.toString('base64url'), ct: ct.toString('base64url') }
}

/**
 * Opens the keyring in `dir`, or makes it.
 *
 * @throws SallyportError `SP_SEAL_KEK` (wrong wrapping key), `SP_SEAL_CORRUPT`, `SP_SEAL_STORAGE`
 */
export async function openKeyring(options: KeyringOptions): Promise<Keyring> {
  const { dir, kek, clock = systemClock, maxUses = MAX_USES, leaseUses = LEASE_USES } = options
  if (kek.type !== 'secret' || kek.symmetricKeySize !== 32) {
    throw new SallyportError('SP_SEAL_KEK', 'the wrapping key has 32 secret bytes')
  }
  if (!(leaseUses >= 1 && leaseUses <= maxUses && maxUses < 2 ** 32)) {
    throw new SallyportError('SP_SEAL_BUDGET', 'a data key is used less than 2^32 times')
  }
  const { journal, entries } = await Journal.open(dir)
  try {
    const first = entries[0]
    if (first && first.t !== 'naming') {
      throw new SallyportError('SP_SEAL_CORRUPT', 'the keyring file lacks its beginning')
    }
    const naming = first ? unwrapNaming(kek, first) : createSecretKey(randomBytes(32))
    if (!first) await journal.append([wrapNaming(kek, naming)])
    return new Keyring({ kek, clock, maxUses, leaseUses }, journal, naming, entries)
  } catch (error) {
    await journal.close()
    throw error
  }
}

/** A keyring that another process owns: it opens values, and changes nothing. */
export type KeyringReader = Pick<Keyring, 'openNow' | 'close'>

/**
 * Opens the keyring in `dir` as it is on disk now, to read what was sealed: for auditors and replays, beside a gateway that runs.
 *
 * @throws SallyportError `SP_SEAL_KEK`, `SP_SEAL_CORRUPT`, `SP_SEAL_STORAGE` (there is none)
 */
export async function readKeyring(
  options: Pick<KeyringOptions, 'dir' | 'kek'>,
): Promise<KeyringReader> {
  const { dir, kek } = options
  let opened: Awaited<ReturnType<typeof Journal.openForReading>>
  try {
    opened = await Journal.openForReading(dir)
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause
    throw new SallyportError('SP_SEAL_STORAGE', 'the keyring cannot be read', {
      cause,
      detail: cause instanceof Error ? cause.message : String(cause),
      fix: 'name the data directory of the gateway that sealed the values',
    })
  }
  const { journal, entries } = opened
  try {
    const [first] = entries
    if (first?.t !== 'naming') {
      throw new SallyportError('SP_SEAL_CORRUPT', 'the keyring file lacks its beginning')
    }
    const lease = { maxUses: MAX_USES, leaseUses: LEASE_USES }
    const naming = unwrapNaming(kek, first)
    return new Keyring({ kek, clock: systemClock, ...lease }, journal, naming, entries)
  } catch (error) {
    await journal.close()
    throw error
  }
}

function unwrapNaming(kek: KeyObject, entry: Extract<Entry, { t: 'naming' }>): KeyObject {
  try {
    const { iv, ct } = entry
    return createSecretKey(
      decrypt(kek, Buffer.from(iv, 'base64url'), Buffer.from(ct, 'base64url'), NAMING),
    )
  } catch (cause) {
    throw new SallyportError('SP_SEAL_KEK', 'the keyring was made with another wrapping key', {
      cause,
    })
  }
}
