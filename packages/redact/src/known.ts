import { classOf, IDEOGRAPH, isWordClass } from './characters.ts'
import type { Span } from './recognise/recogniser.ts'
import type { Growing } from './segments.ts'

export interface KnownOptions {
  readonly maxValues: number
  /** Of all values together, in UTF-16 code units. */
  readonly maxCharacters: number
}

interface Node<T> {
  children: Map<string, Node<T>> | undefined
  /** Of the value that ends here, where one does. */
  about: T | undefined
}

/** Values that texts are looked through for. */
export interface KnownSource {
  /** @returns what looks through one text */
  scanner(): KnownScanner
}

/** Finds values in one growing text: at every place the longest. */
export interface KnownScanner {
  /** Everything before it is decided. */
  readonly decided: number
  /** The buffer lost its first characters. */
  shift(by: number): void
  advance(growing: Growing, spans: Span[]): void
}

/** Values that are shorter say too little: they would be found everywhere. Letters and digits. */
const MIN_LENGTH = 4
const MAX_VALUE = 2048
const MAX_WORD = 256
/** Signs that may stand between two words of any value; more where a value has more itself. */
const MAX_GAP = 6

/**
 * Values to be found again wherever they turn up: word by word, whatever the case, and whatever stands between the words. Made
 * for what one session has read: it grows as the session reads, and when it is full it says so for good.
 */
export class KnownValues<T = true> implements KnownSource {
  readonly #root: Node<T> = { children: undefined, about: undefined }
  /** By hash of a word: whether a value may begin with it. */
  readonly #begins: Uint8Array = new Uint8Array(1 << HASH_BITS)
  readonly #options: KnownOptions
  readonly #seen = new Set<string>()
  #gap = MAX_GAP
  #characters = 0
  #overflowed = false

  constructor(options: Partial<KnownOptions> = {}) {
    this.#options = { maxValues: 50_000, maxCharacters: 4_000_000, ...options }
  }

  get size(): number {
    return this.#seen.size
  }

  /** Something had no room: what is not found may be known all the same. */
  get overflowed(): boolean {
    return this.#overflowed
  }

  /**
   * Remembers a value, or something more about one. One that is too short to be told from ordinary words is not remembered.
   *
   * @param about makes what is known of it out of what was
   * @returns false where there is no room for it
   */
  note(value: string, about: (before: T | undefined) => T): boolean {
    const { words, gap } = wordsOf(value, false)
    if (words.reduce((sum, word) => sum + word.length, 0) < MIN_LENGTH) return true
    if (!this.#seen.has(value)) {
      const { maxValues, maxCharacters } = this.#options
      const room = this.#seen.size < maxValues && this.#characters + value.length <= maxCharacters
      if (!room || value.length > MAX_VALUE || words.some((word) => word.length > MAX_WORD)) {
        this.#overflowed = true
        return false
      }
      this.#seen.add(value)
      this.#characters += value.length
    }
    // Twice, for a text inside JSON has a backslash before each sign that is escaped.
    this.#gap = Math.max(this.#gap, 2 * gap)
    this.#insert(words, about)
    // As a scanner reads it, to whom `\n` is a line feed.
    if (/[%\\]/.test(value)) this.#insert(wordsOf(value, true).words, about)
    const escaped = escape(value)
    if (escaped !== value) this.#insert(wordsOf(escaped, true).words, about)
    return true
  }

  scanner(): KnownScanner {
    return this.where(() => true).scanner()
  }

  /** The same values as far as something holds of them, and as it holds when a text is looked through. */
  where(holds: (about: T) => boolean): KnownSource {
    const [root, begins] = [this.#root, this.#begins]
    const empty = (): boolean => this.#seen.size === 0
    const gap = (): number => this.#gap
    return { scanner: () => new Scanner(root, begins, empty, gap, holds) }
  }

  #insert(words: readonly string[], about: (before: T | undefined) => T): void {
    if (words.length === 0) return
    let node = this.#root
    this.#begins[hashOf(words[0] ?? '')] = 1
    for (const word of words) {
      node.children ??= new Map()
      let next = node.children.get(word)
      if (!next) node.children.set(word, (next = { children: undefined, about: undefined }))
      node = next
    }
    node.about = about(node.about)
  }
}

/** As programs write it that keep JSON to ASCII. */
const escape = (value: string): string =>
  // oxlint-disable-next-line no-control-regex -- everything beyond ASCII
  value.replaceAll(/[^\x00-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** Percent-encoded, and no letter or digit. */
const SIGN = /^%(?:[2][0-9a-f]|3[a-f]|40|5[b-f]|60|7[b-f])$/i
/** The same as programs write it that escape more than JSON wants: `\u0027`, `\u0026`. */
const ESCAPED = /^\\u00(?:[012][0-9a-f]|3[a-f]|40|5[b-f]|60|7[b-f])$/i

/** How many characters the sign at a place has; 0 where a later piece tells. */
function signAt(text: string, at: number, ended: boolean): number {
  const c = text.charCodeAt(at)
  const left = text.length - at
  if (c === 0x5c) {
    if (left < 2) return ended ? 1 : 0
    const next = text.charAt(at + 1)
    if ('ntrbf'.includes(next)) return 2
    if (next !== 'u') return 1
    if (left < 6 && !ended) return 0
    return ESCAPED.test(text.slice(at, at + 6)) ? 6 : 1
  }
  // In an address `%20` is a blank.
  if (c !== 0x25) return 1
  if (left < 3 && !ended) return 0
  return SIGN.test(text.slice(at, at + 3)) ? 3 : 1
}

const HASH_BITS = 16
/** Of a folded word, and of the same word as it stands in a text: a letter's case makes no difference. */
function hashOf(word: string): number {
  let hash = 0
  for (let i = 0; i < word.length; i++)
    hash = (Math.imul(hash, 31) + lowered(word.charCodeAt(i))) | 0
  return (hash ^ (hash >>> HASH_BITS)) & ((1 << HASH_BITS) - 1)
}

/** Of ASCII only: other words are looked up without a hash. */
const lowered = (c: number): number => (c >= 65 && c <= 90 ? c | 0x20 : c)

/** A value that is being read. */
interface Candidate<T> {
  node: Node<T>
  readonly start: number
  /** End of the longest value that began there; -1 for none. */
  end: number
}

class Scanner<T> implements KnownScanner {
  readonly #root: Node<T>
  readonly #begins: Uint8Array
  readonly #empty: () => boolean
  readonly #gap: () => number
  readonly #holds: (about: T) => boolean
  #at = 0
  /** How many signs came since the last word. */
  #signs = 0
  /** Inside a word that is too long to be any. */
  #tooLong = false
  #candidates: Candidate<T>[] = []

  constructor(
    root: Node<T>,
    begins: Uint8Array,
    empty: () => boolean,
    gap: () => number,
    holds: (about: T) => boolean,
  ) {
    this.#root = root
    this.#begins = begins
    this.#empty = empty
    this.#gap = gap
    this.#holds = holds
  }

  get decided(): number {
    return this.#candidates[0]?.start ?? this.#at
  }

  shift(by: number): void {
    this.#at -= by
    this.#candidates = this.#candidates.map((one) => ({
      ...one,
      start: one.start - by,
      end: one.end < 0 ? -1 : one.end - by,
    }))
  }

  advance({ text, ended }: Growing, spans: Span[]): void {
    if (this.#empty()) {
      this.#at = text.length
      return
    }
    for (;;) {
      let i = this.#at
      let found = 0
      if (this.#tooLong) {
        while (i < text.length && isWordClass(classOf(text.charCodeAt(i)))) i++
        this.#at = i
        if (i >= text.length) break
        this.#tooLong = false
        this.#signs = 0
      }
      let signs = this.#signs
      while (i < text.length) {
        const sign = text.charCodeAt(i)
        found = classOf(sign)
        if (isWordClass(found) || found === IDEOGRAPH) break
        const length = sign === 0x5c || sign === 0x25 ? signAt(text, i, ended) : 1
        if (length === 0) break
        signs++
        i += length
      }
      this.#signs = signs
      if (signs > MAX_GAP && signs > this.#gap()) this.#settle(spans)
      this.#at = i
      if (i >= text.length || !(isWordClass(found) || found === IDEOGRAPH)) break
      let end = i + 1
      let c = text.charCodeAt(i)
      let hash = lowered(c)
      let wide = c
      if (found !== IDEOGRAPH) {
        while (end < text.length && isWordClass(classOf((c = text.charCodeAt(end))))) {
          hash = (Math.imul(hash, 31) + lowered(c)) | 0
          wide |= c
          end++
        }
        if (end - i > MAX_WORD) {
          this.#settle(spans)
          this.#tooLong = true
          continue
        }
        if (end >= text.length && !ended) break
      }
      // Most words begin no value and continue none.
      if (
        this.#candidates.length > 0 ||
        wide > 0x7f ||
        this.#begins[(hash ^ (hash >>> HASH_BITS)) & ((1 << HASH_BITS) - 1)] === 1
      ) {
        this.#word(fold(text.slice(i, end)), i, end, spans)
      }
      this.#at = end
      this.#signs = 0
    }
    if (ended) this.#settle(spans)
  }

  #word(word: string, start: number, end: number, spans: Span[]): void {
    let kept = 0
    for (const candidate of this.#candidates) {
      const next = candidate.node.children?.get(word)
      if (next) {
        candidate.node = next
        if (this.#ends(next)) candidate.end = end
        this.#candidates[kept++] = candidate
      } else if (candidate.end >= 0)
        spans.push({ start: candidate.start, end: candidate.end, kind: 'RECORD' })
    }
    this.#candidates.length = kept
    const first = this.#root.children?.get(word)
    if (!first) return
    this.#candidates.push({ node: first, start, end: this.#ends(first) ? end : -1 })
  }

  #ends({ about }: Node<T>): boolean {
    return about !== undefined && this.#holds(about)
  }

  #settle(spans: Span[]): void {
    for (const { start, end } of this.#candidates) {
      if (end >= 0) spans.push({ start, end, kind: 'RECORD' })
    }
    this.#candidates.length = 0
  }
}

const fold = (word: string): string => {
  const lower = word.toLowerCase()
  return /^[\0-\x7f]*$/.test(lower) ? lower : lower.normalize('NFC')
}

/**
 * The words of a value, and the most signs between two of them.
 *
 * @param escapes whether a backslash or a `%` may be the beginning of an escape, as in a text that is looked through
 */
function wordsOf(value: string, escapes: boolean): { words: string[]; gap: number } {
  const words: string[] = []
  let gap = 0
  let signs = 0
  for (let i = 0; i < value.length;) {
    const found = classOf(value.charCodeAt(i))
    if (found !== IDEOGRAPH && !isWordClass(found)) {
      i += escapes ? signAt(value, i, true) : 1
      signs++
      continue
    }
    let end = i + 1
    if (found !== IDEOGRAPH) {
      while (end < value.length && isWordClass(classOf(value.charCodeAt(end)))) end++
    }
    if (words.length > 0) gap = Math.max(gap, signs)
    words.push(fold(value.slice(i, end)))
    signs = 0
    i = end
  }
  return { words, gap }
}
