import type { Clock } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { integer, Refusal, text, texts } from './http.ts'

type JsonObject = { readonly [key: string]: JsonValue }

interface Note {
  readonly id: string
  readonly caseId: string
  readonly at: string
  readonly text: string
}

interface Case {
  readonly id: string
  readonly kind: string
  readonly status: 'open' | 'closed'
  readonly openedAt: string
  readonly accounts: readonly string[]
  readonly pattern: string
  readonly summary: string
  readonly notes: readonly Note[]
  readonly sarId: string
  readonly sarStatus: 'none' | 'draft' | 'filed'
}

interface Sar {
  readonly id: string
  readonly caseId: string
  readonly narrative: string
  readonly status: 'draft' | 'filed'
  readonly filedAt: string
}

interface Ring {
  readonly id: string
  readonly pattern: string
  readonly accounts: readonly string[]
  readonly score: number
  readonly caseId: string
  readonly reportedAt: string
}

const MAX_KEPT = 10_000
const MAX_NOTES = 200
const PAGE = 100

/** Rings, cases and suspicious activity reports, in memory and bounded. Every method is one tool. */
export class CaseBook {
  readonly #clock: Clock
  readonly #cases = new Map<string, Case>()
  readonly #sars = new Map<string, Sar>()
  readonly #rings: Ring[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Tool name → what it does; the names are those of `mcp/case-store.json`. */
  readonly tools: Readonly<Record<string, (input: JsonObject) => JsonObject>> = {
    report_ring: (input) => {
      const ring: Ring = {
        id: nextId('ring', this.#rings.length),
        pattern: text(input, 'pattern', 64),
        accounts: texts(input, 'accounts', 500),
        score: integer(input, 'score', 0, 100),
        caseId: '',
        reportedAt: this.#now(),
      }
      this.#rings.push(ring)
      return { ring: { ...ring } }
    },
    list_rings: (input) => {
      const after = input['after'] === undefined ? '' : text(input, 'after', 128)
      const start = this.#rings.findIndex((ring) => ring.id === after) + 1
      const page = this.#rings.slice(start, start + PAGE)
      return { rings: page.map((ring) => ({ ...ring })), next: page.at(-1)?.id ?? after }
    },
    open_case: (input) => {
      const accounts = texts(input, 'accounts', 500)
      const item: Case = {
        id: nextId('case', this.#cases.size),
        kind: text(input, 'kind', 64),
        status: 'open',
        openedAt: this.#now(),
        accounts,
        pattern: text(input, 'pattern', 64),
        summary: text(input, 'summary', 4000),
        notes: [],
        sarId: '',
        sarStatus: 'none',
      }
      this.#cases.set(item.id, item)
      // A ring without a case that is about exactly these accounts gets this one.
      const key = accounts.toSorted().join()
      const index = this.#rings.findIndex(
        (ring) => ring.caseId === '' && ring.accounts.toSorted().join() === key,
      )
      const ring = this.#rings[index]
      if (ring) this.#rings[index] = { ...ring, caseId: item.id }
      return { case: show(item) }
    },
    list_cases: (input) => {
      const status = input['status'] === undefined ? undefined : text(input, 'status', 32)
      const found = [...this.#cases.values()].filter(
        (item) => status === undefined || item.status === status,
      )
      return { cases: found.slice(-PAGE).toReversed().map(show) }
    },
    get_case: (input) => ({ case: show(this.#case(input)) }),
    add_note: (input) => {
      const item = this.#case(input)
      if (item.notes.length >= MAX_NOTES) throw new Refusal(507, 'the case has too many notes')
      const note: Note = {
        id: `${item.id}-note_${item.notes.length + 1}`,
        caseId: item.id,
        at: this.#now(),
        text: text(input, 'text', 4000),
      }
      this.#cases.set(item.id, { ...item, notes: [...item.notes, note] })
      return { note: { ...note } }
    },
    draft_sar: (input) => {
      const item = this.#case(input)
      if (item.sarId !== '') throw new Refusal(409, 'the case already has a report')
      const sar: Sar = {
        id: nextId('sar', this.#sars.size),
        caseId: item.id,
        narrative: text(input, 'narrative', 20_000),
        status: 'draft',
        filedAt: '',
      }
      this.#sars.set(sar.id, sar)
      this.#cases.set(item.id, { ...item, sarId: sar.id, sarStatus: 'draft' })
      return { sar: { ...sar } }
    },
    get_sar: (input) => ({ sar: { ...this.#sar(input) } }),
    file_sar: (input) => {
      const draft = this.#sar(input)
      if (draft.status === 'filed') throw new Refusal(409, 'the report is already filed')
      const sar: Sar = { ...draft, status: 'filed', filedAt: this.#now() }
      this.#sars.set(sar.id, sar)
      const item = this.#cases.get(sar.caseId)
      if (item) this.#cases.set(item.id, { ...item, sarStatus: 'filed' })
      return { sar: { ...sar } }
    },
  }

  #now(): string {
    return new Date(this.#clock.now()).toISOString()
  }

  #case(input: JsonObject): Case {
    const found = this.#cases.get(text(input, 'caseId', 64))
    if (!found) throw new Refusal(404, 'no such case')
    return found
  }

  #sar(input: JsonObject): Sar {
    const found = this.#sars.get(text(input, 'sarId', 64))
    if (!found) throw new Refusal(404, 'no such report')
    return found
  }
}

function nextId(prefix: string, count: number): string {
  if (count >= MAX_KEPT) throw new Refusal(507, 'the case store is full')
  return `${prefix}_${String(count + 1).padStart(6, '0')}`
}

const show = (item: Case): JsonObject => ({
  ...item,
  notes: item.notes.map((note) => ({ ...note })),
})
