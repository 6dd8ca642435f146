import type { CedarType } from '../schema-types.ts'
import type { Column, Term } from './columns.ts'
import { bound, bounded64, scalar } from './compare.ts'
import { unsupported } from './text.ts'
import type { Translator } from './translate.ts'

const DAY = 86_400_000

const COMPARE: ReadonlyMap<string, string> = new Map([
  ['lessThan', '<'],
  ['lessThanOrEqual', '<='],
  ['greaterThan', '>'],
  ['greaterThanOrEqual', '>='],
])

const UNITS: ReadonlyMap<string, number> = new Map([
  ['toMilliseconds', 1],
  ['toSeconds', 1000],
  ['toMinutes', 60_000],
  ['toHours', 3_600_000],
  ['toDays', DAY],
])

/** An extension function of as many operands as it takes, one at least a column's. */
export function translateCall(translator: Translator, name: string, terms: readonly Term[]): Term {
  const [first, second] = terms
  const sql = (term: Term | undefined, kind: 'ipaddr' | 'decimal' | 'datetime' | 'duration') =>
    term === undefined || term.kind === 'error'
      ? undefined
      : scalar(term, { kind }, translator.parameters)
  const of = (result: string | undefined, type: CedarType): Term =>
    result === undefined ? { kind: 'error' } : { kind: 'column', sql: result, type }
  const bool = (result: string | undefined): Term => of(result && `(${result})`, { kind: 'bool' })
  const operator = COMPARE.get(name)
  if (operator !== undefined) {
    const [a, b] = [sql(first, 'decimal'), sql(second, 'decimal')]
    return bool(a !== undefined && b !== undefined ? `${a} ${operator} ${b}` : undefined)
  }
  const unit = UNITS.get(name)
  if (unit !== undefined) {
    const a = sql(first, 'duration')
    const result = of(a && `div(${a}::numeric, ${unit})`, { kind: 'long' })
    return result.kind === 'column' ? ({ ...result, numeric: true } satisfies Column) : result
  }
  switch (name) {
    case 'isIpv4':
    case 'isIpv6': {
      const a = sql(first, 'ipaddr')
      return bool(a && `family(${a}) = ${name === 'isIpv4' ? 4 : 6}`)
    }
    case 'isLoopback':
    case 'isMulticast': {
      const [v4, v6] = name === 'isLoopback' ? ['127.0.0.0/8', '::1'] : ['224.0.0.0/4', 'ff00::/8']
      const a = sql(first, 'ipaddr')
      return bool(a && `${a} <<= '${v4}'::inet OR ${a} <<= '${v6}'::inet`)
    }
    case 'isInRange': {
      const [a, b] = [sql(first, 'ipaddr'), sql(second, 'ipaddr')]
      return bool(a !== undefined && b !== undefined ? `${a} <<= ${b}` : undefined)
    }
    case 'offset': {
      const [a, b] = [sql(first, 'datetime'), sql(second, 'duration')]
      return sum(a, '+', b, { kind: 'datetime' })
    }
    case 'durationSince': {
      const [a, b] = [sql(first, 'datetime'), sql(second, 'datetime')]
      return sum(a, '-', b, { kind: 'duration' })
    }
    case 'toDate': {
      const a = sql(first, 'datetime')
      const whole = a && bound(`${a}::numeric`, (v) => `${v} - ${timeOfDay(v)}`)
      return of(whole && bounded64(whole), { kind: 'datetime' })
    }
    case 'toTime': {
      const a = sql(first, 'datetime')
      return of(a && timeOfDay(`${a}::numeric`), { kind: 'duration' })
    }
    default:
      throw unsupported(`\`${name}\` of what stands in a column`)
  }
}

/** mod of numerics is exact, and has the sign of its first operand. */
const timeOfDay = (ms: string): string => `mod(mod(${ms}, ${DAY}) + ${DAY}, ${DAY})`

function sum(a: string | undefined, sign: string, b: string | undefined, type: CedarType): Term {
  if (a === undefined || b === undefined) return { kind: 'error' }
  return { kind: 'column', sql: bounded64(`(${a}::numeric ${sign} ${b}::numeric)`), type }
}
