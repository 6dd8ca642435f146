import type { GrowingText } from '../growing.ts'
import type { KnownScanner, KnownSource } from '../known.ts'
import type { Span } from '../recognise/recogniser.ts'
import { BETWEEN, isFigure, isGrouped, MAX_GAP, NUMBERS, numberOf, squeeze } from './characters.ts'
import { MIN_CORE } from './form.ts'

/** Something that stands in for a value in the same form. */
export interface Formed {
  /** What stands there: of a loose one letters and figures alone. */
  readonly core: string
  readonly loose: boolean
  /** Of the value, what is as long. */
  readonly value: string
}

const MORE = -1
const NONE = -2

const NO_COUNTS = new Uint32Array(0)

/** Stand-ins by their beginnings, to be found again in texts that come in pieces. */
export class FormIndex implements KnownSource {
  readonly #byCore = new Map<string, Formed>()
  readonly #byBeginning = new Map<number, Formed[]>()
  /** How many begin with these two letters or figures. */
  #pairs = NO_COUNTS
  /** With this one. */
  #firsts = NO_COUNTS
  version = 0

  /** What it takes beside the stand-ins, about. */
  get bytes(): number {
    return this.#pairs.byteLength + this.#firsts.byteLength
  }

  get size(): number {
    return this.#byCore.size
  }

  /** The one that a whole text is, whatever stands between its letters and figures where that makes no difference. */
  get(text: string): Formed | undefined {
    const one = this.#byCore.get(text)
    if (one !== undefined || this.#byCore.size === 0) return one
    const core = this.#byCore.get(squeeze(text))
    return core?.loose === true && isGrouped(text) ? core : undefined
  }

  add(one: Formed): void {
    if (this.#byCore.has(one.core)) return
    if (this.#pairs === NO_COUNTS) {
      // Most sessions have none of them. A scanner that began before finds none of what was not yet there.
      this.#pairs = new Uint32Array(NUMBERS * NUMBERS)
      this.#firsts = new Uint32Array(NUMBERS)
    }
    this.#byCore.set(one.core, one)
    const { first, pair, beginning } = beginningOf(one.core)
    this.#firsts[first] = (this.#firsts[first] ?? 0) + 1
    this.#pairs[pair] = (this.#pairs[pair] ?? 0) + 1
    const others = this.#byBeginning.get(beginning)
    if (others) others.push(one)
    else this.#byBeginning.set(beginning, [one])
    this.version++
  }

  delete(one: Formed): void {
    if (!this.#byCore.delete(one.core)) return
    const { first, pair, beginning } = beginningOf(one.core)
    this.#firsts[first] = (this.#firsts[first] ?? 1) - 1
    this.#pairs[pair] = (this.#pairs[pair] ?? 1) - 1
    const left = (this.#byBeginning.get(beginning) ?? []).filter((other) => other !== one)
    if (left.length > 0) this.#byBeginning.set(beginning, left)
    else this.#byBeginning.delete(beginning)
    this.version++
  }

  scanner(): FormScanner {
    return new FormScanner(this.#firsts, this.#pairs, this.#byBeginning)
  }

  /** Each has a figure or an `@`, or is one long word. */
  lacks(text: string): boolean {
    return this.#byCore.size === 0 || !/[0-9@]|[0-9A-Za-z.]{16}/.test(text)
  }
}

const stir = (hash: number, c: number): number => Math.imul(hash ^ c, 0x9e3779b1)

/** Of a core, as `FormScanner` reads it in a text. */
function beginningOf(core: string): { first: number; pair: number; beginning: number } {
  const text = squeeze(core).slice(0, MIN_CORE)
  let beginning = 0
  for (let i = 0; i < text.length; i++) beginning = stir(beginning, text.charCodeAt(i))
  const first = numberOf(text.charCodeAt(0))
  return { first, pair: first * NUMBERS + numberOf(text.charCodeAt(1)), beginning }
}

/** Finds stand-ins, first to last; what is found depends on the text alone, never on the pieces that it came in. */
export class FormScanner implements KnownScanner {
  readonly #firsts: Uint32Array
  readonly #pairs: Uint32Array
  readonly #byBeginning: ReadonlyMap<number, readonly Formed[]>
  #at = 0
  /** Where the last one ended that was found: another may follow it without anything between. */
  #last = -1

  constructor(
    firsts: Uint32Array,
    pairs: Uint32Array,
    byBeginning: ReadonlyMap<number, readonly Formed[]>,
  ) {
    this.#firsts = firsts
    this.#pairs = pairs
    this.#byBeginning = byBeginning
  }

  get decided(): number {
    return this.#at
  }

  shift(by: number): void {
    this.#at -= by
    this.#last -= by
  }

  advance(growing: GrowingText, spans: Span[]): void {
    const { codes, length } = growing
    let at = this.#at
    while (at < length) {
      const c = codes[at] ?? 0
      const first = numberOf(c)
      // A word begins where none goes on; a figure, after a letter too.
      const before = at > 0 ? (codes[at - 1] ?? 0) : 0
      const goesOn = isFigure(c) ? isFigure(before) : numberOf(before) !== 0
      if (
        first === 0 ||
        !this.#firsts[first] ||
        (goesOn && at !== this.#last && !isEscaped(codes, at))
      ) {
        at++
        continue
      }
      const end = this.#endAt(growing, at, first)
      if (end === MORE) break
      if (end !== NONE) {
        spans.push({ start: at, end, kind: 'RECORD' })
        this.#last = end
      }
      at = end === NONE ? at + 1 : end
    }
    this.#at = at
  }

  /** Where the one ends that begins at a place, the longest of several; `NONE`, or `MORE` where a later piece tells. */
  #endAt(growing: GrowingText, at: number, first: number): number {
    const { codes, length, ended } = growing
    const none = ended ? NONE : MORE
    let next = follow(codes, at + 1, length)
    if (next < 0) return next === MORE ? none : NONE
    if (!this.#pairs[first * NUMBERS + numberOf(codes[next] ?? 0)]) return NONE
    let hash = stir(stir(0, codes[at] ?? 0), codes[next] ?? 0)
    for (let count = 2; count < MIN_CORE; count++) {
      next = follow(codes, next + 1, length)
      if (next < 0) return next === MORE ? none : NONE
      hash = stir(hash, codes[next] ?? 0)
    }
    let longest = NONE
    for (const one of this.#byBeginning.get(hash) ?? []) {
      const end = one.loose
        ? looseEnd(one.core, codes, at, length)
        : exactEnd(one.core, codes, at, length)
      if (end === NONE) continue
      if (end === MORE || end >= length) {
        // What comes next may be a figure more.
        if (!ended) return MORE
        if (end === MORE) continue
      } else if (isFigure(codes[end]) && isFigure(codes[end - 1])) continue
      longest = Math.max(longest, end)
    }
    return longest
  }
}

/** Where the next letter or figure stands: `NONE` where it is too far away, `MORE` where the text has no more. */
function follow(codes: Uint16Array, from: number, length: number): number {
  const most = from + MAX_GAP
  for (let i = from; i <= most; i++) {
    if (i >= length) return MORE
    if (numberOf(codes[i] ?? 0) !== 0) return i
  }
  return NONE
}

function exactEnd(core: string, codes: Uint16Array, at: number, length: number): number {
  for (let i = 0; i < core.length; i++) {
    if (at + i >= length) return MORE
    if (codes[at + i] !== core.charCodeAt(i)) return NONE
  }
  return at + core.length
}

function looseEnd(core: string, codes: Uint16Array, at: number, length: number): number {
  let place = at
  for (let i = 0; i < core.length; i++) {
    if (i > 0) {
      for (let signs = 0; place < length && BETWEEN.has(codes[place] ?? 0); place++) {
        if (++signs > MAX_GAP) return NONE
      }
    }
    if (place >= length) return MORE
    if (codes[place] !== core.charCodeAt(i)) return NONE
    place++
  }
  return place
}

/** Whether the letter or figure before a place belongs to an escape: `\n`, `\u00e9`, `%20`. */
const isEscaped = (codes: Uint16Array, at: number): boolean =>
  codes[at - 2] === 0x5c ||
  codes[at - 3] === 0x25 ||
  (codes[at - 6] === 0x5c && codes[at - 5] === 0x75)

/** How much before a place the scanner looks at. */
export const LOOKS_BACK = 6
