import { classOf, DIGIT, IDEOGRAPH, isWordClass, LOWER, UPPER, WIDE } from './characters.ts'
import type { GrowingText } from './growing.ts'
import type { Span } from './recognise/recogniser.ts'
import { WordTrie } from './word-trie.ts'
import type { Node, Word } from './word-trie.ts'
import { escape, fold, HASH_BITS, hashOf, hashOfCodes, signAt, wordsOf } from './words.ts'

export interface KnownOptions {
  readonly maxValues: number
  /** Of all values together, in UTF-16 code units. */
  readonly maxCharacters: number
}

/** Values that texts are looked through for. */
export interface KnownSource {
  /** Another one after each change of what is known. */
  readonly version: number
  /** @returns what looks through one text */
  scanner(): KnownScanner
  /** Whether a whole text holds no word that any value begins with. False says nothing. */
  lacks(text: string): boolean
}

/** Finds values in one growing text: at every place the longest. */
export interface KnownScanner {
  /** Everything before it is decided. */
  readonly decided: number
  /** The buffer lost its first characters. */
  shift(by: number): void
  advance(growing: GrowingText, spans: Span[]): void
}

/** Values that are shorter say too little: they would be found everywhere. Letters and digits. */
const MIN_LENGTH = 4
const MAX_VALUE = 2048
const MAX_WORD = 256
/** Signs that may stand between two words of any value; more where a value has more itself. */
const MAX_GAP = 6

const INSIDE = 1
const BEGINS = 2
const WORD = DIGIT | UPPER | LOWER

/** What scanners share. */
interface Shared<T> {
  readonly trie: WordTrie<T>
  /** By hash of a word: 0 where no value has it, `BEGINS` where one may begin with it. */
  readonly hashes: Uint8Array
  gap: number
}

/**
 * Values to be found again wherever they turn up: word by word, whatever the case, and whatever stands between the words. Made
 * for what one session has read: it grows as the session reads, and when it is full it says so for good.
 */
export class KnownValues<T = true> implements KnownSource {
  readonly #shared: Shared<T> = {
    trie: new WordTrie(),
    hashes: new Uint8Array(1 << HASH_BITS),
    gap: MAX_GAP,
  }
  readonly #options: KnownOptions
  #overflowed = false

  constructor(options: Partial<KnownOptions> = {}) {
    this.#options = { maxValues: 50_000, maxCharacters: 4_000_000, ...options }
  }

  /** How many there are; a value that programs write in several ways counts for each. */
  get size(): number {
    return this.#shared.trie.values
  }

  /** Something had no room: what is not found may be known all the same. */
  get overflowed(): boolean {
    return this.#overflowed
  }

  /** What noting and looking cost up to now, in words followed and links made. */
  get steps(): number {
    return this.#shared.trie.steps
  }

  /**
   * Remembers a value, or something more about one. One that is too short to be told from ordinary words is not remembered.
   *
   * @param about makes what is known of it out of what was
   * @returns false where there is no room for it
   */
  note(value: string, about: (before: T | undefined) => T): boolean {
    const written = writingsOf(value)
    if (!written) return true
    const { trie } = this.#shared
    const { maxValues, maxCharacters } = this.#options
    for (const words of written.words) {
      if (value.length > MAX_VALUE || words.some((word) => word.length > MAX_WORD)) {
        this.#overflowed = true
        return false
      }
      const room = trie.values < maxValues && trie.characters + value.length <= maxCharacters
      if (!room && !trie.has(words)) {
        this.#overflowed = true
        return false
      }
      const { hashes } = this.#shared
      for (const word of words) hashes[hashOfWord(word)] ||= INSIDE
      hashes[hashOfWord(words[0] ?? '')] = BEGINS
      trie.insert(words, about)
    }
    this.#shared.gap = Math.max(this.#shared.gap, written.gap)
    return true
  }

  /** Changes what is known of every value, and forgets those of which `about` leaves nothing; a stretch with each step. */
  forget(about: (before: T) => T | undefined): Generator<void> {
    return this.#shared.trie.change(about)
  }

  get version(): number {
    return this.#shared.trie.version
  }

  scanner(): KnownScanner {
    return this.where(() => true).scanner()
  }

  lacks(text: string): boolean {
    const { trie, hashes } = this.#shared
    return trie.values === 0 || lacksBeginnings(text, hashes)
  }

  /**
   * The same values as far as something holds of them. It is asked of each value that stands in a text, and again only after
   * more was noted or forgotten.
   */
  where(holds: (about: T) => boolean): KnownSource {
    return new Filtered(this, this.#shared, new Judge(this.#shared.trie, holds))
  }
}

class Filtered<T> implements KnownSource {
  readonly #all: KnownValues<T>
  readonly #shared: Shared<T>
  readonly #judge: Judge<T>

  constructor(all: KnownValues<T>, shared: Shared<T>, judge: Judge<T>) {
    this.#all = all
    this.#shared = shared
    this.#judge = judge
  }

  get version(): number {
    return this.#all.version
  }

  scanner(): KnownScanner {
    return new Scanner(this.#shared, this.#judge)
  }

  lacks(text: string): boolean {
    return this.#all.lacks(text)
  }
}

/** Of a text of ASCII without escapes; of any other, false. */
function lacksBeginnings(text: string, hashes: Uint8Array): boolean {
  const { length } = text
  for (let i = 0; i < length;) {
    const c = text.charCodeAt(i)
    if (c > 0x7f || c === 0x5c || c === 0x25) return false
    if (!isWordClass(classOf(c))) {
      i++
      continue
    }
    const start = i
    let wide = false
    for (i++; i < length; i++) {
      const next = text.charCodeAt(i)
      if (!isWordClass(classOf(next))) break
      wide ||= next > 0x7f
    }
    const second = i - start > 1 ? text.charCodeAt(start + 1) : 0
    const third = i - start > 2 ? text.charCodeAt(start + 2) : 0
    if (wide || hashes[hashOf(i - start, c, second, third)] === BEGINS) return false
  }
  return true
}

function hashOfWord(word: string): number {
  const at = (i: number): number => (i < word.length ? word.charCodeAt(i) : 0)
  return hashOf(word.length, at(0), at(1), at(2))
}

/** How a value may be written, as words, and the most signs between them; undefined for one that says too little. */
function writingsOf(value: string): { words: readonly string[][]; gap: number } | undefined {
  const { words, gap } = wordsOf(value, false)
  if (words.reduce((sum, word) => sum + word.length, 0) < MIN_LENGTH) return undefined
  const all = [words]
  // As a scanner reads it, to whom `\n` is a line feed.
  if (/[%\\]/.test(value)) all.push(wordsOf(value, true).words)
  const escaped = escape(value)
  if (escaped !== value) all.push(wordsOf(escaped, true).words)
  // Twice, for a text inside JSON has a backslash before each sign that is escaped.
  return { words: all.filter((one) => one.length > 0), gap: 2 * gap }
}

/** Which of the values that end in one place are wanted: each is asked about once. */
class Judge<T> {
  readonly #trie: WordTrie<T>
  readonly #holds: (about: T) => boolean
  /** Node → of how many words the longest value is that ends with its words and is wanted; 0 for none. */
  readonly #judged = new Map<Node<T>, number>()
  #version = -1

  constructor(trie: WordTrie<T>, holds: (about: T) => boolean) {
    this.#trie = trie
    this.#holds = holds
  }

  /** @returns how many words the longest one has; 0 for none */
  longest(node: Node<T>): number {
    const { value } = this.#trie.linked(node)
    if (node.about === undefined && value === undefined) return 0
    if (this.#version !== this.#trie.version) {
      this.#judged.clear()
      this.#version = this.#trie.version
    }
    let one = node.about === undefined ? value : node
    let found = one && this.#judged.get(one)
    if (found !== undefined) return found
    const unknown: Node<T>[] = []
    while (one && found === undefined) {
      unknown.push(one)
      one = this.#trie.linked(one).value
      found = one && this.#judged.get(one)
    }
    let words = found ?? 0
    for (const next of unknown.toReversed()) {
      this.#trie.steps++
      if (next.about !== undefined && this.#holds(next.about)) words = next.depth
      this.#judged.set(next, words)
    }
    return words
  }
}

class Scanner<T> implements KnownScanner {
  readonly #shared: Shared<T>
  readonly #judge: Judge<T>
  #at = 0
  /** How many signs came since the last word. */
  #signs = 0
  /** Inside a word that is too long to be any. */
  #tooLong = false
  /** The longest end of what was read that a value may begin with. */
  #node: Node<T>
  /** Where its words begin, after others that count no more. */
  #starts: number[] = []

  constructor(shared: Shared<T>, judge: Judge<T>) {
    this.#shared = shared
    this.#judge = judge
    this.#node = shared.trie.root
  }

  get decided(): number {
    return this.#node.depth === 0 ? this.#at : this.#startOf(this.#node.depth)
  }

  shift(by: number): void {
    this.#at -= by
    this.#starts = this.#starts
      .slice(-this.#node.depth || this.#starts.length)
      .map((one) => one - by)
  }

  advance(growing: GrowingText, spans: Span[]): void {
    const { codes, kinds, length, ended } = growing
    const { trie, hashes } = this.#shared
    if (trie.values === 0) {
      this.#at = length
      return
    }
    const { root } = trie
    const gap = Math.max(MAX_GAP, this.#shared.gap)
    let i = this.#at
    let signs = this.#signs
    for (;;) {
      if (this.#tooLong) {
        while (i < length && ((kinds[i] ?? 0) & WORD) !== 0) i++
        if (i >= length) break
        this.#tooLong = false
        signs = 0
      }
      let found = 0
      while (i < length) {
        found = (kinds[i] ?? 0) & (WORD | IDEOGRAPH)
        if (found !== 0) break
        const sign = codes[i]
        const size = sign === 0x5c || sign === 0x25 ? signAt(growing.text, i, ended) : 1
        if (size === 0) break
        signs++
        i += size
      }
      if (signs > gap) this.#node = root
      if (i >= length || found === 0) break
      let end = i
      if ((found & IDEOGRAPH) !== 0) {
        end++
        found = WIDE
      } else {
        const most = Math.min(length, i + MAX_WORD + 1)
        for (; end < most; end++) {
          const one = kinds[end] ?? 0
          if ((one & WORD) === 0) break
          found |= one
        }
        if (end - i > MAX_WORD) {
          this.#node = root
          this.#tooLong = true
          continue
        }
        if (end >= length && !ended) break
      }
      // Most words stand in no value.
      const wide = (found & WIDE) !== 0
      let may = BEGINS
      if (!wide) {
        const second = end - i > 1 ? (codes[i + 1] ?? 0) : 0
        const third = end - i > 2 ? (codes[i + 2] ?? 0) : 0
        may = hashes[hashOf(end - i, codes[i] ?? 0, second, third)] ?? 0
      }
      if (may === BEGINS || (may === INSIDE && this.#node !== root)) {
        const word = wide
          ? trie.word(fold(growing.text.slice(i, end)))
          : trie.wordAt(codes, i, end, hashOfCodes(codes, i, end))
        this.#word(word, i, end, spans)
      } else this.#node = root
      i = end
      signs = 0
    }
    this.#at = i
    this.#signs = signs
  }

  #word(word: Word<T> | undefined, start: number, end: number, spans: Span[]): void {
    this.#node = this.#shared.trie.follow(this.#node, word)
    if (this.#node.depth === 0) {
      this.#starts.length = 0
      return
    }
    this.#starts.push(start)
    // No more than twice as many as count.
    if (this.#starts.length > 2 * this.#node.depth + 16)
      this.#starts = this.#starts.slice(-this.#node.depth)
    const words = this.#judge.longest(this.#node)
    if (words > 0) spans.push({ start: this.#startOf(words), end, kind: 'RECORD' })
  }

  /** Where the last so many words begin. */
  #startOf(words: number): number {
    return this.#starts[this.#starts.length - words] ?? 0
  }
}
