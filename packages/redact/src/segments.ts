import { SallyportError } from '@sallyport/base'
import { AT, classOf, COLON, DIGIT, DOT, IDEOGRAPH, LOWER, SEPARATOR, UPPER } from './characters.ts'
import type { Analyser } from './recognise/analyse.ts'
import type { Span } from './recognise/recogniser.ts'

/** Longest stretch that is looked at in one piece, in UTF-16 code units. No identifier is that long. */
const MAX_RUN = 2048
/** How much of a stretch that had to be cut is looked at again. */
const OVERLAP = 160
/** How much before a stretch may tell what it is. */
export const CONTEXT = 96
/** Longest private key, and longest place that others which overlap it become one with. */
export const MAX_FOUND = 32_768

/** A buffer that grows at its end; positions count from its beginning. */
export interface Growing {
  readonly text: string
  /** Nothing more will come. */
  readonly ended: boolean
}

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
  #marks = false
  /** Whether it holds anything that a recogniser could begin with: a digit, a mark, a long word. */
  #promising = false
  /** Short words, two at most, that may be the beginning of a stretch. */
  #short = -1
  #second = -1
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
    if (this.#pem >= 0) this.#pem -= by
  }

  /** Looks at what is complete. @throws SallyportError `SP_REDACT_ENDLESS` */
  advance(growing: Growing, spans: Span[]): void {
    const { text, ended } = growing
    for (;;) {
      const before = this.#at
      let i = before
      let joined = true
      let blanks = 0
      // What stands between words.
      while (i < text.length) {
        const c = text.charCodeAt(i)
        const found = classOf(c)
        if ((found & (SEPARATOR | IDEOGRAPH)) === 0) break
        if (c === 0x20 || c === 0xa0 || c === 0x09) blanks++
        else joined = false
        if (c === 0x5c) {
          // JSON inside JSON: `\n` is a line feed there, and no letter n.
          if (i + 1 >= text.length && !ended) break
          if (ESCAPES.includes(text.charAt(i + 1))) i++
        }
        i++
      }
      if (i >= text.length || classOf(text.charCodeAt(i)) & (SEPARATOR | IDEOGRAPH)) {
        // Blanks at the end, or half an escape: no word yet.
        if (!joined || blanks > 2) this.#close(text, spans)
        if (this.#start < 0 && this.#pem < 0 && (!joined || blanks > 2))
          this.#short = this.#second = -1
        if (this.#start < 0 && this.#short < 0 && this.#pem < 0) this.#at = i
        if (ended) this.#finish(text, spans)
        return
      }
      if (!joined || blanks > 2) {
        this.#close(text, spans)
        this.#short = this.#second = -1
      }
      let end = i
      let found = 0
      let dot = false
      for (; end < text.length; end++) {
        const one = classOf(text.charCodeAt(end))
        if (one & (SEPARATOR | IDEOGRAPH)) break
        if (one === DOT && end > i && end + 1 < text.length) {
          dot ||= (classOf(text.charCodeAt(end + 1)) & (DIGIT | UPPER | LOWER)) !== 0
        }
        found |= one
        if (end - i >= MAX_RUN) break
      }
      if (end - i >= MAX_RUN) {
        this.#window(text, i, spans)
        continue
      }
      if (end >= text.length && !ended) return
      this.#word(text, i, end, found, dot, spans)
      this.#at = end
    }
  }

  #word(
    text: string,
    start: number,
    end: number,
    found: number,
    dot: boolean,
    spans: Span[],
  ): void {
    if (this.#pem >= 0 || text.startsWith('-----BEGIN', start)) {
      this.#pemWord(text, start, end, spans)
      if (this.#pem >= 0) return
    }
    const length = end - start
    const last = text.charCodeAt(end - 1)
    const upper = (found & UPPER) !== 0
    const capitals = upper && (found & (LOWER | DIGIT)) === 0
    const marks =
      (found & AT) !== 0 ||
      dot ||
      ((found & COLON) !== 0 && length > 1 && (last !== 0x3a || text.charCodeAt(end - 2) === 0x3a))
    const promising =
      marks ||
      (found & DIGIT) !== 0 ||
      length >= 16 ||
      (capitals && (length === 8 || length === 11))
    if (promising || (upper && (this.#analyser.names || (capitals && length <= 4)))) {
      if (this.#start >= 0 && end - this.#start > MAX_RUN) this.#cut(text, spans)
      if (this.#start < 0) {
        this.#start = this.#short >= 0 ? this.#short : start
        this.#marks = this.#promising = false
      }
      this.#short = this.#second = -1
      this.#end = this.#tail = end
      this.#marks ||= marks
      this.#promising ||= promising
      if (breaksAfter(last, length, found)) this.#close(text, spans)
      return
    }
    const joins = length <= 3 || capitals
    if (this.#start >= 0) {
      // Between two parts of a name, or of a number, a short word may stand: `de la`, `ext.`
      if (length <= 4 && start - this.#end <= 8) {
        this.#tail = end
        if (!breaksAfter(last, length, found)) return
      }
      this.#close(text, spans)
    }
    if (!joins || breaksAfter(last, length, found)) this.#short = this.#second = -1
    else if (this.#short < 0) this.#short = start
    else {
      if (this.#second >= 0) this.#short = this.#second
      this.#second = start
    }
  }

  #pemWord(text: string, start: number, end: number, spans: Span[]): void {
    if (this.#pem < 0) {
      this.#close(text, spans)
      this.#short = this.#second = -1
      this.#pem = start
      this.#pemWords = 0
      this.#pemKey = this.#pemEnd = false
    }
    this.#pemWords++
    const word = text.slice(start, end)
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
  #finish(text: string, spans: Span[]): void {
    this.#close(text, spans)
    this.#short = this.#second = -1
    if (this.#pem >= 0 && this.#pemKey) {
      spans.push({ start: this.#pem, end: text.length, kind: 'SECRET' })
    }
    this.#pem = -1
    this.#at = text.length
  }

  #close(text: string, spans: Span[]): void {
    if (this.#start < 0) return
    if (this.#promising || this.#analyser.names) {
      this.#analyse(text, this.#start, this.#tail, this.#marks, spans)
    }
    this.#start = -1
  }

  /** A stretch that went on for too long is looked at in overlapping parts. */
  #cut(text: string, spans: Span[]): void {
    const { length } = spans
    this.#analyse(text, this.#start, this.#end, this.#marks, spans)
    let next = this.#end - OVERLAP
    while (next < this.#end && !(classOf(text.charCodeAt(next - 1)) & SEPARATOR)) next++
    for (const { end } of spans.slice(length)) if (end < this.#end) next = Math.max(next, end)
    this.#start = next < this.#end ? next : -1
  }

  /** One word without end: looked at in overlapping parts too. */
  #window(text: string, start: number, spans: Span[]): void {
    this.#close(text, spans)
    this.#short = this.#second = -1
    this.#promising = true
    const end = start + MAX_RUN
    const { length } = spans
    this.#analyse(text, start, end, true, spans)
    let next = end - OVERLAP
    for (const span of spans.slice(length)) {
      if (span.end >= end && span.kind === 'SECRET') throw endless()
      next = Math.max(next, span.end)
    }
    if (this.#pem >= 0 && end - this.#pem > MAX_FOUND) throw endless()
    this.#at = next
  }

  #analyse(text: string, start: number, end: number, marks: boolean, spans: Span[]): void {
    const from = Math.max(0, start - CONTEXT)
    let stretch = text.slice(from, end)
    // The `n` of an escaped line feed is no letter before the word.
    if (
      start - from >= 2 &&
      text.charCodeAt(start - 2) === 0x5c &&
      ESCAPES.includes(text.charAt(start - 1))
    ) {
      stretch = `${text.slice(from, start - 1)} ${text.slice(start, end)}`
    }
    this.#analyser.analyse(stretch, start - from, marks, this.#promising, from, spans)
  }
}

const ESCAPES = 'ntrbf'

/** Whether a stretch ends with this word. */
function breaksAfter(last: number, length: number, found: number): boolean {
  if (last === 0x3a || last === 0x21 || last === 0x3f) return true
  return last === 0x2e && (length > 5 || (found & DIGIT) !== 0)
}

const endless = (): SallyportError =>
  new SallyportError('SP_REDACT_ENDLESS', 'a text holds a secret that does not end', {
    detail: `it is longer than ${MAX_RUN} characters, or a key longer than ${MAX_FOUND}`,
  })
