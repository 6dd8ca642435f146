import { AT, COLON, isEscape } from '../characters.ts'
import type { GrowingText } from '../growing.ts'
import { americas } from './americas.ts'
import { asia } from './asia.ts'
import { contact } from './contact.ts'
import { dates, month } from './dates.ts'
import { europe } from './europe.ts'
import { emails, ipv6, MARKED, urls } from './marked.ts'
import type { MarkedId } from './marked.ts'
import { names } from './names.ts'
import { payment } from './payment.ts'
import { Dispatch } from './recogniser.ts'
import type { Group, Place, Recogniser, Span } from './recogniser.ts'
import { secrets } from './secrets.ts'

const ALL: readonly Recogniser[] = [
  ...secrets,
  ...payment,
  ...contact,
  ...americas,
  ...europe,
  ...asia,
  ...dates,
  month,
]

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

const D = 0
const L = 1
const M = 2
const N = 3

/** Looks at one stretch of text, whole. */
export class Analyser {
  readonly names: boolean
  readonly #all: Dispatch
  /** Those that find something where there is no digit, no mark and no long word. */
  readonly #plain: Dispatch | undefined
  readonly #marked: ReadonlySet<MarkedId>
  readonly #withoutContext: boolean
  readonly #place: Mutable<Place> = { codes: new Uint16Array(0), start: 0, end: 0, limit: 0 }

  constructor(wanted: Wanted) {
    const only = 'only' in wanted ? wanted.only : undefined
    const groups: readonly Group[] = 'groups' in wanted ? wanted.groups : []
    this.#withoutContext = only !== undefined
    const recognisers = ALL.filter(({ id, group }) =>
      only === undefined
        ? // Any day is a day of birth too.
          groups.includes(group) && !(id === 'date_of_birth' && groups.includes('dates'))
        : id === only || TOGETHER.get(id) === only,
    )
    this.#all = new Dispatch(recognisers)
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
    this.names = only === undefined ? groups.includes('names') : only === 'names'
  }

  analyse(stretch: Stretch, spans: Span[]): void {
    const recognisers = stretch.promising ? this.#all : this.#plain
    if (recognisers) this.#dispatch(recognisers, stretch, spans)
    if (stretch.marks !== 0) this.#marks(stretch, spans)
    if (this.names) names(stretch, spans)
  }

  #dispatch(recognisers: Dispatch, stretch: Stretch, spans: Span[]): void {
    const { growing, from, end: limit } = stretch
    const { codes } = growing
    const place = this.#place
    place.codes = codes
    place.limit = limit
    let text: string | undefined
    let lower: string | undefined
    let i = stretch.start
    // One number in many groups would be looked at once for each of them.
    let dialled = i
    // The last characters without a blank, and the last figure in them.
    let tokenEnd = i
    let figure = i
    while (i < limit) {
      let c = codes[i] ?? 0
      if (!isWord(c)) {
        i++
        continue
      }
      const start = i
      const initial = c
      let digits = 0
      do {
        if (c <= 57) digits++
        c = ++i < limit ? (codes[i] ?? 0) : 0
      } while (isWord(c))
      const length = i - start
      const make = digits === length ? D : digits === 0 ? L : initial <= 57 ? N : M
      const tried = recognisers.at(make, length, initial, c)
      if (tried.length === 0) continue
      place.start = start
      place.end = i
      for (const recogniser of tried) {
        const { token, pattern, quick, holds, context, kind } = recogniser
        if (token !== undefined) {
          if (start >= tokenEnd) {
            figure = -1
            tokenEnd = start
            for (; tokenEnd < limit; tokenEnd++) {
              const one = codes[tokenEnd] ?? 0
              if (one <= 0x20 || one > 0x7e) break
              if (one >= 48 && one <= 57) figure = tokenEnd
            }
          }
          if (tokenEnd - start < token || figure < start) continue
        }
        if (kind === 'PHONE' && start < dialled) continue
        if (quick !== undefined && !quick(place)) continue
        text ??= textOf(stretch)
        pattern.lastIndex = start - from
        const match = pattern.exec(text)
        if (match === null) continue
        const held = holds === undefined || holds(match[0])
        if (held === false) continue
        if (context !== undefined && !this.#withoutContext) {
          lower ??= text.toLowerCase()
          const until = start - from
          if (!context.test(lower.slice(Math.max(0, until - CONTEXT), until))) continue
        }
        const end = start + (held === true ? match[0].length : held)
        let first = start
        if (kind === 'PHONE') {
          dialled = end
          // A `+` or a bracket before a telephone number belongs to it.
          while (first > stretch.start && (codes[first - 1] === 0x2b || codes[first - 1] === 0x28))
            first--
        }
        spans.push({ start: first, end, kind })
      }
    }
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

const words = new Uint8Array(128)
for (let c = 0; c < 128; c++) words[c] = /\w/.test(String.fromCharCode(c)) ? 1 : 0
/** A letter, a figure or `_` of ASCII. */
const isWord = (c: number): boolean => c < 128 && words[c] === 1
