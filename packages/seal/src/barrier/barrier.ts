import { createSecretKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { newId, SallyportError, systemClock } from '@sallyport/base'
import { decrypt, encrypt } from '../cipher.ts'
import { checkMac, decodeDocument, encodeDocument } from './document.ts'
import type { Document, SharesSeal, TermEntry } from './document.ts'
import { dataKeyOf, keysOf, newKeys, newTerm, noShares } from './keys.ts'
import {
  proven,
  rootFromShares,
  rootFromUnsealer,
  sealedByShares,
  sealedByUnsealer,
} from './keys.ts'
import type { Keys } from './keys.ts'
import { ShareBox } from './share-box.ts'
import type { Barrier, BarrierOptions, BarrierStatus, BarrierStorage } from './types.ts'
import type { KeyTerm, Protection, Unsealer } from './types.ts'

const MAX_USES = 2 ** 31
const LEASE_USES = 2 ** 16
const MAX_TERMS = 4096
const IV_BYTES = 12
/** Version of the ciphertext's form (1) · key term (4, big-endian) · IV (12) · ciphertext and tag. */
const HEAD_BYTES = 5
const FORM = 1
const MAX_PATH = 4096
/** How often a write is tried again where another process was faster. */
const MAX_TRIES = 100

/** A data key's uses that this process may spend. */
interface Lease {
  term: number
  left: number
}

type Change = (document: Document, keys: Keys) => Document | Promise<Document>

class TheBarrier implements Barrier {
  readonly #storage: BarrierStorage
  readonly #now: () => number
  readonly #maxUses: number
  readonly #leaseUses: number
  readonly #maxTerms: number
  #text: string
  #document: Document
  #keys: Keys | undefined
  readonly #box = new ShareBox()
  #lease: Lease = { term: 0, left: 0 }
  #providing: Promise<void> | undefined
  /** Every write, one after another. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: BarrierOptions, text: string, document: Document, keys?: Keys) {
    const { storage, clock = systemClock, maxTerms = MAX_TERMS } = options
    const { maxUses = MAX_USES, leaseUses = LEASE_USES } = options
    if (!(leaseUses >= 1 && leaseUses <= maxUses && maxUses < 2 ** 32)) {
      throw new SallyportError('SP_SEAL_BUDGET', 'a data key is used less than 2^32 times')
    }
    this.#storage = storage
    this.#now = () => clock.now()
    this.#maxUses = maxUses
    this.#leaseUses = leaseUses
    this.#maxTerms = maxTerms
    this.#text = text
    this.#document = document
    this.#keys = keys
  }

  get id(): string {
    return this.#document.id
  }

  status(): BarrierStatus {
    const { id, shares, unsealer, pending } = this.#document
    const given = this.#box.size
    return {
      id,
      state: this.#keys ? 'unsealed' : given > 0 ? 'half-unsealed' : 'sealed',
      ...(shares ? { shares: { ...sizes(shares), given } } : {}),
      ...(unsealer ? { unsealer: unsealer.id } : {}),
      ...(pending ? { rekeying: sizes(pending) } : {}),
    }
  }

  async encrypt(path: string, version: number, plaintext: Uint8Array): Promise<Buffer> {
    this.#opened()
    const aad = bound(this.id, path, version)
    for (;;) {
      const keys = this.#opened()
      if (this.#lease.left > 0) {
        // No await between the check and the encryption: concurrent calls cannot overdraw the lease.
        this.#lease.left--
        const { term } = this.#lease
        const { iv, ct } = encrypt(this.#dataKey(keys, term), plaintext, aad(term))
        const head = Buffer.alloc(HEAD_BYTES)
        head[0] = FORM
        head.writeUInt32BE(term, 1)
        return Buffer.concat([head, iv, ct])
      }
      this.#providing ??= this.#extend().finally(() => (this.#providing = undefined))
      await this.#providing
    }
  }

  async decrypt(path: string, version: number, ciphertext: Uint8Array): Promise<Buffer> {
    this.#opened()
    const aad = bound(this.id, path, version)
    const term = termOf(ciphertext)
    // Another process may have made the key.
    if (!this.#entry(term)) await this.#inTurn(() => this.#refresh())
    const key = this.#dataKey(this.#opened(), term)
    const bytes = Buffer.from(ciphertext.buffer, ciphertext.byteOffset, ciphertext.byteLength)
    const ivEnd = HEAD_BYTES + IV_BYTES
    try {
      return decrypt(key, bytes.subarray(HEAD_BYTES, ivEnd), bytes.subarray(ivEnd), aad(term))
    } catch (cause) {
      throw invalid(cause)
    }
  }

  async refresh(): Promise<void> {
    this.#opened()
    await this.#inTurn(() => this.#refresh())
  }

  isStale(ciphertext: Uint8Array): boolean {
    this.#opened()
    return termOf(ciphertext) < this.#newest().term
  }

  terms(): readonly KeyTerm[] {
    this.#opened()
    const active = this.#newest().term
    return this.#document.terms.map(({ term, createdAt, spent }) => {
      return { term, createdAt, spent, active: term === active }
    })
  }

  unsealWithShare(share: string): Promise<BarrierStatus> {
    return this.#inTurn(async () => {
      this.#mustBeSealed()
      await this.#refresh()
      const seal = this.#document.shares
      if (!seal) throw noShares()
      const ready = this.#box.add(share, seal, this.#document.pending)
      if (ready) {
        try {
          this.#open(await rootFromShares(ready, seal, this.id))
        } finally {
          this.#box.clear()
        }
      }
      return this.status()
    })
  }

  unsealWith(unsealer: Unsealer): Promise<BarrierStatus> {
    return this.#inTurn(async () => {
      this.#mustBeSealed()
      await this.#refresh()
      const seal = this.#document.unsealer
      if (seal?.id !== unsealer.id) throw foreignUnsealer(seal?.id, unsealer.id)
      this.#open(await rootFromUnsealer(unsealer, seal, this.id))
      this.#box.clear()
      return this.status()
    })
  }

  seal(): void {
    this.#keys = undefined
    this.#lease = { term: 0, left: 0 }
    this.#box.clear()
  }

  async rotate(): Promise<number> {
    const { terms } = await this.#change((document, keys) => {
      // What is made for want of uses is not bounded by this: nobody can ask for it so often.
      if (document.terms.length >= this.#maxTerms) {
        throw new SallyportError('SP_SEAL_BUDGET', 'the barrier has too many data keys already')
      }
      return this.#withNewTerm(document, keys)
    })
    this.#lease = { term: 0, left: 0 }
    return terms.length
  }

  async beginRekey(
    { count, threshold }: { readonly count: number; readonly threshold: number },
    authority: readonly string[],
  ): Promise<readonly string[]> {
    let shares: readonly string[] = []
    await this.#change(async (document, keys) => {
      await proven(authority, document)
      const made = await sealedByShares(keys.root, count, threshold, document.id)
      shares = made.shares
      return { ...document, pending: made.seal }
    })
    return shares
  }

  async confirmRekey(shares: readonly string[]): Promise<void> {
    await this.#change(async ({ pending, ...document }, keys) => {
      if (!pending) throw noRekey()
      const root = await rootFromShares(ShareBox.all(shares, pending), pending, document.id)
      const same = createSecretKey(root).equals(keys.root)
      root.fill(0)
      if (!same) throw new SallyportError('SP_SEAL_CORRUPT', 'the new shares open another root key')
      return { ...document, shares: pending }
    })
  }

  async cancelRekey(): Promise<void> {
    await this.#change(({ pending, ...document }) => {
      if (!pending) throw noRekey()
      return document
    })
  }

  async setUnsealer(unsealer: Unsealer | undefined, authority: readonly string[]): Promise<void> {
    await this.#change(async ({ unsealer: present, ...document }, keys) => {
      await proven(authority, document)
      if (unsealer) {
        return { ...document, unsealer: await sealedByUnsealer(keys.root, unsealer, document.id) }
      }
      if (present && !document.shares) throw noShares()
      return document
    })
  }

  /** Takes a lease of the newest key's uses, or makes the next key where its budget is spent. Durable before it counts. */
  async #extend(): Promise<void> {
    const leased = await this.#change((document, keys) => {
      const { spent } = newestOf(document)
      const next =
        spent + this.#leaseUses <= this.#maxUses ? document : this.#withNewTerm(document, keys)
      const newest = newestOf(next)
      const terms = [
        ...next.terms.slice(0, -1),
        { ...newest, spent: newest.spent + this.#leaseUses },
      ]
      return { ...next, terms }
    })
    this.#lease = { term: newestOf(leased).term, left: this.#leaseUses }
  }

  #withNewTerm(document: Document, keys: Keys): Document {
    const term = document.terms.length + 1
    return {
      ...document,
      terms: [...document.terms, newTerm(keys, document.id, term, this.#now())],
    }
  }

  /** Applies a change to the newest document, again where another process was faster. */
  #change(act: Change): Promise<Document> {
    return this.#inTurn(async () => {
      for (let tries = 0; tries < MAX_TRIES; tries++) {
        const changed = await act(this.#document, this.#opened())
        const next = { ...changed, revision: this.#document.revision + 1 }
        const text = encodeDocument(next, this.#opened().mac)
        if (await stored(() => this.#storage.replace(this.#text, text))) {
          this.#text = text
          this.#document = next
          return next
        }
        await this.#refresh()
      }
      throw new SallyportError('SP_SEAL_STORAGE', 'the barrier is being changed all the time')
    })
  }

  /** Takes over what another process wrote. @throws SallyportError `SP_SEAL_CORRUPT`, `SP_SEAL_STORAGE` */
  async #refresh(): Promise<void> {
    const text = await stored(() => this.#storage.read())
    if (text === this.#text) return
    const document = decodeDocument(text ?? '')
    if (this.#keys) checkMac(text ?? '', this.#keys.mac)
    if (document.id !== this.id || document.revision < this.#document.revision) {
      throw new SallyportError('SP_SEAL_CORRUPT', 'the barrier was put back to an older state', {
        detail: `revision ${document.revision} after ${this.#document.revision}`,
        fix: 'restart every control plane after a restored backup, then rotate the data key',
      })
    }
    this.#text = text ?? ''
    this.#document = document
    if (this.#newest().term !== this.#lease.term) this.#lease = { term: 0, left: 0 }
  }

  #open(root: Buffer): void {
    const keys = keysOf(root)
    checkMac(this.#text, keys.mac)
    this.#keys = keys
  }

  #opened(): Keys {
    if (this.#keys) return this.#keys
    const { shares } = this.#document
    const given = `${this.#box.size} of ${shares?.threshold} shares were given`
    throw new SallyportError('SP_SEAL_SEALED', 'the barrier is sealed', {
      detail: shares ? given : 'it has no shares',
      fix: 'unseal it with `sallyport unseal`',
    })
  }

  #mustBeSealed(): void {
    if (this.#keys) throw new SallyportError('SP_SEAL_UNSEALED', 'the barrier is unsealed already')
  }

  #newest(): TermEntry {
    return newestOf(this.#document)
  }

  #entry(term: number): TermEntry | undefined {
    return this.#document.terms[term - 1]
  }

  #dataKey(keys: Keys, term: number): KeyObject {
    const known = keys.data.get(term)
    if (known) return known
    const entry = this.#entry(term)
    if (!entry) {
      throw new SallyportError('SP_SEAL_UNKNOWN_KEY', 'this barrier has no key for this value')
    }
    const key = dataKeyOf(keys, this.id, entry)
    keys.data.set(term, key)
    return key
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(act)
    // The queue goes on; who asked gets the failure.
    this.#turn = done.catch(() => undefined)
    return done
  }
}

/**
 * Makes a barrier where there is none, unsealed. The shares are given out here, and nowhere again.
 *
 * @throws SallyportError `SP_SEAL_EXISTS`, `SP_SEAL_SHARES` (bad numbers, or neither shares nor unsealer), `SP_SEAL_STORAGE`
 */
export async function createBarrier(
  options: BarrierOptions & Protection,
): Promise<{ readonly barrier: Barrier; readonly shares: readonly string[] }> {
  if (!options.shares && !options.unsealer) throw noShares()
  const id = newId('b')
  const keys = newKeys()
  const { shares, unsealer, clock = systemClock } = options
  const byShares = shares && (await sealedByShares(keys.root, shares.count, shares.threshold, id))
  const byUnsealer = unsealer && (await sealedByUnsealer(keys.root, unsealer, id))
  const document: Document = {
    format: 'sallyport-barrier/1',
    id,
    revision: 1,
    terms: [newTerm(keys, id, 1, clock.now())],
    ...(byShares ? { shares: byShares.seal } : {}),
    ...(byUnsealer ? { unsealer: byUnsealer } : {}),
  }
  const text = encodeDocument(document, keys.mac)
  const barrier = new TheBarrier(options, text, document, keys)
  if (!(await stored(() => options.storage.replace(undefined, text)))) {
    throw new SallyportError('SP_SEAL_EXISTS', 'there is a barrier already', {
      fix: 'use another data directory or database; a barrier is never overwritten',
    })
  }
  return { barrier, shares: byShares?.shares ?? [] }
}

/**
 * Opens a barrier that was made before; it is sealed.
 *
 * @throws SallyportError `SP_SEAL_MISSING`, `SP_SEAL_CORRUPT`, `SP_SEAL_STORAGE`, `SP_SEAL_BUDGET`
 */
export async function openBarrier(options: BarrierOptions): Promise<Barrier> {
  const text = await stored(() => options.storage.read())
  if (text === undefined) {
    throw new SallyportError('SP_SEAL_MISSING', 'there is no barrier', {
      fix: 'make one with `sallyport init`, or name the right data directory',
    })
  }
  return new TheBarrier(options, text, decodeDocument(text))
}

/** What a ciphertext belongs to, as its associated data: JSON, so that no two triples have one text. */
function bound(id: string, path: string, version: number): (term: number) => string {
  if (path === '' || path.length > MAX_PATH || !Number.isSafeInteger(version) || version < 0) {
    throw new SallyportError('SP_SEAL_PATH', 'this path or version cannot be bound', {
      detail: `${path.length} letters, version ${version}`,
      fix: `give a path of 1 to ${MAX_PATH} letters and a whole version from 0`,
    })
  }
  return (term) => JSON.stringify(['sallyport-barrier/1 value', id, term, version, path])
}

function termOf(ciphertext: Uint8Array): number {
  const { buffer, byteOffset, byteLength } = ciphertext
  if (byteLength < HEAD_BYTES + IV_BYTES || ciphertext[0] !== FORM) throw invalid()
  return new DataView(buffer, byteOffset, byteLength).getUint32(1)
}

function newestOf({ terms }: Document): TermEntry {
  const newest = terms.at(-1)
  if (!newest) throw new SallyportError('SP_SEAL_CORRUPT', 'the barrier has no key')
  return newest
}

const sizes = ({ set, threshold, commitments }: SharesSeal) => ({
  set,
  count: commitments.length,
  threshold,
})

async function stored<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause
    throw new SallyportError('SP_SEAL_STORAGE', 'the barrier cannot be read or written', {
      cause,
      detail: cause instanceof Error ? cause.message : String(cause),
    })
  }
}

const invalid = (cause?: unknown): SallyportError =>
  new SallyportError('SP_SEAL_INVALID', 'the sealed value does not open here', { cause })

const noRekey = (): SallyportError =>
  new SallyportError('SP_SEAL_NO_REKEY', 'no new shares wait for confirmation')

const foreignUnsealer = (own: string | undefined, given: string): SallyportError =>
  new SallyportError('SP_SEAL_UNSEALER', 'the barrier was made for another unsealer', {
    detail: `it names \`${own ?? 'none'}\`, given was \`${given}\``,
    fix: 'name the key that the barrier was made with, or unseal with shares',
  })
