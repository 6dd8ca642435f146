import type { ColumnType } from '@sallyport/network'
import { noName, unsupported } from './refuse.ts'
import { notPlain } from './text/values.ts'
import type { Parameters, Plain } from './text/values.ts'
import type { BindMessage } from './wire/messages.ts'

/** Numbers of the types that parameters may have (`pg_type.oid`, the same on every server). */
export const OIDS: Readonly<Record<ColumnType, number>> = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  float8: 701,
  varchar: 1043,
  date: 1082,
  timestamp: 1114,
  timestamptz: 1184,
  numeric: 1700,
  uuid: 2950,
  jsonb: 3802,
}
const TYPES = new Map<number, ColumnType>(
  // The keys of the record above.
  Object.entries(OIDS).map(([type, oid]) => [oid, type as ColumnType]),
)
/** Beside those: float4, json, time, interval, unknown and arrays of the common ones. Nothing that reads the catalog. */
const OTHERS: ReadonlySet<number> = new Set([
  ...[700, 114, 1083, 1266, 1186, 705, 1000, 1005, 1007, 1016, 1009, 1015, 1231, 2951, 1022],
])

/** @throws SqlRefusal for a type that no parameter may have */
export function checkOids(oids: readonly number[]): void {
  const stray = oids.find((oid) => oid !== 0 && !TYPES.has(oid) && !OTHERS.has(oid))
  if (stray !== undefined) throw unsupported(`a parameter of type ${stray}`)
}

/** While no values are known: every parameter is NULL, which nothing can be built on. */
export const UNKNOWN: Parameters = { read: () => ({ kind: 'null' }) }

/** The values of a Bind, read as the server will read them. */
export function boundParameters(
  { values, formats }: BindMessage,
  oids: readonly number[],
): Parameters {
  const formatOf = (i: number): number => (formats.length <= 1 ? formats[0] : formats[i]) ?? 0
  return {
    read(number, type) {
      const value = values[number - 1]
      if (value === undefined) throw noName('parameter', `$${number}`, '42P02')
      if (value === null) return { kind: 'null' }
      const oid = oids[number - 1] ?? 0
      const given = oid === 0 || oid === UNKNOWN_OID ? type : TYPES.get(oid)
      // What the server would make of it on the way to its column must be what is judged.
      if (given === undefined || !isKin(given, type)) throw notPlain('a parameter of this type')
      const read = formatOf(number - 1) === 0 ? asText(value) : asBinary(value, given)
      return typed(read, given)
    },
  }
}

const UNKNOWN_OID = 705
const TEXTS: ReadonlySet<ColumnType> = new Set(['text', 'varchar'])

/** Whether a value of one type has the same spelling as one of the other. */
const isKin = (given: ColumnType, type: ColumnType): boolean =>
  given === type || TEXTS.has(given) || (WHOLE.has(given) && WHOLE.has(type))

/** What a text is, as a value of its type. */
function typed(read: string | boolean, type: ColumnType): Exclude<Plain, { kind: 'parameter' }> {
  if (typeof read === 'boolean') return { kind: 'bool', value: read }
  return { kind: WHOLE.has(type) ? 'number' : 'text', text: read }
}

const WHOLE: ReadonlySet<ColumnType> = new Set(['int2', 'int4', 'int8'])
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function asText(value: Buffer): string {
  try {
    return DECODER.decode(value)
  } catch {
    throw notPlain('a parameter that is no UTF-8')
  }
}

/** How binary values of a type are read; undefined for types that are not. */
export function textOfBinary(oid: number): ((value: Buffer) => string) | undefined {
  const type = TYPES.get(oid)
  if (type === 'uuid') {
    return (value) => value.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  }
  if (type === 'float8') return (value) => String(value.readDoubleBE())
  if (type === undefined || (type !== 'bool' && !WHOLE.has(type))) return undefined
  return (value) => String(asBinary(value, type))
}

function asBinary(value: Buffer, type: ColumnType): string | boolean {
  switch (type) {
    case 'text':
    case 'varchar':
      return asText(value)
    case 'bool':
      if (value.length === 1 && (value[0] === 0 || value[0] === 1)) return value[0] === 1
      break
    case 'int2':
      if (value.length === 2) return String(value.readInt16BE())
      break
    case 'int4':
      if (value.length === 4) return String(value.readInt32BE())
      break
    case 'int8':
      if (value.length === 8) return String(value.readBigInt64BE())
      break
    default:
  }
  throw notPlain(`a binary parameter of type ${type}`)
}

/** Types of the parameters as the server is told them: the caller's where it named any, else those of the columns they meet. */
export function sentOids(
  oids: readonly number[],
  count: number,
  types: ReadonlyMap<number, ColumnType>,
): number[] {
  const length = Math.max(oids.length, count, ...types.keys())
  return Array.from({ length }, (_, i) => {
    const given = oids[i] ?? 0
    const type = types.get(i + 1)
    return (given !== 0 && given !== UNKNOWN_OID) || type === undefined ? given : OIDS[type]
  })
}
