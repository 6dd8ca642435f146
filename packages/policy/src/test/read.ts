import { isIP } from 'node:net'
import type { JsonValue, SourceSpan } from '@sallyport/base'
import { didYouMean, readYaml, structureChecker } from '@sallyport/network'
import type { Located } from '@sallyport/network'
import { TestProblems } from './problem.ts'
import type { TestProblem } from './problem.ts'
import type { Expectation, RowCall, TestFile, TestRow } from './row.ts'
import { testsJsonSchema } from './schema.ts'

/** When no row says when: a Monday at noon, so that no test depends on the day it runs. */
const DEFAULT_TIME = '2026-01-05T12:00:00Z'
const MAX_ROWS = 20_000
const MAX_PROBLEMS = 200

type Members = Readonly<Record<string, JsonValue>>

const check = structureChecker(testsJsonSchema, 'the file')

/**
 * Reads a file of tests: defaults, named parts and tables are resolved into rows.
 *
 * @param file the name that spans carry
 * @throws TestProblems with everything found wrong in its text
 */
export function readTests(text: string, file: string): TestFile {
  const { located, problems } = readYaml(text, file)
  if (!located) throw new TestProblems(problems)
  const malformed = check(located)
  if (malformed.length > 0) throw new TestProblems(malformed.slice(0, MAX_PROBLEMS))
  return new Reader(located).file()
}

/** What the JSON Schema has accepted. */
interface Raw {
  readonly network?: string
  readonly defaults?: Members
  readonly named?: Readonly<Record<string, Members>>
  readonly rows?: readonly Members[]
  readonly tables?: readonly (Members & {
    readonly columns: readonly string[]
    readonly rows: readonly (readonly JsonValue[])[]
  })[]
}

class Reader {
  readonly #located: Located
  readonly #raw: Raw
  readonly #problems: TestProblem[] = []

  constructor(located: Located) {
    this.#located = located
    // The JSON Schema has just accepted the value, and Raw is what it describes.
    this.#raw = located.value as unknown as Raw
  }

  file(): TestFile {
    const { network, rows = [], tables = [] } = this.#raw
    const found = rows.flatMap((row, i) => this.#row([row], row, `/rows/${i}`) ?? [])
    for (const [i, table] of tables.entries()) {
      const { columns, rows: lines, ...common } = table
      for (const [j, cells] of lines.entries()) {
        const pointer = `/tables/${i}/rows/${j}`
        const row = this.#cells(columns, cells, pointer)
        if (row) found.push(...(this.#row([common, row], { ...common, ...row }, pointer) ?? []))
      }
    }
    if (found.length === 0 && this.#problems.length === 0) {
      this.#report('SP_POLICY_TEST_ROW', '', 'the file has no rows', 'add some under `rows`')
    }
    if (found.length > MAX_ROWS) {
      this.#report('SP_POLICY_TEST_ROW', '', `the file has more than ${MAX_ROWS} rows`, 'split it')
    }
    if (this.#problems.length > 0) throw new TestProblems(this.#problems.slice(0, MAX_PROBLEMS))
    return {
      file: this.#located.file,
      rows: found,
      ...(network === undefined ? {} : { network }),
    }
  }

  #report(code: TestProblem['code'], pointer: string, message: string, fix: string): void {
    const why = 'a test that cannot be read as it was meant would prove nothing'
    this.#problems.push({ code, message, why, fix, span: this.#located.at(pointer) })
  }

  /** The cells of a line of a table under the names of its columns. */
  #cells(columns: readonly string[], cells: readonly JsonValue[], at: string): Members | undefined {
    if (cells.length !== columns.length) {
      this.#report(
        'SP_POLICY_TEST_ROW',
        at,
        `the row has ${cells.length} cells, its table ${columns.length} columns`,
        'give one cell for each column; `null` leaves a member out',
      )
      return undefined
    }
    const row: Record<string, JsonValue> = {}
    const input: Record<string, JsonValue> = {}
    for (const [i, column] of columns.entries()) {
      const cell = cells[i] ?? null
      if (column.startsWith('input.')) input[column.slice('input.'.length)] = cell
      else row[column] = cell
    }
    const given =
      Object.keys(input).length > 0
        ? { ...row, input: { ...members(row['input']), ...input } }
        : row
    // Cells are typed by their column only now.
    const shown = {
      rows: [Object.fromEntries(Object.entries(given).filter(([, v]) => v !== null))],
    }
    const wrong = check({ ...this.#located, value: shown, at: () => this.#located.at(at) })
    for (const problem of wrong) {
      const message = problem.message.replaceAll('rows.0', 'cell')
      this.#problems.push({ ...problem, message, span: this.#located.at(at) })
    }
    return wrong.length > 0 ? undefined : given
  }

  #row(own: readonly Members[], user: Members, pointer: string): TestRow[] | undefined {
    const parts = [this.#raw.defaults ?? {}, ...this.#used(user, pointer), ...own]
    const merged = parts.reduce(merge, {})
    const before = this.#problems.length
    const lacks = (what: string, fix: string): void =>
      this.#report('SP_POLICY_TEST_ROW', pointer, `the row has no ${what}`, fix)
    if (merged['agent'] === undefined) lacks('`agent`', 'say who calls')
    if (merged['call'] === undefined) lacks('`call`', 'say what is called, as `SYSTEM.OPERATION`')
    if (merged['code'] === undefined && merged['decision'] === undefined) {
      lacks('`code` and no `decision`', 'say how the call shall end')
    }
    const time = this.#time(merged, pointer)
    const { source } = merged
    if (typeof source === 'string' && isIP(source) === 0) {
      const message = `\`${source.slice(0, 60)}\` is no IP address`
      this.#report(
        'SP_POLICY_TEST_ROW',
        pointer,
        message,
        'write it as `10.1.2.3` or `2001:db8::1`',
      )
    }
    if (this.#problems.length > before) return undefined
    return [toRow(merged, time, this.#located.at(pointer))]
  }

  #used(user: Members, pointer: string): Members[] {
    const named = this.#raw.named ?? {}
    return texts(user['use']).flatMap((name) => {
      const part = Object.hasOwn(named, name) ? named[name] : undefined
      if (part !== undefined) return [part]
      this.#report(
        'SP_POLICY_TEST_REFERENCE',
        pointer,
        `nothing is called \`${name}\` under \`named\`${didYouMean(name, Object.keys(named))}`,
        'add it there or correct the name',
      )
      return []
    })
  }

  #time(merged: Members, pointer: string): number {
    const text = typeof merged['time'] === 'string' ? merged['time'] : DEFAULT_TIME
    const at = instant(text)
    if (at === undefined) {
      this.#report(
        'SP_POLICY_TEST_ROW',
        pointer,
        `\`${text}\` is no instant`,
        'write it with its offset, such as `2026-03-02T09:30:00+01:00` or `…Z`',
      )
    }
    return at ?? 0
  }
}

/** The later wins; inputs are joined member by member; `null` takes away what was inherited. */
function merge(under: Members, over: Members): Members {
  const merged: Record<string, JsonValue> = { ...under }
  for (const [key, value] of Object.entries(over)) {
    if (value === null) delete merged[key]
    else if (key === 'input') merged[key] = merge(members(merged[key]), members(value))
    else merged[key] = value
  }
  return merged
}

/** Milliseconds of an ISO 8601 date and time with an offset; undefined for anything else, 30 February included. */
function instant(text: string): number | undefined {
  const match = /^(\d{4})-(\d\d)-(\d\d)T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/.exec(text)
  const at = Date.parse(text)
  if (!match || Number.isNaN(at)) return undefined
  const [, year, month, day] = match.map(Number)
  const real = new Date(Date.UTC(year ?? 0, (month ?? 0) - 1, day))
  return real.getUTCDate() === day ? at : undefined
}

/** Members as the JSON Schema has typed them. */
function toRow(merged: Members, time: number, span: SourceSpan): TestRow {
  const { labels, risk, source, first } = merged
  const call = toCall(merged)
  const agent = text(merged['agent'])
  return {
    ...call,
    ...(labels === undefined ? {} : { labels: texts(labels) }),
    ...(typeof source === 'string' ? { source } : {}),
    name: text(merged['name'], `${agent} calls ${call.system}.${call.operation}`),
    span,
    agent,
    instance: text(merged['instance'], 'test'),
    risk: typeof risk === 'number' ? risk : 0,
    approvals: texts(merged['approvals']),
    time,
    first: items(first).map((one) => toCall(members(one))),
    tags: texts(merged['tags']),
    expect: expectation(merged),
  }
}

function toCall(row: Members): RowCall {
  const [system = '', operation = ''] = text(row['call']).split('.')
  return { system, operation, input: members(row['input']) }
}

function expectation({ code, decision, needs, why, projection, limits }: Members): Expectation {
  return {
    ...(typeof code === 'string' ? { code } : {}),
    // The JSON Schema lets only the words of these two types through.
    ...(decision === undefined ? {} : { decision: decision as 'allow' | 'deny' | 'needs' }),
    ...(typeof needs === 'number' ? { needs } : {}),
    ...(why === undefined ? {} : { why: texts(why) }),
    ...(projection === undefined
      ? {}
      : { projection: members(projection) as NonNullable<Expectation['projection']> }),
    ...(limits === undefined ? {} : { limits: texts(limits) }),
  }
}

const items = (value: JsonValue | undefined): readonly JsonValue[] =>
  // `Array.isArray` does not narrow readonly arrays out of the union by itself.
  Array.isArray(value) ? (value as readonly JsonValue[]) : []

const text = (value: JsonValue | undefined, otherwise = ''): string =>
  typeof value === 'string' ? value : otherwise

/** One text or several. */
const texts = (value: JsonValue | undefined): readonly string[] =>
  typeof value === 'string'
    ? [value]
    : items(value).filter((item): item is string => typeof item === 'string')

const members = (value: JsonValue | undefined): Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? // Narrowed to a JSON object.
      (value as Members)
    : {}
