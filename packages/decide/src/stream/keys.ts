import { randomInt } from 'node:crypto'
import { SallyportError } from '@sallyport/base'

/** Names that one response may have, and their bytes together. */
const MAX_KEYS = 32_768
const MAX_BYTES = 4_194_304
const MAX_PROBES = 256
/** Of the hash, so that nobody can choose names that fall together. */
export const SEED: number = randomInt(2 ** 31)
export const FACTOR: number = randomInt(2 ** 30) * 2 + 1

/** Names of members, as bytes, numbered in the order in which they were first seen. */
export class KeyTable {
  #slots: Int32Array
  #hashes: Int32Array
  /** Where each name ends; the next begins there. */
  #ends: Int32Array
  #bytes: Uint8Array
  /** The name that last stood behind each, plus one. */
  #next: Int32Array
  #count = 0

  constructor(from?: KeyTable) {
    this.#slots = from ? from.#slots.slice() : new Int32Array(64)
    this.#hashes = from ? from.#hashes.slice() : new Int32Array(32)
    this.#ends = from ? from.#ends.slice() : new Int32Array(33)
    this.#bytes = from ? from.#bytes.slice() : new Uint8Array(512)
    this.#next = from ? from.#next.slice() : new Int32Array(32)
    this.#count = from ? from.#count : 0
  }

  /** The name that last stood behind this one, where it begins at `start` again; -1 otherwise. */
  follower(id: number, text: Uint8Array, start: number): number {
    const next = (this.#next[id] ?? 0) - 1
    if (next < 0) return -1
    const from = this.#ends[next] ?? 0
    const length = (this.#ends[next + 1] ?? 0) - from
    if (start + length >= text.length) return -1
    const bytes = this.#bytes
    for (let i = 0; i < length; i++) if (bytes[from + i] !== text[start + i]) return -1
    return next
  }

  follows(id: number, next: number): void {
    this.#next[id] = next + 1
  }

  /** As it was written; one that is not UTF-8 never came here. */
  nameOf(id: number): string {
    return Buffer.from(
      this.#bytes.subarray(this.#ends[id] ?? 0, this.#ends[id + 1] ?? 0),
    ).toString()
  }

  lengthOf(id: number): number {
    return (this.#ends[id + 1] ?? 0) - (this.#ends[id] ?? 0)
  }

  get size(): number {
    return this.#count
  }

  /** The number of a name. @throws SallyportError `SP_JSON_TOO_LARGE` */
  idOf(name: string): number {
    const bytes = Buffer.from(name)
    let hash = SEED
    for (const byte of bytes) hash = (Math.imul(hash, FACTOR) + byte) | 0
    return this.find(bytes, 0, bytes.length, hash)
  }

  /**
   * The number of the name that stands in `text` from `start` to `end`.
   *
   * @param hash of its bytes, by `SEED` and `FACTOR`
   * @throws SallyportError `SP_JSON_TOO_LARGE` for more names than are kept apart
   */
  find(text: Uint8Array, start: number, end: number, hash: number): number {
    const slots = this.#slots
    const wrap = slots.length - 1
    let at = spread(hash) & wrap
    for (let probes = 0; probes < MAX_PROBES; probes++) {
      // INVARIANT: `at` is below the number of slots, a power of two; half of them at least are empty.
      const id = (slots[at] ?? 0) - 1
      if (id < 0) return this.#add(text, start, end, hash, at)
      if (this.#hashes[id] === hash && this.#is(id, text, start, end)) return id
      at = (at + 1) & wrap
    }
    throw tooMany()
  }

  #is(id: number, text: Uint8Array, start: number, end: number): boolean {
    const from = this.#ends[id] ?? 0
    const length = (this.#ends[id + 1] ?? 0) - from
    if (length !== end - start) return false
    const bytes = this.#bytes
    for (let i = 0; i < length; i++) if (bytes[from + i] !== text[start + i]) return false
    return true
  }

  #add(text: Uint8Array, start: number, end: number, hash: number, at: number): number {
    const id = this.#count
    const from = this.#ends[id] ?? 0
    const to = from + (end - start)
    if (id >= MAX_KEYS || to > MAX_BYTES) throw tooMany()
    if (to > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(to, this.#bytes.length * 2))
      larger.set(this.#bytes)
      this.#bytes = larger
    }
    for (let i = start; i < end; i++) this.#bytes[from + i - start] = text[i] ?? 0
    this.#hashes[id] = hash
    this.#ends[id + 1] = to
    this.#slots[at] = id + 1
    this.#count++
    if (this.#count * 2 >= this.#slots.length) this.#grow()
    return id
  }

  #grow(): void {
    const size = this.#slots.length * 2
    const slots = new Int32Array(size)
    for (let id = 0; id < this.#count; id++) {
      const hash = this.#hashes[id] ?? 0
      let at = spread(hash) & (size - 1)
      while (slots[at] !== 0) at = (at + 1) & (size - 1)
      slots[at] = id + 1
    }
    this.#slots = slots
    this.#hashes = widened(this.#hashes, size / 2)
    this.#ends = widened(this.#ends, size / 2 + 1)
    this.#next = widened(this.#next, size / 2)
  }
}

/** Names that differ in their last letter alone would stand next to each other, and fill whole stretches. */
function spread(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b)
  return mixed ^ (mixed >>> 15)
}

function widened(array: Int32Array, length: number): Int32Array<ArrayBuffer> {
  const wide = new Int32Array(length)
  wide.set(array)
  return wide
}

const tooMany = (): SallyportError =>
  new SallyportError('SP_JSON_TOO_LARGE', 'the JSON text has too many different member names')
