import type { CedarJson } from '@sallyport/cedar'
import type { ColumnType } from '@sallyport/network'
import { SqlRefusal } from '../refuse.ts'
import { columnType, quoteText } from './names.ts'
import { flagOf, numberOf, only, plain, textOf, unwrap } from './nodes.ts'
import type { Node } from './nodes.ts'

/** A value that stands in a statement by itself, or comes with it as a parameter. */
export type Plain =
  | { readonly kind: 'null' }
  | { readonly kind: 'text' | 'number'; readonly text: string }
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'parameter'; readonly number: number }

/** Types whose values policies read. */
type Judged = 'bool' | 'int2' | 'int4' | 'int8' | 'text' | 'varchar'

const JUDGED: ReadonlySet<ColumnType> = new Set(['bool', 'int2', 'int4', 'int8', 'text', 'varchar'])
export const isJudged = (type: ColumnType): type is Judged => JUDGED.has(type)

/** The constant in an `A_Const`. */
export function constant(node: Node): Plain {
  only(node, 'this constant', 'isnull', 'ival', 'fval', 'sval', 'boolval')
  if (node['isnull'] !== undefined) return { kind: 'null' }
  if (node['ival'] !== undefined) {
    return { kind: 'number', text: String(numberOf(plain(node['ival'])['ival'])) }
  }
  if (node['fval'] !== undefined)
    return { kind: 'number', text: textOf(plain(node['fval'])['fval']) }
  if (node['boolval'] !== undefined) {
    return { kind: 'bool', value: flagOf(plain(node['boolval'])['boolval']) }
  }
  return { kind: 'text', text: textOf(plain(node['sval'])['sval']) }
}

/** What a node comes to where it is a plain value, casts between it and its own type aside. */
export function plainOf(value: unknown): Plain | undefined {
  const [kind, node] = unwrap(value)
  if (kind === 'A_Const') return constant(node)
  if (kind === 'ParamRef') return { kind: 'parameter', number: numberOf(node['number']) }
  return undefined
}

const NUMBER = /^\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$|^\.\d+(?:[eE][+-]?\d+)?$/

/** The value as it is sent. */
export function plainSql(value: Plain): string {
  switch (value.kind) {
    case 'null':
      return 'NULL'
    case 'bool':
      return value.value ? 'TRUE' : 'FALSE'
    case 'parameter':
      return `$${value.number}`
    case 'number': {
      // The parser has folded a sign in; other spellings (0x1F, 1_000) it keeps, and they are few.
      const digits = value.text.replace(/^-/, '')
      if (!NUMBER.test(digits)) throw notPlain('a number in this spelling')
      return digits === value.text ? digits : `(-${digits})`
    }
    default:
      return quoteText(value.text)
  }
}

/** The value as it is sent where it meets a column, so that the server reads it as it was judged. */
export const typedSql = (value: Plain, type: ColumnType): string =>
  `CAST(${plainSql(value)} AS ${columnType(type)})`

const WHOLE = /^-?(?:0|[1-9]\d{0,15})$/

/**
 * What policies read of a value that a column is compared with or set to; undefined for NULL.
 *
 * @throws SqlRefusal `SP_SQL_VALUE` where the server could read it in another way
 */
export function judgedValue(
  value: Plain,
  type: Judged,
  parameters: Parameters,
): CedarJson | undefined {
  const given = value.kind === 'parameter' ? parameters.read(value.number, type) : value
  if (given.kind === 'null') return undefined
  switch (type) {
    case 'bool':
      if (given.kind === 'bool') return given.value
      if (given.kind === 'text' && /^(?:t|f|true|false)$/.test(given.text))
        return given.text.startsWith('t')
      throw notPlain('a bool that is not written `true` or `false`')
    case 'text':
    case 'varchar':
      if (given.kind === 'text') return given.text
      throw notPlain('a text that is not written as one')
    default: {
      const text = given.kind === 'bool' ? '' : given.text
      const number = Number(text)
      if (WHOLE.test(text) && Number.isSafeInteger(number) && text !== '-0') return number
      throw notPlain('a whole number that is not written as one')
    }
  }
}

/** Values that come beside the text. */
export interface Parameters {
  /** @throws SqlRefusal `SP_SQL_VALUE` */
  read(number: number, type: ColumnType): Exclude<Plain, { kind: 'parameter' }>
}

export const notPlain = (what: string): SqlRefusal =>
  new SqlRefusal('SP_SQL_VALUE', `${what} cannot be judged`, '22023')
