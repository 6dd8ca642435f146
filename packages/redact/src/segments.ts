import { SallyportError } from '@sallyport/base'
import { classOf, EQUALS, isEscape, isWordClass, LONG_WORD } from './characters.ts'
import { AT, COLON, DIGIT, DOT, IDEOGRAPH, LOWER, SEPARATOR, UPPER } from './characters.ts'
import type { GrowingText } from './growing.ts'
import type { Analyser } from './recognise/analyse.ts'
import { isDayOfMonth } from './recognise/dates.ts'
import { isMonthName } from './recognise/months.ts'
import type { Span } from './recognise/recogniser.ts'

/** Longest stretch that is looked at in one piece, in UTF-16 code units. No identifier is that long. */
const MAX_RUN = 2048
/** How many signs may follow one another in a password, of those that end other stretches; and how many may stand before it. */
const MAX_GLUE = 8
/** Of a word before a comma, as long as it may be part of a date. */
const LONGEST = 12
/** How much of a stretch that had to be cut is looked at again. */
const OVERLAP = 160
/** How much before a stretch may tell what it is. */
export const CONTEXT = 96
/** Longest private key, and longest place that others which overlap it become one with. */
export const MAX_FOUND = 32_768

/**
 * Cuts a text into stretches that may hold an identifier and ordinary words between them, and has each stretch analysed as
 * soon as no later character can change what is found in it. Where stretches begin and end depends on the text alone, never
 * on the pieces that it came in: so is what is found.
 */
export class Segmenter {
  readonly #analyser: Analyser
  /** Where the first word that is not yet looked at begins, or the blanks before it. */
  #at = 0
  /** The stretch that is open. */
  #start = -1
  #end = -1
  /** Where short words after the end of the stretch end that may belong to it. */
  #tail = -1
  /** Bits of the marks that it holds: `AT`, `COLON`, `DOT`. */
  #marks = 0
  /** Whether it holds anything that a recogniser could begin with: a digit, a mark, a long word. */
  #promising = false
  /** Short words, two at most, that may be the beginning of a stretch. */
  #short = -1
  #second = -1
  /** Whether the stretch is what somebody calls a password: signs that end another are part of it. */
  #called = false
  /** Where a word ended that may call what comes next so. */
  #calling = -1
  /** A PEM frame that is open. */
  #pem = -1
  #pemWords = 0
  #pemKey = false
  #pemEnd = false

  constructor(analyser: Analyser) {
    this.#analyser = analyser
  }

  /** Everything before it is decided. */
  get decided(): number {
    if (this.#pem >= 0) return this.#pem
    if (this.#start >= 0) return this.#start
    return this.#short >= 0 ? this.#short : this.#at
  }

  /** The buffer lost its first characters. */
  shift(by: number): void {
    this.#at -= by
    if (this.#start >= 0) this.#start -= by
    if (this.#end >= 0) this.#end -= by
    if (this.#tail >= 0) this.#tail -= by
    if (this.#short >= 0) this.#short -= by
    if (this.#second >= 0) this.#second -= by
    if (this.#calling >= 0) this.#calling = Math.max(-1, this.#calling - by)
    if (this.#pem >= 0) this.#pem -= by
  }

  /** Looks at what is complete. @throws SallyportError `SP_REDACT_ENDLESS` */
  advance(growing: GrowingText, spans: Span[]): void {
    const { codes, kinds, length, ended } = growing
    for (;;) {
      let i = this.#at
      let joined = true
      let blanks = 0
      let comma = -1
      let glued = this.#called
      // What stands between words.
      while (i < length) {
        if (((kinds[i] ?? 0) & (SEPARATOR | IDEOGRAPH)) === 0) break
        const c = codes[i] ?? 0
        glued &&= isGlue(c) && i - this.#at < MAX_GLUE
        if (c === 0x20 || c === 0xa0 || c === 0x09) blanks++
        else if (c === 0x2c && i === this.#at) comma = i
        else {
          joined = false
          if (c === 0x5c) {
            // JSON inside JSON: `\n` is a line feed there, and no letter n.
            if (i + 1 >= length && !ended) break
            if (isEscape(codes[i + 1] ?? 0)) i++
          }
        }
        i++
      }
      if (i >= length || (kinds[i] ?? 0) & (SEPARATOR | IDEOGRAPH)) {
        // What is called a password may go on.
        if (glued && !ended) return
        // Blanks at the end, or half an escape: no word yet.
        if (!joined || blanks > 2) this.#close(growing, spans)
        if (this.#start < 0 && this.#pem < 0 && (!joined || blanks > 2))
          this.#short = this.#second = -1
        if (this.#start < 0 && this.#short < 0 && this.#pem < 0) this.#at = i
        if (ended) this.#finish(growing, spans)
        return
      }
      if (glued) joined = true
      else if (comma >= 0 && !isBeforeYear(growing, comma, i)) joined = false
      this.#called = glued
      if (!joined || blanks > 2) {
        this.#close(growing, spans)
        this.#short = this.#second = -1
      }
      const most = Math.min(length, i + MAX_RUN + 1)
      let end = i
      let found = 0
      for (; end < most; end++) {
        const one = kinds[end] ?? 0
        if (one & (SEPARATOR | IDEOGRAPH)) break
        found |= one
      }
      if (end - i > MAX_RUN) {
        this.#window(growing, i, spans)
        continue
      }
      if (end >= length && !ended) return
      this.#word(growing, i, end, found, spans)
      this.#at = end
    }
  }

  #word(growing: GrowingText, start: number, end: number, found: number, spans: Span[]): void {
    const { codes } = growing
    if (this.#pem >= 0 || (codes[start] === 0x2d && growing.text.startsWith('-----BEGIN', start))) {
      this.#pemWord(growing, start, end, spans)
      if (this.#pem >= 0) return
    }
    const length = end - start
    const last = codes[end - 1] ?? 0
    const upper = (found & UPPER) !== 0
    const capitals = upper && (found & (LOWER | DIGIT)) === 0
    let marks = found & AT
    if ((found & DOT) !== 0 && hasDotInside(growing, start, end)) marks |= DOT
    if ((found & COLON) !== 0 && length > 1 && (last !== 0x3a || codes[end - 2] === 0x3a))
      marks |= COLON
    const mayBeCalled = this.#calling >= 0 || (found & EQUALS) !== 0
    if (mayBeCalled && !this.#called && this.#isCalled(growing, start, end, found)) {
      this.#close(growing, spans)
      this.#called = true
    }
    this.#calling = last === 0x3a || last === 0x3d ? end : -1
    const promising =
      this.#called ||
      marks !== 0 ||
      (found & DIGIT) !== 0 ||
      length >= LONG_WORD ||
      (capitals && (length === 8 || length === 11))
    if (promising || (upper && (this.#analyser.plain || (capitals && length <= 4)))) {
      if (this.#start >= 0 && end - this.#start > MAX_RUN) this.#cut(growing, spans)
      if (this.#start < 0) {
        this.#start = this.#short >= 0 && !this.#called ? this.#short : start
        this.#marks = 0
        this.#promising = false
      }
      this.#short = this.#second = -1
      this.#end = this.#tail = end
      this.#marks |= marks
      this.#promising ||= promising
      if (breaksAfter(last, length, found) && !this.#called && !isInDate(growing, start, end)) {
        this.#close(growing, spans)
      }
      return
    }
    // What follows a month, or comes before it, belongs to a date.
    const month = length > 2 && isMonthName(growing, start, end)
    const joins = length <= 3 || capitals || month
    if (this.#start >= 0) {
      // Between two parts of a name, or of a number, a short word may stand: `de la`, `ext.`
      if ((length <= 4 || month) && start - this.#end <= 8) {
        this.#tail = end
        // A year may follow as a day did before it: `12 de marzo de 1990`.
        if (month) this.#end = end
        if (month || !breaksAfter(last, length, found)) return
      }
      this.#close(growing, spans)
    }
    if (!joins || (!month && breaksAfter(last, length, found))) this.#short = this.#second = -1
    else if (this.#short < 0) this.#short = start
    else {
      if (this.#second >= 0) this.#short = this.#second
      this.#second = start
    }
  }

  /** Whether a word is, or holds, the beginning of what somebody calls a password: after `password: `, or behind `PASSWORD=`. */
  #isCalled({ text, codes }: GrowingText, start: number, end: number, found: number): boolean {
    let at = this.#calling >= 0 && start - this.#calling <= MAX_GLUE ? start : -1
    if (at < 0 && (found & EQUALS) !== 0) at = text.indexOf('=', start) + 1
    if (at < 0) return false
    while (at < end && !isWordCode(codes[at] ?? 0)) at++
    return at < end && this.#analyser.isCalledSecret(text, at)
  }

  #pemWord(growing: GrowingText, start: number, end: number, spans: Span[]): void {
    if (this.#pem < 0) {
      this.#close(growing, spans)
      this.#short = this.#second = -1
      this.#pem = start
      this.#pemWords = 0
      this.#pemKey = this.#pemEnd = false
    }
    this.#pemWords++
    const word = growing.text.slice(start, end)
    const closes = /(?:KEY|BLOCK)-----$/.test(word)
    if (!this.#pemKey) {
      if (closes) this.#pemKey = true
      else if (this.#pemWords > 5 || (this.#pemWords > 1 && word.endsWith('-----'))) this.#pem = -1
      return
    }
    if (word.startsWith('-----END')) this.#pemEnd = true
    if (this.#pemEnd && word.endsWith('-----') && word.length > 5) {
      spans.push({ start: this.#pem, end, kind: 'SECRET' })
      this.#pem = -1
      this.#at = end
    } else if (end - this.#pem > MAX_FOUND) throw endless()
  }

  /** The end of the text closes whatever is open; a key without an end is one. */
  #finish(growing: GrowingText, spans: Span[]): void {
    this.#close(growing, spans)
    this.#short = this.#second = -1
    if (this.#pem >= 0 && this.#pemKey) {
      spans.push({ start: this.#pem, end: growing.length, kind: 'SECRET' })
    }
    this.#pem = -1
    this.#at = growing.length
  }

  #close(growing: GrowingText, spans: Span[]): void {
    if (this.#start < 0) return
    if (this.#promising || this.#analyser.plain) {
      this.#analyse(growing, this.#start, this.#tail, this.#marks, spans)
    }
    this.#start = -1
  }

  /** A stretch that went on for too long is looked at in overlapping parts. */
  #cut(growing: GrowingText, spans: Span[]): void {
    const { length } = spans
    this.#analyse(growing, this.#start, this.#end, this.#marks, spans)
    let next = this.#end - OVERLAP
    while (next < this.#end && !((growing.kinds[next - 1] ?? 0) & SEPARATOR)) next++
    for (const { end } of spans.slice(length)) if (end < this.#end) next = Math.max(next, end)
    this.#start = next < this.#end ? next : -1
  }

  /** One word without end: looked at in overlapping parts too. */
  #window(growing: GrowingText, start: number, spans: Span[]): void {
    this.#close(growing, spans)
    this.#short = this.#second = -1
    this.#promising = true
    const end = start + MAX_RUN
    const { length } = spans
    this.#analyse(growing, start, end, AT | COLON | DOT, spans)
    let next = end - OVERLAP
    for (const span of spans.slice(length)) {
      if (span.end >= end && span.kind === 'SECRET') throw endless()
      next = Math.max(next, span.end)
    }
    if (this.#pem >= 0 && end - this.#pem > MAX_FOUND) throw endless()
    this.#at = next
  }

  #analyse(growing: GrowingText, start: number, end: number, marks: number, spans: Span[]): void {
    const from = Math.max(0, start - CONTEXT)
    const stretch = { growing, from, start, end, marks, promising: this.#promising }
    this.#analyser.analyse(stretch, spans)
  }
}

/** Signs at which a stretch ends where it is no password. A quotation mark ends that, too. */
const isGlue = (c: number): boolean => c < 0x80 && '{}[]<>|,;`'.includes(String.fromCharCode(c))

const isWordCode = (c: number): boolean => isWordClass(classOf(c)) || c === 0x5f

/** Whether the dot after a word may be part of a date: `12. März`, `Sept. 3`, `12.Sept. 1990`. */
function isInDate(growing: GrowingText, start: number, end: number): boolean {
  const { codes } = growing
  const dot = codes[start + 1] === 0x2e ? start + 1 : start + 2
  return (
    isDayOfMonth(growing, start, end - 1) ||
    isMonthName(growing, start, end) ||
    (codes[dot] === 0x2e && isDayOfMonth(growing, start, dot) && isMonthName(growing, dot + 1, end))
  )
}

/** Whether a comma stands in a date, before its year: `March 12, 1990`, `12 March, 1990`. */
function isBeforeYear(growing: GrowingText, comma: number, next: number): boolean {
  const { codes, kinds } = growing
  if (next - comma > 2 || ((kinds[next] ?? 0) & DIGIT) === 0) return false
  let start = codes[comma - 1] === 0x2e ? comma - 1 : comma
  while (start > 0 && comma - start <= LONGEST && isWordClass(kinds[start - 1] ?? 0)) start--
  return isDayOfMonth(growing, start, comma) || isMonthName(growing, start, comma)
}

/** Whether a dot stands between others and before a letter or a figure. */
function hasDotInside({ kinds }: GrowingText, start: number, end: number): boolean {
  for (let i = start + 1; i < end - 1; i++) {
    if ((kinds[i] ?? 0) & DOT && (kinds[i + 1] ?? 0) & (DIGIT | UPPER | LOWER)) return true
  }
  return false
}

/** Whether a stretch ends with this word. */
function breaksAfter(last: number, length: number, found: number): boolean {
  if (last === 0x3a || last === 0x21 || last === 0x3f) return true
  return last === 0x2e && (length > 5 || (found & DIGIT) !== 0)
}

const endless = (): SallyportError =>
  new SallyportError('SP_REDACT_ENDLESS', 'a text holds a secret that does not end', {
    detail: `it is longer than ${MAX_RUN} characters, or a key longer than ${MAX_FOUND}`,
  })
