import { asBool, boolean } from './code.ts'
import type { BoolCode, Code, Compiled, Operator } from './code.ts'
import { add, isLong, multiply, subtract } from './long.ts'
import type { Long } from './long.ts'
import {
  isIn,
  missing,
  noEntity,
  noOverflow,
  recordOf,
  toEntity,
  toLong,
  toSet,
  toText,
} from './operators.ts'
import { DatetimeValue, DurationValue, equal, typeError } from './value.ts'
import type { Value } from './value.ts'

/** Operators of two operands but `&&`, which is compiled with its neighbours. */
export const BINARY: ReadonlyMap<string, (left: Compiled, right: Compiled) => Compiled> = new Map<
  string,
  (left: Compiled, right: Compiled) => Compiled
>([
  [
    '||',
    (left, right) => {
      const [a, b] = [asBool(left), asBool(right)]
      return boolean((env) => a(env) || b(env))
    },
  ],
  ['==', (left, right) => comparison('==', equality(left, right), left, right)],
  [
    '!=',
    (left, right) => {
      const same = equality(left, right)
      return comparison('!=', (env) => !same(env), left, right)
    },
  ],
  ['<', (left, right) => comparison('<', ordering('<', left, right), left, right)],
  ['<=', (left, right) => comparison('<=', ordering('<=', left, right), left, right)],
  ['>', (left, right) => comparison('>', ordering('>', left, right), left, right)],
  ['>=', (left, right) => comparison('>=', ordering('>=', left, right), left, right)],
  ['+', arithmetic(add, '+')],
  ['-', arithmetic(subtract, '-')],
  ['*', arithmetic(multiply, '*')],
  [
    'in',
    ({ run: left }, { run: right }) => boolean((env) => isIn(env, toEntity(left(env)), right(env))),
  ],
  [
    'contains',
    ({ run: left }, { run: right }) =>
      boolean((env) => {
        const set = toSet(left(env))
        return set.has(right(env))
      }),
  ],
  [
    'containsAll',
    ({ run: left }, { run: right }) =>
      boolean((env) => toSet(left(env)).containsAll(toSet(right(env)))),
  ],
  [
    'containsAny',
    ({ run: left }, { run: right }) =>
      boolean((env) => toSet(left(env)).containsAny(toSet(right(env)))),
  ],
  [
    'hasTag',
    ({ run: left }, { run: right }) =>
      boolean((env) => {
        const entity = toEntity(left(env))
        const tag = toText(right(env))
        return recordOf(env, entity)?.tags.has(tag) ?? false
      }),
  ],
  [
    'getTag',
    ({ run: left }, { run: right }) => ({
      run: (env) => {
        const entity = toEntity(left(env))
        const tag = toText(right(env))
        const record = recordOf(env, entity)
        if (!record) throw noEntity(entity)
        const value = record.tags.get(tag)
        if (value === undefined) throw missing(`entity of type \`${entity.type}\``, tag)
        return value
      },
    }),
  ],
])

/** A comparison, also told as data where it is that simple. */
function comparison(
  operator: Operator,
  code: BoolCode,
  { read }: Compiled,
  { constant: literal }: Compiled,
): Compiled {
  const equality = operator === '==' || operator === '!='
  if (read === undefined || literal === undefined || typeof literal === 'object') {
    return boolean(code)
  }
  if (!equality && typeof literal !== 'number') return boolean(code)
  return { ...boolean(code), comparison: { operator, read, literal } }
}

function equality(left: Compiled, right: Compiled): BoolCode {
  const [a, b] = [left.run, right.run]
  const known = right.constant
  if (known !== undefined && typeof known !== 'object') return (env) => a(env) === known
  return (env) => equal(a(env), b(env))
}

type Order = '<' | '<=' | '>' | '>='

function ordering(order: Order, left: Compiled, right: Compiled): BoolCode {
  const [a, b] = [left.run, right.run]
  const known = right.constant
  if (typeof known === 'number') return againstNumber(order, a, known)
  return (env) => {
    const value = a(env)
    return ordered(order, value, b(env))
  }
}

/** `path < 100`, the commonest comparison by far, without a call between. */
function againstNumber(order: Order, run: Code, known: number): BoolCode {
  const other = (value: Value): boolean => ordered(order, value, known)
  switch (order) {
    case '<':
      return (env) => {
        const value = run(env)
        return typeof value === 'number' ? value < known : other(value)
      }
    case '<=':
      return (env) => {
        const value = run(env)
        return typeof value === 'number' ? value <= known : other(value)
      }
    case '>':
      return (env) => {
        const value = run(env)
        return typeof value === 'number' ? value > known : other(value)
      }
    default:
      return (env) => {
        const value = run(env)
        return typeof value === 'number' ? value >= known : other(value)
      }
  }
}

/** Whether `a` is below, at most, … `b`. @throws EvaluationError for values that have no order */
export function ordered(order: Order, a: Value, b: Value): boolean {
  return inOrder(order, compare(a, b))
}

function inOrder(order: Order, sign: number): boolean {
  switch (order) {
    case '<':
      return sign < 0
    case '<=':
      return sign <= 0
    case '>':
      return sign > 0
    default:
      return sign >= 0
  }
}

/** Below, at or above 0, as `a` is below, at or above `b`. */
function compare(a: Value, b: Value): number {
  if (isLong(a) && isLong(b)) return sign(a, b)
  if (a instanceof DatetimeValue && b instanceof DatetimeValue) return sign(a.ms, b.ms)
  if (a instanceof DurationValue && b instanceof DurationValue) return sign(a.ms, b.ms)
  throw typeError('two of long, datetime or duration', isLong(a) ? b : a)
}

const sign = (a: Long, b: Long): number => (a < b ? -1 : a > b ? 1 : 0)

function arithmetic(operate: (a: Long, b: Long) => Long | undefined, sign: string) {
  return ({ run: left }: Compiled, { run: right }: Compiled): Compiled => ({
    run: (env) => {
      const a = toLong(left(env))
      return noOverflow(operate(a, toLong(right(env))), sign)
    },
  })
}
