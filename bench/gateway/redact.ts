import { createRedactor, createVault, KnownValues, standIns } from '@sallyport/redact'
import type { Group, Redactor } from '@sallyport/redact'
import { PII, score, scoreVectors, sentences } from '../../packages/redact/test/support/score.ts'
import { bounded, percentile, stated } from '../row.ts'
import type { Row } from '../row.ts'

const IDENTIFIERS: readonly Group[] = ['identifiers', 'secrets']
const EVERYTHING: readonly Group[] = ['identifiers', 'secrets', 'dates', 'names']
/** About what a model sends at once, in UTF-16 code units. */
const CHUNK = 512
const ROUNDS = 7

/** How well and how fast `@sallyport/redact` finds what is personal, on labelled sentences and one recogniser at a time. */
export async function redact(): Promise<readonly Row[]> {
  if (PII === undefined) return [stated('redaction', 'the labelled data is not here', '')]
  return [...quality(), ...(await speed())]
}

function quality(): Row[] {
  const all = score(redactorOf(EVERYTHING))
  const identifiers = score(redactorOf(IDENTIFIERS))
  const vectors = scoreVectors((only) =>
    createRedactor({
      find: only === undefined ? { groups: ['dates', 'names'] } : { only },
      replace: (kind) => kind,
    }),
  )
  const on = `${all.all} labels, everything on`
  return [
    bounded(`structured identifiers leaked, ${on}`, 100 * all.structuredLeaked, '%', '<=', 1),
    bounded(`all leaked, ${on}`, 100 * all.leaked, '%', '<=', 35),
    bounded(`over-redacted, ${on}`, 100 * all.overRedacted, '%', '<=', 1),
    stated(
      'structured identifiers leaked, without dates and names',
      100 * identifiers.structuredLeaked,
      '%',
    ),
    stated('over-redacted, without dates and names', 100 * identifiers.overRedacted, '%'),
    bounded(
      `recogniser vectors, ${vectors.of}`,
      (100 * vectors.passed) / vectors.of,
      '%',
      '>=',
      98,
    ),
    bounded('split offsets of sentences whose output differs', splits(), '', '=', 0),
  ]
}

const redactorOf = (groups: readonly Group[], known?: KnownValues): Redactor =>
  createRedactor({ find: { groups }, replace: (kind) => `<${kind}>`, ...(known && { known }) })

function splits(): number {
  const redactor = redactorOf(EVERYTHING)
  let differ = 0
  for (const { full_text: text } of sentences()) {
    const whole = redactor.redact(text)
    for (let i = 0; i <= text.length; i++) {
      const stream = redactor.stream()
      const out = stream.push(text.slice(0, i)) + stream.push(text.slice(i)) + stream.end()
      if (out !== whole) differ++
    }
  }
  return differ
}

/** Processor time, for neighbours on the machine cannot inflate it by waiting; the best of seven rounds after two. */
async function speed(): Promise<Row[]> {
  const all = sentences()
  const known = new KnownValues()
  for (const { spans } of all.slice(0, 300)) {
    for (const { entity_value: value } of spans) known.note(value, () => true)
  }
  const labelled = all
    .map(({ full_text: text }) => text)
    .join(' ')
    .repeat(40)
  const prose = PROSE.repeat(Math.ceil(labelled.length / PROSE.length))
  const measure = (redactor: Redactor, text: string): { mbs: number; p99: number } => {
    let best = 0
    const chunks: number[] = []
    for (let round = -2; round < ROUNDS; round++) {
      const stream = redactor.stream()
      const before = process.cpuUsage()
      for (let i = 0; i < text.length; i += CHUNK) stream.push(text.slice(i, i + CHUNK))
      stream.end()
      const { user, system } = process.cpuUsage(before)
      if (round >= 0) best = Math.max(best, Buffer.byteLength(text) / (user + system))
    }
    const stream = redactor.stream()
    for (let i = 0; i < text.length; i += CHUNK) {
      const before = performance.now()
      stream.push(text.slice(i, i + CHUNK))
      chunks.push(performance.now() - before)
    }
    return { mbs: best, p99: percentile(chunks, 0.99) }
  }
  const full = redactorOf(EVERYTHING, known)
  const dense = measure(full, labelled)
  const plain = measure(full, prose)
  const identifiers = measure(redactorOf(IDENTIFIERS, known), labelled)
  const standing = measure(standingRedactor(known), labelled)
  const firsts: number[] = []
  for (let i = 0; i < 2000; i++) {
    const before = performance.now()
    full.stream().push('The ')
    firsts.push(performance.now() - before)
  }
  return [
    bounded('a stream and its first token, p99', percentile(firsts, 0.99), 'ms', '<=', 1),
    bounded(
      `streaming, everything on, ${known.size} known values, prose`,
      plain.mbs,
      'MB/s of a core',
      '>=',
      20,
    ),
    bounded('the same, a chunk of 512 characters, p99', plain.p99, 'ms', '<=', 0.2),
    bounded(
      'streaming, everything on, labelled sentences (two values in each)',
      dense.mbs,
      'MB/s of a core',
      '>=',
      20,
    ),
    bounded('the same, a chunk of 512 characters, p99', dense.p99, 'ms', '<=', 0.2),
    stated(
      'streaming, without dates and names, labelled sentences',
      identifiers.mbs,
      'MB/s of a core',
    ),
    bounded('the same, with stand-ins of the same form', standing.mbs, 'MB/s of a core', '>=', 20),
  ]
}

/** As a request goes through it whose vendor gets stand-ins of the same form. */
function standingRedactor(known: KnownValues): Redactor {
  const one = standIns(createVault(Buffer.alloc(32, 7)), { isTaken: () => false })
  return createRedactor({
    find: { groups: IDENTIFIERS },
    known: one.finding(known),
    replace: (kind, value) => one.of(kind, value),
  })
}

/** What a model writes most of the time. */
const PROSE = `The account shows a pattern that is common in layering: several transfers of similar size arrive within a short
time, are split, and leave again to parties that have no other business with the customer. I would first look at the
counterparties, then at the purpose that was stated, and only then at the amounts. Three of the payments were made on
2024-03-15 from the same device. In my view the case should be escalated to Maria Keller, who handled the earlier one, and
the limit of 10,000 EUR kept until she has decided. If you agree I can prepare the report; it will need your approval. `
