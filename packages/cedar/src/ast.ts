import { SallyportError } from '@sallyport/base'
import { restoreInteger } from './est.ts'
import type { ExprEst, UidEst } from './est.ts'
import { EXTENSIONS } from './extensions.ts'
import { toLong } from './long.ts'
import { segments } from './operators.ts'
import type { PatternElement } from './operators.ts'
import type { EntityUid } from './types.ts'

export type BinaryOperator =
  | '&&'
  | '||'
  | '=='
  | '!='
  | '<'
  | '<='
  | '>'
  | '>='
  | '+'
  | '-'
  | '*'
  | 'in'
  | 'contains'
  | 'containsAll'
  | 'containsAny'
  | 'hasTag'
  | 'getTag'

export type Variable = 'principal' | 'action' | 'resource' | 'context'

/** A Cedar expression. It is plain data: nothing in it refers to what it was made from. */
export type Expr =
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'long'; readonly value: bigint }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'entity'; readonly uid: EntityUid }
  | { readonly kind: 'variable'; readonly name: Variable }
  | { readonly kind: 'not' | 'negate' | 'isEmpty'; readonly operand: Expr }
  | {
      readonly kind: 'binary'
      readonly operator: BinaryOperator
      readonly left: Expr
      readonly right: Expr
    }
  | { readonly kind: 'if'; readonly test: Expr; readonly yes: Expr; readonly no: Expr }
  | { readonly kind: 'attribute'; readonly of: Expr; readonly name: string }
  /** `of has a.b.c`: whether each of these can be read in turn. */
  | { readonly kind: 'has'; readonly of: Expr; readonly path: readonly string[] }
  /** The literal texts between the wildcards: always one more than there are wildcards. */
  | { readonly kind: 'like'; readonly operand: Expr; readonly pattern: readonly string[] }
  | { readonly kind: 'is'; readonly operand: Expr; readonly type: string; readonly in?: Expr }
  | { readonly kind: 'set'; readonly items: readonly Expr[] }
  | { readonly kind: 'record'; readonly members: readonly (readonly [name: string, Expr])[] }
  /** An extension function; what is written as a method has its receiver first. */
  | { readonly kind: 'call'; readonly function: string; readonly args: readonly Expr[] }

/** One side of a policy's scope; the slots of templates are filled. */
export type ScopeAst =
  | { readonly kind: 'all' }
  | { readonly kind: 'is'; readonly type: string }
  | { readonly kind: 'eq'; readonly entity: EntityUid }
  /** In any of these; of type `type` too where that is given. */
  | { readonly kind: 'in'; readonly entities: readonly EntityUid[]; readonly type?: string }

export interface PolicyAst {
  readonly id: string
  readonly effect: 'permit' | 'forbid'
  readonly annotations: Readonly<Record<string, string>>
  readonly principal: ScopeAst
  readonly action: ScopeAst
  readonly resource: ScopeAst
  /** As written, in order. */
  readonly clauses: readonly { readonly kind: 'when' | 'unless'; readonly body: Expr }[]
  /** All clauses in one: joined by `&&`, each `unless` negated. Undefined where there is none. */
  readonly condition: Expr | undefined
}

export type Integers = ReadonlyMap<number, bigint>

const BINARY_OPERATORS: ReadonlySet<string> = new Set<BinaryOperator>([
  '&&',
  '||',
  '==',
  '!=',
  '<',
  '<=',
  '>',
  '>=',
  '+',
  '-',
  '*',
  'in',
  'contains',
  'containsAll',
  'containsAny',
  'hasTag',
  'getTag',
])
const VARIABLES: ReadonlySet<string> = new Set<Variable>([
  'principal',
  'action',
  'resource',
  'context',
])
const UNARY = { '!': 'not', neg: 'negate', isEmpty: 'isEmpty' } as const
const UNARY_EST = { not: '!', negate: 'neg', isEmpty: 'isEmpty' } as const

export function binary(operator: BinaryOperator, left: Expr, right: Expr): Expr {
  return { kind: 'binary', operator, left, right }
}

export const plainUid = ({ type, id }: EntityUid): EntityUid => ({ type, id })

const unsupported = (what: string): SallyportError =>
  new SallyportError('SP_CEDAR_UNSUPPORTED', `the policy uses \`${what.slice(0, 60)}\``)

/** Reads the JSON policy format. @throws SallyportError `SP_CEDAR_UNSUPPORTED` */
export function exprOf(est: ExprEst, integers: Integers): Expr {
  const inner = (expr: ExprEst): Expr => exprOf(expr, integers)
  const [operator, operands] = Object.entries(est)[0] ?? ['', undefined]
  // The compiler accepted this expression before, so the operands of each operator have these forms.
  const { left, right, arg } = (operands ?? {}) as Record<'left' | 'right' | 'arg', ExprEst>
  switch (operator) {
    case 'Value':
      return literalOf(operands, integers)
    case 'Var':
      return { kind: 'variable', name: variableOf(operands) }
    case 'Set':
      return { kind: 'set', items: (operands as ExprEst[]).map(inner) }
    case 'Record': {
      const members = Object.entries(operands as Record<string, ExprEst>)
      return { kind: 'record', members: members.map(([name, value]) => [name, inner(value)]) }
    }
    case 'if-then-else': {
      const parts = operands as Record<'if' | 'then' | 'else', ExprEst>
      return {
        kind: 'if',
        test: inner(parts.if),
        yes: inner(parts.then),
        no: inner(parts.else),
      }
    }
    case '!':
    case 'neg':
    case 'isEmpty':
      return { kind: UNARY[operator], operand: inner(arg) }
    case '.':
      return { kind: 'attribute', of: inner(left), name: (operands as { attr: string }).attr }
    case 'has': {
      const { attr } = operands as { attr: string | string[] }
      return { kind: 'has', of: inner(left), path: typeof attr === 'string' ? [attr] : [...attr] }
    }
    case 'like': {
      const { pattern } = operands as { pattern: PatternElement[] }
      return { kind: 'like', operand: inner(left), pattern: segments(pattern) }
    }
    case 'is': {
      const { entity_type: type, in: within } = operands as { entity_type: string; in?: ExprEst }
      const operand = inner(left)
      return within === undefined
        ? { kind: 'is', operand, type }
        : { kind: 'is', operand, type, in: inner(within) }
    }
    default:
      if (EXTENSIONS.has(operator)) {
        return { kind: 'call', function: operator, args: (operands as ExprEst[]).map(inner) }
      }
      if (!isBinary(operator)) throw unsupported(operator)
      return binary(operator, inner(left), inner(right))
  }
}

function isBinary(operator: string): operator is BinaryOperator {
  return BINARY_OPERATORS.has(operator)
}

function variableOf(name: unknown): Variable {
  if (typeof name !== 'string' || !isVariable(name)) throw unsupported(String(name))
  return name
}

function isVariable(name: string): name is Variable {
  return VARIABLES.has(name)
}

function literalOf(json: unknown, integers: Integers): Expr {
  switch (typeof json) {
    case 'boolean':
      return { kind: 'bool', value: json }
    case 'string':
      return { kind: 'string', value: json }
    case 'number':
      return { kind: 'long', value: BigInt(restoreInteger(json, integers)) }
    case 'bigint':
      return { kind: 'long', value: json }
    default:
      if (typeof json !== 'object' || json === null || !('__entity' in json)) {
        throw unsupported(JSON.stringify(json) ?? 'undefined')
      }
      // The parser's own output for an entity literal.
      return { kind: 'entity', uid: plainUid(json.__entity as UidEst) }
  }
}

/** An expression in the JSON policy format; integers that a double cannot hold stay bigints. */
export function estOf(expr: Expr): ExprEst {
  switch (expr.kind) {
    case 'bool':
    case 'string':
      return { Value: expr.value }
    case 'long':
      return { Value: toLong(expr.value) ?? expr.value }
    case 'entity':
      return { Value: { __entity: expr.uid } }
    case 'variable':
      return { Var: expr.name }
    case 'not':
    case 'negate':
    case 'isEmpty':
      return { [UNARY_EST[expr.kind]]: { arg: estOf(expr.operand) } }
    case 'binary':
      return { [expr.operator]: { left: estOf(expr.left), right: estOf(expr.right) } }
    case 'if':
      return {
        // eslint-disable-next-line unicorn/no-thenable -- the format's own name
        'if-then-else': { if: estOf(expr.test), then: estOf(expr.yes), else: estOf(expr.no) },
      }
    case 'attribute':
      return { '.': { left: estOf(expr.of), attr: expr.name } }
    case 'has': {
      const [only, ...more] = expr.path
      return { has: { left: estOf(expr.of), attr: more.length === 0 ? only : expr.path } }
    }
    case 'like':
      return { like: { left: estOf(expr.operand), pattern: patternOf(expr.pattern) } }
    case 'is': {
      const within = expr.in === undefined ? {} : { in: estOf(expr.in) }
      return { is: { left: estOf(expr.operand), entity_type: expr.type, ...within } }
    }
    case 'set':
      return { Set: expr.items.map(estOf) }
    case 'record':
      return {
        Record: Object.fromEntries(expr.members.map(([name, value]) => [name, estOf(value)])),
      }
    case 'call':
      return { [expr.function]: expr.args.map(estOf) }
  }
}

function patternOf(texts: readonly string[]): PatternElement[] {
  return texts.flatMap((text, i): PatternElement[] => {
    const literal: PatternElement[] = text === '' ? [] : [{ Literal: text }]
    return i === 0 ? literal : ['Wildcard', ...literal]
  })
}
