import type { DataClass, Field, NetworkIndex } from '@sallyport/network'
import { DATA_CLASSES } from '@sallyport/network'
import type { Taker } from '../calls/answers.ts'
import { OIDS, textOfBinary } from './parameters.ts'
import type { CompiledOutput } from './text/compile.ts'
import { eachValue } from './wire/messages.ts'

/** A column of an answer that values of declared fields leave in as they are. */
export interface ShownColumn {
  readonly at: number
  /** Whether each value is one value of one field. */
  readonly single: boolean
  /** Of all the fields in it. */
  readonly field: Pick<Field, 'class' | 'tags'>
}

const rank = (name: DataClass): number => DATA_CLASSES.indexOf(name)
const highestOf = (classes: readonly DataClass[]): DataClass =>
  classes.reduce((most, one) => (rank(one) > rank(most) ? one : most), 'public')

/** The columns of a statement's answer that show what is not public. */
export function shownColumns(
  outputs: readonly CompiledOutput[],
  index: Pick<NetworkIndex, 'findField'>,
): ShownColumn[] {
  return outputs.flatMap(({ sources, single }, at): ShownColumn[] => {
    const fields = sources
      .filter(({ whole }) => whole)
      .map(({ table, column }) => index.findField(table.dataset, column))
    const highest = highestOf(fields.map((field) => field?.class ?? 'restricted'))
    if (highest === 'public') return []
    const tags = [...new Set(fields.flatMap((field) => field?.tags ?? []))]
    return [{ at, single: single === true, field: { class: highest, tags } }]
  })
}

/** Takes down what the rows of an answer show, each before it leaves: models must not learn more than their vendors may. */
export class Shown {
  readonly #taker: Taker
  readonly #columns: ReadonlyMap<number, ShownColumn & { readonly read: Read }>
  /** The highest class of what leaves in a form that holds no value that could be found again. */
  readonly #unseen: DataClass
  #told = false

  /**
   * @param types of the columns, by their numbers in the catalog
   * @param formats as the client asked for them: one for all, or one each
   */
  constructor(
    columns: readonly ShownColumn[],
    types: readonly number[],
    formats: readonly number[],
    takerOf: (highest: DataClass) => Taker,
  ) {
    const highest = highestOf(columns.map(({ field }) => field.class))
    this.#taker = takerOf(highest)
    if (this.#taker.take === undefined) {
      this.#columns = NOTHING_TAKEN
      this.#unseen = highest
      return
    }
    const read = columns.map((column) => {
      const format = (formats.length <= 1 ? formats[0] : formats[column.at]) ?? 0
      return { ...column, read: readerOf(types[column.at] ?? 0, format, column.single) }
    })
    this.#columns = new Map(
      read.flatMap((column) =>
        column.read === undefined ? [] : [[column.at, { ...column, read: column.read }] as const],
      ),
    )
    this.#unseen = highestOf(
      read.filter((column) => column.read === undefined).map(({ field }) => field.class),
    )
  }

  row(body: Buffer): void {
    if (!this.#told) this.#taker.unseen(this.#unseen)
    this.#told = true
    const { take } = this.#taker
    if (take === undefined || this.#columns.size === 0) return
    eachValue(body, (value, at) => {
      const column = this.#columns.get(at)
      if (column) take(column.read(value), column.field)
    })
  }
}

type Read = (value: Buffer) => string
const NOTHING_TAKEN: ReadonlyMap<number, ShownColumn & { readonly read: Read }> = new Map()

/** How one value of a type is read as text; undefined where it may hold parts of several, which nothing would find again. */
function readerOf(type: number, format: number, single: boolean): Read | undefined {
  const isText = type === OIDS.text || type === OIDS.varchar
  if (isText ? !single : !SCALARS.has(type)) return undefined
  if (format === 0 || isText) return (value) => value.toString()
  return textOfBinary(type)
}

/** Numbers of the types whose values are one thing each: with float4, time and interval. */
const SCALARS: ReadonlySet<number> = new Set([
  ...[OIDS.bool, OIDS.int2, OIDS.int4, OIDS.int8, OIDS.float8, OIDS.numeric, OIDS.uuid],
  ...[OIDS.date, OIDS.timestamp, OIDS.timestamptz, 700, 1083, 1186],
])
