import { Analyser } from './recognise/analyse.ts'
import type { Wanted } from './recognise/analyse.ts'
import { KINDS } from './recognise/recogniser.ts'
import type { Kind, Span } from './recognise/recogniser.ts'
import type { KnownScanner, KnownSource } from './known.ts'
import { isUnpromising } from './characters.ts'
import { GrowingText } from './growing.ts'
import { CONTEXT, MAX_FOUND, Segmenter } from './segments.ts'

export interface RedactorOptions {
  /** What is looked for beside known values; not changed afterwards. */
  readonly find: Wanted
  readonly known?: KnownSource
  /** What stands in the place of a match; undefined leaves it. */
  readonly replace: (kind: Kind, value: string) => string | undefined
}

/** A text that comes in pieces, with what is found in it replaced. */
export interface RedactingStream {
  /** @returns as much as no later piece can change @throws SallyportError `SP_REDACT_ENDLESS` */
  push(piece: string): string
  /** The rest. Nothing can be pushed after it. */
  end(): string
}

export interface Redactor {
  /** @throws SallyportError `SP_REDACT_ENDLESS` */
  redact(text: string): string
  /** Where something is found, first to last; places do not overlap. @throws SallyportError `SP_REDACT_ENDLESS` */
  find(text: string): readonly Span[]
  stream(): RedactingStream
}

/** Makes a redactor; it may be used for any number of texts and streams. */
export function createRedactor(options: RedactorOptions): Redactor {
  return new WholeTexts(options)
}

class WholeTexts implements Redactor {
  readonly #analyser: Analyser
  readonly #known: KnownSource | undefined
  readonly #replace: RedactorOptions['replace']

  constructor({ find, known, replace }: RedactorOptions) {
    this.#analyser = analyserOf(find)
    this.#known = known
    this.#replace = replace
  }

  redact(text: string): string {
    if (this.#holdsNothing(text)) return text
    const one = this.stream()
    return one.push(text) + one.end()
  }

  find(text: string): readonly Span[] {
    if (this.#holdsNothing(text)) return NOTHING
    const found: Span[] = []
    const one = new Stream(this.#analyser, this.#known, leave, found)
    one.push(text)
    one.end()
    return found
  }

  stream(): Stream {
    return new Stream(this.#analyser, this.#known, this.#replace)
  }

  /** Of most texts a look at their characters tells; false says nothing. */
  #holdsNothing(text: string): boolean {
    return isUnpromising(text, this.#analyser.plain) && (this.#known?.lacks(text) ?? true)
  }
}

const NOTHING: readonly Span[] = []
const leave = (): undefined => undefined

/** Buffers that no text needs now. */
const spare: GrowingText[] = []
const MAX_SPARE = 8
const MAX_SPARE_SIZE = 16_384

/** How much of a text is looked at in one go, in UTF-16 code units. */
const STEP = 4096

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

const byPlace = (a: Span, b: Span): number =>
  a.start - b.start || b.end - a.end || KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind)

/** They come nearly so, and few at a time. */
function inOrder(spans: Span[]): void {
  if (spans.length > 64) {
    spans.sort(byPlace)
    return
  }
  for (let i = 1; i < spans.length; i++) {
    const one = spans[i]
    if (one === undefined) return
    let at = i
    for (; at > 0; at--) {
      const before = spans[at - 1]
      if (before === undefined || byPlace(before, one) <= 0) break
      spans[at] = before
    }
    if (at < i) spans[at] = one
  }
}

const analysers = new Map<string, Analyser>()
/** The same for those who ask with the same object, which nobody changes. */
const known = new WeakMap<Wanted, Analyser>()

/** What is looked for says all of an analyser: there are a handful. */
function analyserOf(find: Wanted): Analyser {
  let analyser = known.get(find)
  if (analyser) return analyser
  const key = JSON.stringify(find)
  analyser = analysers.get(key)
  if (!analyser) analysers.set(key, (analyser = new Analyser(find)))
  known.set(find, analyser)
  return analyser
}

class Stream implements RedactingStream {
  readonly #segmenter: Segmenter
  readonly #known: KnownScanner | undefined
  readonly #replace: RedactorOptions['replace']
  readonly #found: Span[] | undefined
  /** What was emitted last, as context, and what was not yet. */
  readonly #growing: GrowingText = spare.pop() ?? new GrowingText()
  #over = false
  /** How many characters went before it. */
  #gone = 0
  #emitted = 0
  /** What was found where not everything is known yet. */
  #spans: Span[] = []
  /** Where the last place is that was found; others that overlap it become one with it. */
  #open: Mutable<Span> | undefined

  constructor(
    analyser: Analyser,
    source: KnownSource | undefined,
    replace: RedactorOptions['replace'],
    found?: Span[],
  ) {
    this.#segmenter = new Segmenter(analyser)
    this.#known = source?.scanner()
    this.#replace = replace
    this.#found = found
  }

  push(piece: string): string {
    if (piece.length <= STEP) return this.#push(piece)
    // The pieces change nothing in what comes out, and what is at hand is soon done with.
    let out = ''
    for (let i = 0; i < piece.length; i += STEP) out += this.#push(piece.slice(i, i + STEP))
    return out
  }

  end(): string {
    if (this.#over) return ''
    this.#growing.ended = true
    const rest = this.#advance()
    this.#over = true
    // A request to a model has many short texts: most of the work was to make a buffer for each.
    if (spare.length < MAX_SPARE && this.#growing.codes.length <= MAX_SPARE_SIZE) {
      this.#growing.clear()
      spare.push(this.#growing)
    }
    return rest
  }

  #push(piece: string): string {
    if (piece === '') return ''
    if (this.#over) throw new TypeError('the text is over')
    this.#forget()
    this.#growing.push(piece)
    return this.#advance()
  }

  #advance(): string {
    const growing = this.#growing
    this.#segmenter.advance(growing, this.#spans)
    this.#known?.advance(growing, this.#spans)
    const decided = Math.min(
      this.#segmenter.decided,
      this.#known?.decided ?? Number.POSITIVE_INFINITY,
    )
    return this.#emit(growing.ended ? growing.length : decided)
  }

  #emit(decided: number): string {
    // Whatever begins before it is known, so that they are gone through in order, whatever pieces the text came in.
    const spans = this.#spans
    inOrder(spans)
    let out = ''
    let done = 0
    for (; done < spans.length; done++) {
      const span = spans[done]
      if (span === undefined || span.start >= decided) break
      const open = this.#open
      if (open && span.start < open.end && span.end - open.start <= MAX_FOUND) {
        open.end = Math.max(open.end, span.end)
        if (KINDS.indexOf(span.kind) < KINDS.indexOf(open.kind)) open.kind = span.kind
        continue
      }
      if (open) out += this.#replaced(open)
      const { start, end, kind } = span
      this.#open = { start: Math.max(start, this.#emitted), end, kind }
    }
    if (done === spans.length) spans.length = 0
    else if (done > 0) spans.splice(0, done)
    if (this.#open && this.#open.end <= decided) {
      out += this.#replaced(this.#open)
      this.#open = undefined
    }
    const until = this.#open ? this.#open.start : decided
    if (until > this.#emitted) {
      out += this.#growing.text.slice(this.#emitted, until)
      this.#emitted = until
    }
    return out
  }

  /** What comes before a place, and what stands in for the place. */
  #replaced({ start, end, kind }: Span): string {
    const before = this.#growing.text.slice(this.#emitted, start)
    if (end <= start) return before
    const value = this.#growing.text.slice(start, end)
    this.#found?.push({ start: start + this.#gone, end: end + this.#gone, kind })
    this.#emitted = end
    return before + (this.#replace(kind, value) ?? value)
  }

  /** Keeps of what was emitted only as much as tells what comes after it. */
  #forget(): void {
    const by = this.#emitted - CONTEXT
    if (by < 2048) return
    this.#growing.shift(by)
    this.#gone += by
    this.#emitted -= by
    this.#segmenter.shift(by)
    this.#known?.shift(by)
    const shifted = ({ start, end, kind }: Span): Span => ({
      start: start - by,
      end: end - by,
      kind,
    })
    if (this.#spans.length > 0) this.#spans = this.#spans.map(shifted)
    this.#open &&= shifted(this.#open)
  }
}
