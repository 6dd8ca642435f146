import { Analyser } from './recognise/analyse.ts'
import type { Wanted } from './recognise/analyse.ts'
import { KINDS } from './recognise/recogniser.ts'
import type { Kind, Span } from './recognise/recogniser.ts'
import type { KnownScanner, KnownSource } from './known.ts'
import { CONTEXT, Segmenter } from './segments.ts'

export interface RedactorOptions {
  /** What is looked for beside known values. */
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
  const analyser = analyserOf(options.find)
  const stream = (): Stream => new Stream(analyser, options)
  return {
    redact(text) {
      const one = stream()
      return one.push(text) + one.end()
    },
    find(text) {
      const found: Span[] = []
      const one = new Stream(analyser, { ...options, replace: () => undefined }, found)
      one.push(text)
      one.end()
      return found
    },
    stream,
  }
}

const analysers = new Map<string, Analyser>()

/** What is looked for says all of an analyser: there are a handful. */
function analyserOf(find: Wanted): Analyser {
  const key = JSON.stringify(find)
  let analyser = analysers.get(key)
  if (!analyser) analysers.set(key, (analyser = new Analyser(find)))
  return analyser
}

class Stream implements RedactingStream {
  readonly #segmenter: Segmenter
  readonly #known: KnownScanner | undefined
  readonly #replace: RedactorOptions['replace']
  readonly #found: Span[] | undefined
  /** What was emitted last, as context, and what was not yet. */
  #text = ''
  /** How many characters went before `#text`. */
  #gone = 0
  #emitted = 0
  #spans: Span[] = []

  constructor(analyser: Analyser, { known, replace }: RedactorOptions, found?: Span[]) {
    this.#segmenter = new Segmenter(analyser)
    this.#known = known?.scanner()
    this.#replace = replace
    this.#found = found
  }

  push(piece: string): string {
    if (piece === '') return ''
    this.#forget()
    this.#text += piece
    return this.#advance(false)
  }

  end(): string {
    return this.#advance(true)
  }

  #advance(ended: boolean): string {
    const growing = { text: this.#text, ended }
    this.#segmenter.advance(growing, this.#spans)
    this.#known?.advance(growing, this.#spans)
    const decided = Math.min(
      this.#segmenter.decided,
      this.#known?.decided ?? Number.POSITIVE_INFINITY,
    )
    return this.#emit(ended ? this.#text.length : decided)
  }

  #emit(decided: number): string {
    let out = ''
    if (this.#spans.length > 0) {
      const spans = this.#spans.toSorted((a, b) => a.start - b.start || b.end - a.end)
      let i = 0
      while (i < spans.length) {
        const first = spans[i]
        if (!first || first.start >= decided) break
        let { end, kind } = first
        let next = i + 1
        for (; next < spans.length; next++) {
          const other = spans[next]
          if (!other || other.start >= end) break
          end = Math.max(end, other.end)
          if (KINDS.indexOf(other.kind) < KINDS.indexOf(kind)) kind = other.kind
        }
        if (end > decided) {
          decided = first.start
          break
        }
        const start = Math.max(first.start, this.#emitted)
        out += this.#text.slice(this.#emitted, start)
        if (end > start) {
          const value = this.#text.slice(start, end)
          this.#found?.push({ start: start + this.#gone, end: end + this.#gone, kind })
          out += this.#replace(kind, value) ?? value
        }
        this.#emitted = Math.max(end, this.#emitted)
        i = next
      }
      this.#spans = spans.slice(i)
    }
    if (decided > this.#emitted) {
      out += this.#text.slice(this.#emitted, decided)
      this.#emitted = decided
    }
    return out
  }

  /** Keeps of what was emitted only as much as tells what comes after it. */
  #forget(): void {
    const by = this.#emitted - CONTEXT
    if (by < 2048) return
    this.#text = this.#text.slice(by)
    this.#gone += by
    this.#emitted -= by
    this.#segmenter.shift(by)
    this.#known?.shift(by)
    this.#spans = this.#spans.map(({ start, end, kind }) => ({
      start: start - by,
      end: end - by,
      kind,
    }))
  }
}
