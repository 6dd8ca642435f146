import type { BinaryOperator, Expr } from '../ast.ts'
import { EXTENSIONS } from '../extensions.ts'
import type { PartialEvaluator } from '../partial/evaluate.ts'
import type { Part } from '../partial/types.ts'
import { EntityRef } from '../value.ts'
import { translateCall } from './calls.ts'
import type { Column, RowMap, Term } from './columns.ts'
import { bounded64, compared, equality, FAILED, mismatch, scalar } from './compare.ts'
import { contains, containsAll, containsAny, isEmpty, setOfAll } from './collections.ts'
import type { Hierarchy } from './hierarchy.ts'
import { isIn } from './membership.ts'
import { readAttribute, readHas, readTag } from './read.ts'
import { unsupported } from './text.ts'
import type { Parameters } from './text.ts'
import { typeOf } from './values.ts'

/** The variable itself: its attributes are the row's columns. */
export interface Row {
  readonly map: RowMap
  readonly column: Column
}

const COMPARISONS: ReadonlySet<string> = new Set(['<', '<=', '>', '>='])
const ERROR: Term = { kind: 'error' }

/**
 * Writes residual expressions over one row as SQL. INVARIANT: for every row, the SQL is TRUE, FALSE or NULL as the
 * expression is true, false or fails; it never raises an error.
 */
export class Translator {
  readonly row: Row
  readonly parameters: Parameters
  readonly hierarchy: Hierarchy
  readonly #evaluator: PartialEvaluator
  readonly #parts = new WeakMap<Expr, Part>()

  constructor(row: Row, parameters: Parameters, hierarchy: Hierarchy, evaluator: PartialEvaluator) {
    this.row = row
    this.parameters = parameters
    this.hierarchy = hierarchy
    this.#evaluator = evaluator
  }

  /** TRUE exactly where the expression is true: FALSE and NULL are one, which lets an index be used. */
  truth(expr: Expr): string {
    if (expr.kind === 'binary' && expr.operator === '&&') {
      return `(${this.truth(expr.left)} AND ${this.truth(expr.right)})`
    }
    return this.bool(expr)
  }

  /** Of type boolean; NULL where the expression fails or is no bool. */
  bool(expr: Expr): string {
    const term = this.term(expr)
    if (term.kind === 'value' && typeof term.value === 'boolean') {
      return term.value ? 'TRUE' : 'FALSE'
    }
    return term.kind === 'column' && term.type.kind === 'bool' ? term.sql : FAILED
  }

  term(expr: Expr): Term {
    let part = this.#parts.get(expr)
    if (part === undefined) {
      part = this.#evaluator.evaluate(expr)
      this.#parts.set(expr, part)
    }
    if (part.kind === 'error') return ERROR
    return part.kind === 'value' ? part : this.#open(expr)
  }

  #open(expr: Expr): Term {
    switch (expr.kind) {
      case 'variable':
        return this.row.column
      case 'not':
        return logical(`NOT ${this.bool(expr.operand)}`)
      case 'negate':
        return this.#arithmetic('-', { kind: 'value', value: 0 }, this.term(expr.operand))
      case 'isEmpty':
        return logical(isEmpty(this.term(expr.operand)))
      case 'binary':
        return this.#binary(expr.operator, expr.left, expr.right)
      case 'if':
        return this.#if(expr)
      case 'attribute':
        return readAttribute(this, expr.of, expr.name)
      case 'has':
        return logical(readHas(this, expr.of, expr.path))
      case 'like':
        return this.#like(this.term(expr.operand), expr.pattern)
      case 'is':
        return this.#is(expr)
      case 'set':
        return setOfAll(expr.items.map((item) => this.term(item)))
      case 'call': {
        if (EXTENSIONS.get(expr.function)?.arity !== expr.args.length) return ERROR
        return translateCall(
          this,
          expr.function,
          expr.args.map((arg) => this.term(arg)),
        )
      }
      default:
        throw unsupported('a record made of columns')
    }
  }

  #binary(operator: BinaryOperator, left: Expr, right: Expr): Term {
    // CASE reads its operand once, and NULL meets no WHEN: the failure of a left side is that of the whole.
    if (operator === '&&') {
      return logical(
        `CASE ${this.bool(left)} WHEN TRUE THEN ${this.bool(right)} WHEN FALSE THEN FALSE END`,
      )
    }
    if (operator === '||') {
      return logical(
        `CASE ${this.bool(left)} WHEN TRUE THEN TRUE WHEN FALSE THEN ${this.bool(right)} END`,
      )
    }
    const [a, b] = [this.term(left), this.term(right)]
    if (a.kind === 'error' || b.kind === 'error') return ERROR
    if (COMPARISONS.has(operator)) return compared(operator, a, b, this.parameters)
    switch (operator) {
      case '==':
        return logical(equality(a, b, this.parameters))
      case '!=':
        return logical(`NOT ${equality(a, b, this.parameters)}`)
      case '+':
      case '-':
      case '*':
        return this.#arithmetic(operator, a, b)
      case 'in':
        return logical(isIn(this, a, b))
      case 'contains':
        return logical(contains(a, b, this.parameters))
      case 'containsAll':
        return logical(containsAll(a, b, this.parameters))
      case 'containsAny':
        return logical(containsAny(a, b, this.parameters))
      case 'hasTag':
      case 'getTag':
        return readTag(this, operator, a, b)
      default:
        throw unsupported(`\`${operator}\``)
    }
  }

  #arithmetic(operator: '+' | '-' | '*', a: Term, b: Term): Term {
    const [x, y] = [this.#long(a), this.#long(b)]
    if (x === undefined || y === undefined) return ERROR
    return {
      kind: 'column',
      sql: bounded64(`(${x} ${operator} ${y})`),
      type: { kind: 'long' },
      numeric: true,
    }
  }

  /** As numeric, whose arithmetic neither wraps nor raises an error. */
  #long(term: Term): string | undefined {
    if (
      term.kind === 'value' &&
      (typeof term.value === 'number' || typeof term.value === 'bigint')
    ) {
      return this.parameters.one(String(term.value), 'numeric')
    }
    return term.kind === 'column' && term.type.kind === 'long' ? `${term.sql}::numeric` : undefined
  }

  #if(expr: Extract<Expr, { kind: 'if' }>): Term {
    const test = this.bool(expr.test)
    const [yes, no] = [this.term(expr.yes), this.term(expr.no)]
    const column = [yes, no].find((term) => term.kind === 'column')
    const type = column?.type ?? valueType(yes) ?? valueType(no)
    if (type === undefined) return ERROR
    if (type.kind === 'set' || type.kind === 'record') throw unsupported('a set or record by `if`')
    const sides = [yes, no].map((term) => {
      const sql = scalar(term, type, this.parameters)
      if (sql === undefined) throw unsupported('an `if` whose branches differ in type')
      return sql
    })
    const numeric = [yes, no].some((term) => term.kind === 'column' && term.numeric === true)
    return {
      kind: 'column',
      sql: `(CASE ${test} WHEN TRUE THEN ${sides[0]} WHEN FALSE THEN ${sides[1]} END)`,
      type,
      ...(numeric ? { numeric } : {}),
    }
  }

  #like(term: Term, pattern: readonly string[]): Term {
    if (term.kind !== 'column' || term.type.kind !== 'string') return ERROR
    const escaped = pattern.map((text) => text.replace(/[!%_]/g, '!$&')).join('%')
    return logical(`${term.sql} LIKE ${this.parameters.one(escaped, 'text')} ESCAPE '!'`)
  }

  #is(expr: Extract<Expr, { kind: 'is' }>): Term {
    const term = this.term(expr.operand)
    // An entity that is known meets only a target that is not.
    if (term.kind === 'value' && term.value instanceof EntityRef) {
      if (term.value.type !== expr.type) return { kind: 'value', value: false }
    } else if (term.kind !== 'column' || term.type.kind !== 'entity') return ERROR
    else if (term.type.type !== expr.type) return logical(mismatch([term], 'FALSE'))
    else if (expr.in === undefined) return logical(mismatch([term], 'TRUE'))
    return expr.in === undefined
      ? { kind: 'value', value: true }
      : logical(isIn(this, term, this.term(expr.in)))
  }
}

const logical = (sql: string): Column => ({
  kind: 'column',
  sql: `(${sql})`,
  type: { kind: 'bool' },
})

function valueType(term: Term): Column['type'] | undefined {
  if (term.kind === 'column') return term.type
  if (term.kind === 'value') return typeOf(term.value)
  return term.kind === 'list' ? { kind: 'set', element: { kind: 'bool' } } : undefined
}
