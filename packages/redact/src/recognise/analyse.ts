import { americas } from './americas.ts'
import { asia } from './asia.ts'
import { contact } from './contact.ts'
import { dates, MONTH_ALONE } from './dates.ts'
import { europe } from './europe.ts'
import { emails, ipv6, MARKED, urls } from './marked.ts'
import type { MarkedId } from './marked.ts'
import { names } from './names.ts'
import { payment } from './payment.ts'
import { dispatchTable, WIDTH } from './recogniser.ts'
import type { Group, Recogniser, Span } from './recogniser.ts'
import { secrets } from './secrets.ts'

const ALL: readonly Recogniser[] = [
  ...secrets,
  ...payment,
  ...contact,
  ...americas,
  ...europe,
  ...asia,
  ...dates,
]

/** What to look for. Exactly one of both. */
export type Wanted =
  | { readonly groups: readonly Group[] }
  /** One recogniser by itself, without the words that a weak one waits for: to test it by. */
  | { readonly only: string }

/** How far back a word may stand that tells what a number is. */
const CONTEXT = 64

const D = 0
const L = 1
const M = 2
const N = 3

/** Looks at one stretch of text, whole. */
export class Analyser {
  readonly names: boolean
  readonly #table: readonly Recogniser[][]
  readonly #marked: ReadonlySet<MarkedId>
  readonly #withoutContext: boolean
  /** A month may stand alone. */
  readonly #dates: boolean

  constructor(wanted: Wanted) {
    const only = 'only' in wanted ? wanted.only : undefined
    const groups: readonly Group[] = 'groups' in wanted ? wanted.groups : []
    this.#withoutContext = only !== undefined
    this.#dates = only === undefined ? groups.includes('dates') : only === 'date'
    this.#table = dispatchTable(
      ALL.filter(({ id, group }) =>
        only === undefined
          ? groups.includes(group)
          : id === only || (only === 'phone' && id === 'phone_plain'),
      ),
    )
    // The keys of a record of exactly these ids.
    const ids = Object.keys(MARKED) as MarkedId[]
    this.#marked = new Set(
      ids.filter((id) =>
        only === undefined
          ? groups.includes(MARKED[id].group)
          : id === only || (only === 'ip' && id === 'ipv6'),
      ),
    )
    this.names = only === undefined ? groups.includes('names') : only === 'names'
  }

  /**
   * @param text what came before, up to `from`, then the stretch itself
   * @param marks whether it holds an `@`, a `:` or a dot inside a word
   * @param promising whether it holds a digit, a mark or a long word: without, it can hold nothing but names
   * @param offset added to what is found
   */
  analyse(
    text: string,
    from: number,
    marks: boolean,
    promising: boolean,
    offset: number,
    spans: Span[],
  ): void {
    if (promising) this.#dispatch(text, from, offset, spans)
    if (this.#dates) months(text, from, offset, spans)
    if (marks) this.#marks(text, from, offset, spans)
    if (this.names) names(text, from, offset, spans)
  }

  #dispatch(text: string, from: number, offset: number, spans: Span[]): void {
    let lower: string | undefined
    let i = from
    // One number in many groups would be looked at once for each of them.
    let dialled = from
    while (i < text.length) {
      let c = text.charCodeAt(i)
      if (!isWord(c)) {
        i++
        continue
      }
      const start = i
      let digits = 0
      const firstDigit = c >= 48 && c <= 57
      do {
        if (c >= 48 && c <= 57) digits++
        c = text.charCodeAt(++i)
      } while (isWord(c))
      const length = i - start
      const make = digits === length ? D : digits === 0 ? L : firstDigit ? N : M
      const tried = this.#table[make * WIDTH + (length < WIDTH ? length : WIDTH - 1)]
      if (tried === undefined) continue
      for (const recogniser of tried) {
        const { pattern, initials, holds, context, kind } = recogniser
        if (kind === 'PHONE' && start < dialled) continue
        if (make === L && initials !== undefined && !initials.includes(text.charAt(start))) continue
        pattern.lastIndex = start
        const match = pattern.exec(text)
        if (match === null) continue
        const held = holds === undefined || holds(match[0])
        if (held === false) continue
        if (context !== undefined && !this.#withoutContext) {
          lower ??= text.toLowerCase()
          if (!context.test(lower.slice(Math.max(0, start - CONTEXT), start))) continue
        }
        // A `+` or a bracket before a telephone number belongs to it.
        let first = start
        if (kind === 'PHONE') dialled = start + (held === true ? match[0].length : held)
        if (kind === 'PHONE')
          while (first > from && PREFIX.includes(text.charAt(first - 1))) first--
        const end = start + (held === true ? match[0].length : held)
        spans.push({ start: first + offset, end: end + offset, kind })
      }
    }
  }

  #marks(text: string, from: number, offset: number, spans: Span[]): void {
    const found =
      (kind: Span['kind']) =>
      (start: number, end: number): void => {
        if (end > from)
          spans.push({ start: Math.max(start, from) + offset, end: end + offset, kind })
      }
    if (this.#marked.has('email')) emails(text, from, found('EMAIL'))
    if (this.#marked.has('url')) urls(text, from, found('URL'))
    if (this.#marked.has('ipv6')) ipv6(text, from, found('IP'))
  }
}

function months(text: string, from: number, offset: number, spans: Span[]): void {
  MONTH_ALONE.lastIndex = from
  for (let match = MONTH_ALONE.exec(text); match; match = MONTH_ALONE.exec(text)) {
    const start = match.index + offset
    spans.push({ start, end: start + match[0].length, kind: 'DATE' })
  }
}

const PREFIX = '+('
const isWord = (c: number): boolean =>
  (c >= 97 && c <= 122) || (c >= 48 && c <= 57) || (c >= 65 && c <= 90) || c === 95
