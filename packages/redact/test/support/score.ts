import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseJson } from '@sallyport/base'
import type { Redactor } from '../../src/index.ts'

const ROOT =
  process.env['SALLYPORT_DATA'] ?? join(import.meta.dirname, '../../../../../shared/data')

/** The labelled data of `pii` where it lies, or undefined where this machine has none. */
export const PII: string | undefined = existsSync(join(ROOT, 'pii')) ? join(ROOT, 'pii') : undefined

export interface Sentence {
  readonly full_text: string
  readonly spans: readonly {
    readonly entity_type: string
    readonly entity_value: string
    readonly start_position: number
    readonly end_position: number
  }[]
}

export interface Vector {
  readonly recognizer: string
  readonly text: string
  readonly expected_count: number | null
  /** One span, or several. */
  readonly expected_spans: readonly (readonly [number, number])[] | readonly [number, number] | null
}

function read(name: string): unknown {
  const text = readFileSync(join(PII ?? '', name), 'utf8')
  return parseJson(text, { maxBytes: 64 << 20 })
}

/** 750 sentences with what is personal in them (Presidio research, synthetic). */
// The file is what its README says; a wrong shape fails the tests that read it.
export const sentences = (): readonly Sentence[] => read('presidio-synth-dev.json') as Sentence[]

/** 1,564 short texts, each for one recogniser (the tests of Presidio's analyser). */
export const vectors = (): readonly Vector[] =>
  // As above.
  (read('presidio-recognizer-vectors.json') as { vectors: Vector[] }).vectors

const STRUCTURED = new Set([
  'CREDIT_CARD',
  'DOMAIN_NAME',
  'EMAIL_ADDRESS',
  'IBAN_CODE',
  'IP_ADDRESS',
  'PHONE_NUMBER',
  'US_DRIVER_LICENSE',
  'US_SSN',
])

export interface Score {
  /** Labelled values that stand in the output as they stood in the input; shares of one. */
  readonly structuredLeaked: number
  readonly leaked: number
  /** Characters outside every label that were replaced. */
  readonly overRedacted: number
  /** Sentences without a label that were changed. */
  readonly cleanTouched: number
  readonly structured: number
  readonly all: number
}

export function score(redactor: Redactor, all: readonly Sentence[] = sentences()): Score {
  const leaks = { structured: 0, all: 0 }
  const labels = { structured: 0, all: 0 }
  let outside = 0
  let over = 0
  let cleanTouched = 0
  for (const { full_text: text, spans } of all) {
    const found = redactor.find(text)
    const labelled = new Uint8Array(text.length)
    const replaced = new Uint8Array(text.length)
    for (const { start, end } of found) replaced.fill(1, start, end)
    for (const { entity_type: type, start_position: start, end_position: end } of spans) {
      labelled.fill(1, start, end)
      const leaked = !replaced.subarray(start, end).includes(1)
      labels.all++
      if (leaked) leaks.all++
      if (!STRUCTURED.has(type)) continue
      labels.structured++
      if (leaked) leaks.structured++
    }
    for (let i = 0; i < text.length; i++) {
      if (labelled[i] === 1) continue
      outside++
      if (replaced[i] === 1) over++
    }
    if (spans.length === 0 && found.length > 0) cleanTouched++
  }
  return {
    structuredLeaked: leaks.structured / labels.structured,
    leaked: leaks.all / labels.all,
    overRedacted: over / outside,
    cleanTouched,
    ...labels,
  }
}

/** Recognisers of names and days stand for those that run a language model in Presidio. */
const MODELS = new Set(['spacy', 'stanza', 'transformers'])
/** Its tests of lists that a test makes up itself; what the lists hold is not in the data. */
const MADE_UP = 'pattern'

export interface VectorScore {
  readonly passed: number
  readonly of: number
  readonly failures: readonly string[]
}

/** @param one a redactor of one recogniser by itself, or of names and days */
export function scoreVectors(
  one: (recogniser: string | undefined) => Redactor,
  all: readonly Vector[] = vectors(),
): VectorScore {
  const failures: string[] = []
  let of = 0
  for (const { recognizer, text, expected_count: count, expected_spans } of all) {
    if (recognizer === MADE_UP) continue
    of++
    const given = expected_spans ?? []
    const found = one(MODELS.has(recognizer) ? undefined : recognizer).find(text)
    // A span alone stands for a list of one.
    const spans = (typeof given[0] === 'number' ? [given] : given) as readonly [number, number][]
    const right =
      (count === null ? found.length > 0 : found.length === count) &&
      (count === 0 ||
        spans.every(([from, to]) => found.some(({ start, end }) => start === from && end === to)))
    if (!right) failures.push(`${recognizer}: ${text}`)
  }
  return { passed: of - failures.length, of, failures }
}
