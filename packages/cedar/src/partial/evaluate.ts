import { binary, estOf } from '../ast.ts'
import type { BinaryOperator, Expr } from '../ast.ts'
import { compileValue } from '../compile.ts'
import { recordFromJson, refFromJson } from '../data.ts'
import type { EntityRecord, EntityStore } from '../entities.ts'
import { EXTENSIONS } from '../extensions.ts'
import { isLong } from '../long.ts'
import type { Env } from '../operators.ts'
import type { AttributeType, CedarType } from '../schema-types.ts'
import type { EntityUid } from '../types.ts'
import { EntityRef, EvaluationError, RecordValue, SetValue } from '../value.ts'
import type { Value } from '../value.ts'
import { literal } from './literal.ts'
import type { OpenPart, Part, PartialRequest, UnknownEntity } from './types.ts'

type Of<K extends Expr['kind']> = Extract<Expr, { readonly kind: K }>
type Lookup = Pick<EntityStore, 'find'>

const BOOL: CedarType = { kind: 'bool' }
const NO_INTEGERS: ReadonlyMap<number, bigint> = new Map()
const TYPES: Partial<Record<BinaryOperator, CedarType['kind']>> = {
  '+': 'long',
  '-': 'long',
  '*': 'long',
}

const known = (value: Value): Part => ({ kind: 'value', value })
const isUnknown = (entity: EntityUid | UnknownEntity): entity is UnknownEntity =>
  'unknown' in entity

/**
 * Evaluates what can be evaluated of an expression. INVARIANT: for every completion of what is unknown, the part gives
 * the value that the expression gives, and fails where it fails.
 */
export class PartialEvaluator {
  readonly #request: PartialRequest
  readonly #env: Env
  readonly #attributes = new Map<UnknownEntity, RecordValue>()

  /** @throws SallyportError `SP_CEDAR_VALUE` for known parts that are no Cedar values */
  constructor(request: PartialRequest, store: Lookup) {
    const { principal, action, resource, context } = request
    this.#request = request
    const [p, a, r] = [principal, action, resource].map((side) =>
      // An unknown one is never read from here: `evaluate` does not come to the compiler with it.
      isUnknown(side) ? new EntityRef('', '') : refFromJson({ type: side.type, id: side.id }),
    )
    const none = new EntityRef('', '')
    const record = (ref: EntityRef | undefined): EntityRecord | undefined =>
      ref === undefined || ref.type === '' ? undefined : store.find(ref)
    this.#env = {
      principal: p ?? none,
      action: a ?? none,
      resource: r ?? none,
      context: context.known instanceof RecordValue ? context.known : recordFromJson(context.known),
      principalRecord: record(p),
      actionRecord: record(a),
      resourceRecord: record(r),
      store,
    }
    for (const side of [principal, resource]) {
      if (isUnknown(side)) this.#attributes.set(side, recordFromJson(side.attributes ?? {}))
    }
  }

  evaluate(expr: Expr): Part {
    switch (expr.kind) {
      case 'bool':
      case 'long':
      case 'string':
      case 'entity':
        return this.#run(expr)
      case 'variable':
        return this.#variable(expr)
      case 'not': {
        const operand = this.evaluate(expr.operand)
        if (operand.kind !== 'open')
          return this.#fold([operand], ([a]) => ({ ...expr, operand: a }))
        const { expr: inner, total } = operand
        // Only a bool can be negated twice to itself.
        if (inner.kind === 'not' && isBool(this.#typeOf(inner.operand))) {
          return { kind: 'open', expr: inner.operand, type: BOOL, total }
        }
        return open({ ...expr, operand: inner }, BOOL, total && isBool(operand.type))
      }
      case 'negate':
        return this.#fold([this.evaluate(expr.operand)], ([a]) => ({ ...expr, operand: a }), {
          kind: 'long',
        })
      case 'isEmpty':
        return this.#fold([this.evaluate(expr.operand)], ([a]) => ({ ...expr, operand: a }), BOOL)
      case 'binary':
        return this.#binary(expr)
      case 'if':
        return this.#if(expr)
      case 'attribute':
        return this.#attribute(expr)
      case 'has':
        return this.#has(expr)
      case 'like':
        return this.#fold([this.evaluate(expr.operand)], ([a]) => ({ ...expr, operand: a }), BOOL)
      case 'is':
        return this.#is(expr)
      case 'set':
        return this.#fold(
          expr.items.map((item) => this.evaluate(item)),
          (items) => ({
            kind: 'set',
            items,
          }),
        )
      case 'record':
        return this.#fold(
          expr.members.map(([, value]) => this.evaluate(value)),
          (values) => ({
            kind: 'record',
            members: expr.members.map(([name, value], i) => [name, values[i] ?? value]),
          }),
        )
      case 'call': {
        const type = EXTENSIONS.get(expr.function)?.bool === true ? BOOL : undefined
        const parts = expr.args.map((arg) => this.evaluate(arg))
        return this.#fold(parts, (args) => ({ ...expr, args }), type)
      }
    }
  }

  /** For an operator that evaluates all its operands: it fails where one of them does. */
  #fold(
    parts: readonly Part[],
    make: (operands: [Expr, ...Expr[]]) => Expr,
    type?: CedarType,
  ): Part {
    for (const part of parts) if (part.kind === 'error') return part
    // What makes an operator takes as many operands as it is given parts.
    const operands = parts.map(exprOf) as [Expr, ...Expr[]]
    const expr = make(operands)
    return parts.every(({ kind }) => kind === 'value') ? this.#run(expr) : open(expr, type)
  }

  /** Evaluates an expression of which all is known. */
  #run(expr: Expr): Part {
    try {
      return known(compileValue(estOf(expr), NO_INTEGERS)(this.#env))
    } catch (error) {
      if (!(error instanceof EvaluationError)) throw error
      return { kind: 'error', message: error.message }
    }
  }

  #variable(expr: Of<'variable'>): Part {
    const { context, action } = this.#request
    switch (expr.name) {
      case 'action':
        return known(new EntityRef(action.type, action.id))
      case 'context':
        return context.unknown === undefined
          ? known(this.#env.context)
          : open(expr, context.unknown, true)
      default: {
        const side = this.#request[expr.name]
        if (!isUnknown(side)) return known(this.#env[expr.name])
        return { ...open(expr, { kind: 'entity', type: side.type }, true), entity: side }
      }
    }
  }

  #typeOf(expr: Expr): CedarType | undefined {
    const part = this.evaluate(expr)
    return part.kind === 'open' ? part.type : undefined
  }

  #binary(expr: Of<'binary'>): Part {
    const { operator } = expr
    if (operator === '&&' || operator === '||') return this.#logic(expr, operator === '||')
    const left = this.evaluate(expr.left)
    const right = this.evaluate(expr.right)
    if (left.kind === 'error') return left
    if (right.kind === 'error') return right
    const settled = this.#settled(operator, left, right)
    if (settled !== undefined) return known(settled)
    const type = TYPES[operator]
    const part = this.#fold(
      [left, right],
      ([a, b]) => binary(operator, a, b ?? expr.right),
      operator === 'getTag' ? undefined : type === undefined ? BOOL : { kind: 'long' },
    )
    return part.kind === 'open' ? { ...part, total: cannotFail(operator, left, right) } : part
  }

  /** What types, and ancestors that are known, settle although an operand is unknown. */
  #settled(operator: BinaryOperator, left: Part, right: Part): boolean | undefined {
    if (operator === '==' || operator === '!=') {
      const same = couldBeEqual(left, right) && couldBeEqual(right, left)
      return same ? undefined : operator === '!='
    }
    if (operator !== 'in' || left.kind !== 'open' || left.entity === undefined) return undefined
    if (right.kind !== 'value' || left.entity.ancestors === undefined) return undefined
    const targets =
      right.value instanceof EntityRef
        ? [right.value]
        : right.value instanceof SetValue
          ? [...right.value.values()]
          : undefined
    const refs = targets?.filter((target) => target instanceof EntityRef)
    // Anything but entities makes it fail, which is left to be evaluated.
    if (refs === undefined || refs.length !== targets?.length) return undefined
    const { type, ancestors, mayBe } = left.entity
    const inside = refs.some((ref) =>
      ancestors.some((ancestor) => ancestor.type === ref.type && ancestor.id === ref.id),
    )
    if (inside) return true
    const self = refs.some((ref) => ref.type === type && (mayBe?.(ref.id) ?? true))
    return self ? undefined : false
  }

  #logic(expr: Of<'binary'>, decisive: boolean): Part {
    const left = this.evaluate(expr.left)
    if (left.kind === 'error') return left
    if (left.kind === 'value') {
      if (typeof left.value !== 'boolean')
        return this.#run({ kind: 'not', operand: literal(left.value) })
      if (left.value === decisive) return left
      return this.#asserted(this.evaluate(expr.right))
    }
    const right = this.evaluate(expr.right)
    const neutral = right.kind === 'value' && right.value === !decisive
    if (neutral && isBool(left.type)) return left
    if (right.kind === 'value' && right.value === decisive && isBool(left.type) && left.total) {
      return right
    }
    const total = left.total && isBool(left.type) && isTotalBool(right)
    return open(binary(expr.operator, left.expr, keep(right, expr.right)), BOOL, total)
  }

  /** What must be a bool to be of use. */
  #asserted(part: Part): Part {
    if (part.kind === 'error') return part
    if (part.kind === 'value') {
      if (typeof part.value === 'boolean') return part
      return this.#run({ kind: 'not', operand: literal(part.value) })
    }
    if (isBool(part.type)) return part
    return open(binary('&&', { kind: 'bool', value: true }, part.expr), BOOL)
  }

  #if(expr: Of<'if'>): Part {
    const test = this.#asserted(this.evaluate(expr.test))
    if (test.kind === 'error') return test
    if (test.kind === 'value') return this.evaluate(test.value === true ? expr.yes : expr.no)
    const yes = this.evaluate(expr.yes)
    const no = this.evaluate(expr.no)
    const bools = [yes, no].every(
      (part) =>
        part.kind === 'error' ||
        (part.kind === 'value' ? typeof part.value === 'boolean' : isBool(part.type)),
    )
    const residual: Expr = {
      kind: 'if',
      test: test.expr,
      yes: keep(yes, expr.yes),
      no: keep(no, expr.no),
    }
    return open(residual, bools ? BOOL : undefined)
  }

  #attribute(expr: Of<'attribute'>): Part {
    const of = this.evaluate(expr.of)
    if (of.kind !== 'open') return this.#fold([of], ([a]) => ({ ...expr, of: a }))
    const member = this.#member(of, expr.name)
    if (member.kind === 'known') return known(member.value)
    const residual: Expr = { ...expr, of: of.expr }
    if (member.kind === 'absent') {
      return of.total
        ? { kind: 'error', message: `record does not have \`${expr.name}\`` }
        : open(residual)
    }
    return open(residual, member.type, of.total && member.required)
  }

  #member(of: OpenPart, name: string): Member {
    if (of.entity !== undefined) {
      const value = this.#attributes.get(of.entity)?.fields.get(name)
      if (value !== undefined) return { kind: 'known', value }
    }
    if (of.type?.kind !== 'record') return { kind: 'open', type: undefined, required: false }
    if (of.expr.kind === 'variable') {
      const value = this.#env.context.fields.get(name)
      if (value !== undefined) return { kind: 'known', value }
    }
    const attribute: AttributeType | undefined = of.type.attributes.get(name)
    return attribute === undefined ? { kind: 'absent' } : { kind: 'open', ...attribute }
  }

  #has(expr: Of<'has'>): Part {
    const of = this.evaluate(expr.of)
    if (of.kind !== 'open') return this.#fold([of], ([a]) => ({ ...expr, of: a }))
    const [name, ...rest] = expr.path
    if (name === undefined || !of.total) return open({ ...expr, of: of.expr }, BOOL)
    const member = this.#member(of, name)
    if (member.kind === 'absent') return known(false)
    if (member.kind === 'known') {
      if (rest.length === 0) return known(true)
      return this.#run({ kind: 'has', of: literal(member.value), path: rest })
    }
    if (rest.length === 0 && member.required) return known(true)
    const total = of.type?.kind === 'record' || of.entity !== undefined
    return open({ ...expr, of: of.expr }, BOOL, total && rest.length === 0)
  }

  #is(expr: Of<'is'>): Part {
    const operand = this.evaluate(expr.operand)
    if (operand.kind === 'open' && operand.type?.kind === 'entity' && operand.total) {
      if (operand.type.type !== expr.type) return known(false)
      if (expr.in === undefined) return known(true)
      return this.evaluate(binary('in', expr.operand, expr.in))
    }
    if (expr.in === undefined) {
      return this.#fold([operand], ([a]) => ({ ...expr, operand: a }), BOOL)
    }
    if (operand.kind === 'error') return operand
    if (operand.kind === 'value') {
      const typed = this.#run({ kind: 'is', operand: literal(operand.value), type: expr.type })
      if (typed.kind !== 'value' || typed.value !== true) return typed
      return this.evaluate(binary('in', expr.operand, expr.in))
    }
    const target = keep(this.evaluate(expr.in), expr.in)
    return open({ ...expr, operand: operand.expr, in: target }, BOOL)
  }
}

/** Whether an operator gives a bool for every completion of its operands. */
function cannotFail(operator: BinaryOperator, left: Part, right: Part): boolean {
  if (!isTotal(left) || !isTotal(right)) return false
  switch (operator) {
    case '==':
    case '!=':
      return true
    case '<':
    case '<=':
    case '>':
    case '>=':
      return kindOf(left) === 'long' && kindOf(right) === 'long'
    case 'contains':
      return kindOf(left) === 'set'
    case 'containsAll':
    case 'containsAny':
      return kindOf(left) === 'set' && kindOf(right) === 'set'
    default:
      return false
  }
}

const isTotal = (part: Part): boolean =>
  part.kind === 'value' || (part.kind === 'open' && part.total)

function kindOf(part: Part): CedarType['kind'] | undefined {
  if (part.kind === 'open') return part.type?.kind
  if (part.kind === 'error') return undefined
  if (part.value instanceof SetValue) return 'set'
  return isLong(part.value) ? 'long' : undefined
}

type Member =
  | { readonly kind: 'known'; readonly value: Value }
  | { readonly kind: 'absent' }
  | { readonly kind: 'open'; readonly type: CedarType | undefined; readonly required: boolean }

const open = (expr: Expr, type?: CedarType, total = false): OpenPart => ({
  kind: 'open',
  expr,
  type,
  total,
})

const isBool = (type: CedarType | undefined): boolean => type?.kind === 'bool'

const isTotalBool = (part: Part): boolean =>
  part.kind === 'value'
    ? typeof part.value === 'boolean'
    : part.kind === 'open' && part.total && isBool(part.type)

/** A part as an expression; one that fails stays as it was written. */
function keep(part: Part, written: Expr): Expr {
  return part.kind === 'error' ? written : exprOf(part)
}

function exprOf(part: Exclude<Part, { kind: 'error' }> | Part): Expr {
  if (part.kind === 'value') return literal(part.value)
  if (part.kind === 'open') return part.expr
  throw new TypeError('a part that fails has no value')
}

/** False where `unknown` is a part that cannot fail and whose type excludes the other's value. */
function couldBeEqual(unknown: Part, other: Part): boolean {
  if (unknown.kind !== 'open' || !unknown.total || unknown.type?.kind !== 'entity') return true
  if (other.kind !== 'value') return true
  if (!(other.value instanceof EntityRef) || other.value.type !== unknown.type.type) return false
  return unknown.entity?.mayBe?.(other.value.id) ?? true
}
