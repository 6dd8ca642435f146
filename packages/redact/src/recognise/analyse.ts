import { AT, COLON, isEscape } from '../characters.ts'
import type { GrowingText } from '../growing.ts'
import { month } from './dates.ts'
import { emails, ipv6, MARKED, urls } from './marked.ts'
import type { MarkedId } from './marked.ts'
import { names } from './names.ts'
import { Dispatch } from './recogniser.ts'
import type { Group, Place, Span, Trial } from './recogniser.ts'
import { RECOGNISERS } from './recognisers.ts'
import { isCalledSecret } from './secrets.ts'

/** What to look for. Exactly one of both. */
export type Wanted =
  | { readonly groups: readonly Group[] }
  /** One recogniser by itself, without the words that a weak one waits for: to test it by. */
  | { readonly only: string }

/** How far back a word may stand that tells what a number is. */
const CONTEXT = 64

/** A stretch of a text that is looked at whole. */
export interface Stretch {
  readonly growing: GrowingText
  /** From where on what comes before it may tell what it is. */
  readonly from: number
  readonly start: number
  readonly end: number
  /** Bits of the marks in it: `AT`, `COLON`, a `DOT` inside a word. */
  readonly marks: number
  /** Whether it holds a digit, a mark or a long word: without, it can hold nothing but names and months. */
  readonly promising: boolean
}

/** The fewest characters without a blank that any recogniser asks for. */
const MIN_TOKEN = Math.min(...RECOGNISERS.map(({ token = Number.POSITIVE_INFINITY }) => token))

const D = 0
const L = 1
const M = 2
const N = 3

/** Looks at one stretch of text, whole. */
export class Analyser {
  /** Whether it finds anything in a stretch that is not `promising`. */
  readonly plain: boolean
  readonly #names: boolean
  readonly #all: Dispatch
  /** Those of them that ask how many characters without a blank stand there. */
  readonly #tokens: Dispatch | undefined
  /** Those that find something where there is no digit, no mark and no long word. */
  readonly #plain: Dispatch | undefined
  readonly #marked: ReadonlySet<MarkedId>
  readonly #trying: Trying
  readonly #called: boolean

  constructor(wanted: Wanted) {
    const only = 'only' in wanted ? wanted.only : undefined
    const groups: readonly Group[] = 'groups' in wanted ? wanted.groups : []
    const recognisers = RECOGNISERS.filter(({ id, group }) =>
      only === undefined
        ? // Any day is a day of birth too.
          groups.includes(group) && !(id === 'date_of_birth' && groups.includes('dates'))
        : id === only || TOGETHER.get(id) === only,
    )
    this.#trying = new Trying(only !== undefined)
    this.#called = recognisers.some(({ id }) => id === 'labelled')
    const tokens = recognisers.filter(({ token }) => token !== undefined)
    this.#all = new Dispatch(recognisers.filter(({ token }) => token === undefined))
    this.#tokens = tokens.length > 0 ? new Dispatch(tokens) : undefined
    this.#plain = recognisers.includes(month) ? new Dispatch([month]) : undefined
    // The keys of a record of exactly these ids.
    const ids = Object.keys(MARKED) as MarkedId[]
    this.#marked = new Set(
      ids.filter((id) =>
        only === undefined
          ? groups.includes(MARKED[id].group)
          : id === only || TOGETHER.get(id) === only,
      ),
    )
    this.#names = only === undefined ? groups.includes('names') : only === 'names'
    this.plain = this.#names || this.#plain !== undefined
  }

  /** Whether what begins there is called a password, a key or the like by what stands before it, where that is looked for. */
  isCalledSecret(text: string, at: number): boolean {
    return this.#called && isCalledSecret(text, at)
  }

  analyse(stretch: Stretch, spans: Span[]): void {
    // Where names are looked for, they are who knows whether there can be a month.
    const months = !this.#names || names(stretch, spans)
    const recognisers = stretch.promising ? this.#all : months ? this.#plain : undefined
    if (recognisers) this.#dispatch(recognisers, stretch, spans)
    if (stretch.marks !== 0) this.#marks(stretch, spans)
  }

  #dispatch(recognisers: Dispatch, stretch: Stretch, spans: Span[]): void {
    const { start: begin, end: limit } = stretch
    const { codes } = stretch.growing
    const tokens = stretch.promising ? this.#tokens : undefined
    const trying = this.#trying
    trying.begin(stretch)
    let i = begin
    // The last characters without a blank, and the last figure in them.
    let tokenEnd = i
    let figure = i
    while (i < limit) {
      let c = codes[i] ?? 0
      if (c > 0x7f || words[c] === 0) {
        i++
        continue
      }
      const start = i
      const initial = c
      let digits = 0
      do {
        if (c <= 57) digits++
        c = ++i < limit ? (codes[i] ?? 0) : 0
      } while (c <= 0x7f && words[c] === 1)
      const length = i - start
      const second = i + 1 < limit ? (codes[i + 1] ?? 0) : 0
      const make = digits === length ? D : digits === 0 ? L : initial <= 57 ? N : M
      if (tokens !== undefined) {
        if (start >= tokenEnd) {
          figure = -1
          tokenEnd = start
          for (; tokenEnd < limit; tokenEnd++) {
            const one = codes[tokenEnd] ?? 0
            if (one <= 0x20 || one > 0x7e) break
            if (one >= 48 && one <= 57) figure = tokenEnd
          }
        }
        // Most words are in no token with a figure that is long enough for any.
        if (figure >= start && tokenEnd - start >= MIN_TOKEN) {
          for (const trial of tokens.at(make, length, initial, c, second)) {
            if (tokenEnd - start >= trial.token) trying.at(trial, start, i, spans)
          }
        }
      }
      const tried = recognisers.at(make, length, initial, c, second)
      // oxlint-disable-next-line typescript/prefer-for-of -- most lists are empty, and there is one for every word
      for (let k = 0; k < tried.length; k++) {
        const trial = tried[k]
        if (trial !== undefined) trying.at(trial, start, i, spans)
      }
    }
    trying.begin(undefined)
  }

  #marks(stretch: Stretch, spans: Span[]): void {
    const { from, marks } = stretch
    const begin = stretch.start - from
    const text = textOf(stretch)
    const found =
      (kind: Span['kind']) =>
      (start: number, end: number): void => {
        if (end > begin) spans.push({ start: Math.max(start, begin) + from, end: end + from, kind })
      }
    if (marks & AT && this.#marked.has('email')) emails(text, begin, found('EMAIL'))
    if (this.#marked.has('url')) urls(text, begin, found('URL'))
    if (marks & COLON && this.#marked.has('ipv6')) ipv6(text, begin, found('IP'))
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** Tries recognisers at words of one stretch. */
class Trying {
  readonly #withoutContext: boolean
  readonly #place: Mutable<Place> = { codes: new Uint16Array(0), start: 0, end: 0, limit: 0 }
  #stretch: Stretch | undefined
  #text: string | undefined
  #lower: string | undefined
  /** One number in many groups would be looked at once for each of them. */
  #dialled = 0

  constructor(withoutContext: boolean) {
    this.#withoutContext = withoutContext
  }

  /** @param stretch undefined to keep nothing of the one before */
  begin(stretch: Stretch | undefined): void {
    this.#stretch = stretch
    this.#text = this.#lower = undefined
    if (stretch === undefined) return
    this.#place.codes = stretch.growing.codes
    this.#place.limit = stretch.end
    this.#dialled = stretch.start
  }

  at(
    { pattern, quick, holds, context, kind }: Trial,
    start: number,
    end: number,
    spans: Span[],
  ): void {
    if (kind === 'PHONE' && start < this.#dialled) return
    const place = this.#place
    if (quick !== undefined) {
      place.start = start
      place.end = end
      if (!quick(place)) return
    }
    const stretch = this.#stretch
    if (stretch === undefined) return
    const { from } = stretch
    const text = (this.#text ??= textOf(stretch))
    const at = start - from
    pattern.lastIndex = at
    if (!pattern.test(text)) return
    let until = pattern.lastIndex
    if (holds !== undefined) {
      const held = holds(text.slice(at, until))
      if (held === false) return
      if (held !== true) until = at + held
    }
    if (context !== undefined && !this.#withoutContext) {
      const lower = (this.#lower ??= text.toLowerCase())
      if (!context.test(lower.slice(Math.max(0, at - CONTEXT), at))) return
    }
    let first = start
    if (kind === 'PHONE') {
      this.#dialled = until + from
      const { codes } = place
      // A `+` or a bracket before a telephone number belongs to it.
      while (first > stretch.start && (codes[first - 1] === 0x2b || codes[first - 1] === 0x28))
        first--
    }
    spans.push({ start: first, end: until + from, kind })
  }
}

/** Recognisers that are one for those who ask for one by itself. */
const TOGETHER: ReadonlyMap<string, string> = new Map([
  ['phone_plain', 'phone'],
  ['month', 'date'],
  ['ipv6', 'ip'],
])

/** What comes before a stretch, and the stretch. */
function textOf({ growing: { text, codes }, from, start, end }: Stretch): string {
  // The `n` of an escaped line feed is no letter before the word.
  if (start - from >= 2 && codes[start - 2] === 0x5c && isEscape(codes[start - 1] ?? 0)) {
    return `${text.slice(from, start - 1)} ${text.slice(start, end)}`
  }
  return text.slice(from, end)
}

/** A letter, a figure or `_` of ASCII. */
const words = new Uint8Array(128)
for (let c = 0; c < 128; c++) words[c] = /\w/.test(String.fromCharCode(c)) ? 1 : 0
