import { estOf } from './ast.ts'
import type { Expr, Integers } from './ast.ts'
import { restoreInteger } from './est.ts'
import type { ExprEst, UidEst } from './est.ts'
import type { PatternElement } from './operators.ts'
import { EXTENSIONS, DATA_CONSTRUCTORS } from './extensions.ts'
import { renderIp } from './ip.ts'
import { isLong } from './long.ts'
import type { Long } from './long.ts'
import {
  DatetimeValue,
  DecimalValue,
  DurationValue,
  EntityRef,
  IpValue,
  RecordValue,
  SetValue,
} from './value.ts'
import type { Value } from './value.ts'

/** How tightly each operator binds; operands of looser ones get parentheses. */
const BINDING: Readonly<Record<string, number>> = {
  'if-then-else': 0,
  '||': 1,
  '&&': 2,
  '==': 3,
  '!=': 3,
  '<': 3,
  '<=': 3,
  '>': 3,
  '>=': 3,
  in: 3,
  has: 3,
  like: 3,
  is: 3,
  '+': 4,
  '-': 4,
  '*': 5,
  '!': 6,
  neg: 6,
}
const TIGHTEST = 7
/** What a minus sign stands before: as tight, and no literal. */
const SIGN = 6.5

/** An expression of an AST as Cedar text, on one line. */
export function renderAst(expr: Expr): string {
  return renderExpr(estOf(expr), NO_INTEGERS)
}

const NO_INTEGERS: Integers = new Map()

/** An expression as Cedar text. */
export function renderExpr(expr: ExprEst, integers: Integers): string {
  return new Renderer(integers).render(expr)
}

export const renderUid = ({ type, id }: UidEst): string => `${type}::${renderText(id)}`

class Renderer {
  readonly #integers: Integers

  constructor(integers: Integers) {
    this.#integers = integers
  }

  #inside(expr: ExprEst, binding: number): string {
    const [operator = ''] = Object.keys(expr)
    const text = this.render(expr)
    // `-5` binds as `-` does, and `-(0)` is another expression than the literal `-0`.
    const value = expr['Value']
    if (isLong(value) && (value < 0 || binding === SIGN)) {
      return binding >= SIGN ? `(${text})` : text
    }
    return (BINDING[operator] ?? TIGHTEST) < binding ? `(${text})` : text
  }

  render(expr: ExprEst): string {
    const [operator, operands] = Object.entries(expr)[0] ?? ['', undefined]
    const binding = BINDING[operator] ?? TIGHTEST
    // The compiler accepted this expression before it is ever rendered, so its operands have these forms.
    const { left, right, arg } = (operands ?? {}) as Record<'left' | 'right' | 'arg', ExprEst>
    const target = (): string => this.#inside(left, TIGHTEST)
    switch (operator) {
      case 'Value':
        return this.#literal(operands)
      case 'Var':
        return String(operands)
      case 'Set':
        return `[${(operands as ExprEst[]).map((item) => this.render(item)).join(', ')}]`
      case 'Record': {
        const members = Object.entries(operands as Record<string, ExprEst>)
        return `{${members.map(([k, v]) => `${renderText(k)}: ${this.render(v)}`).join(', ')}}`
      }
      case 'if-then-else': {
        const parts = operands as Record<'if' | 'then' | 'else', ExprEst>
        return `if ${this.render(parts.if)} then ${this.render(parts.then)} else ${this.render(parts.else)}`
      }
      case '!':
        return `!${this.#inside(arg, 6)}`
      case 'neg':
        return `-${this.#inside(arg, SIGN)}`
      case 'isEmpty':
        return `${this.#inside(arg, TIGHTEST)}.isEmpty()`
      case '.':
        return `${target()}${member((operands as { attr: string }).attr)}`
      case 'has': {
        const { attr } = operands as { attr: string | string[] }
        const path = typeof attr === 'string' ? [attr] : attr
        const name = path.every(isWord) ? path.join('.') : renderText(path.join('.'))
        return `${this.#inside(left, 4)} has ${name}`
      }
      case 'like':
        return `${this.#inside(left, 4)} like ${pattern((operands as { pattern: PatternElement[] }).pattern)}`
      case 'is': {
        const { entity_type: type, in: within } = operands as { entity_type: string; in?: ExprEst }
        const tail = within ? ` in ${this.#inside(within, 4)}` : ''
        return `${this.#inside(left, 4)} is ${type}${tail}`
      }
      case 'contains':
      case 'containsAll':
      case 'containsAny':
      case 'getTag':
      case 'hasTag':
        return `${target()}.${operator}(${this.render(right)})`
      default:
        if (EXTENSIONS.has(operator)) return this.#extension(operator, operands as ExprEst[])
        // Comparisons do not chain: `a == b == c` is no Cedar.
        return `${this.#inside(left, binding === 3 ? 4 : binding)} ${operator} ${this.#inside(right, binding + 1)}`
    }
  }

  #extension(name: string, operands: readonly ExprEst[]): string {
    const [first, ...rest] = operands
    // `offset` is the one method among what data may call.
    if (first === undefined || (DATA_CONSTRUCTORS.has(name) && name !== 'offset')) {
      return `${name}(${operands.map((operand) => this.render(operand)).join(', ')})`
    }
    const args = rest.map((operand) => this.render(operand)).join(', ')
    return `${this.#inside(first, TIGHTEST)}.${name}(${args})`
  }

  #literal(json: unknown): string {
    if (typeof json === 'number') return String(restoreInteger(json, this.#integers))
    if (typeof json === 'string') return renderText(json)
    if (typeof json === 'object' && json !== null && '__entity' in json) {
      return renderUid(json.__entity as UidEst)
    }
    return String(json)
  }
}

const RESERVED = new Set('true false if then else in is like has __cedar'.split(' '))
const isWord = (text: string): boolean =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(text) && !RESERVED.has(text)
const member = (name: string): string => (isWord(name) ? `.${name}` : `[${renderText(name)}]`)

function pattern(elements: readonly PatternElement[]): string {
  const parts = elements.map((element) =>
    element === 'Wildcard' ? '*' : renderText(element.Literal).slice(1, -1).replaceAll('*', '\\*'),
  )
  return `"${parts.join('')}"`
}

/** A string literal; everything that could disturb a terminal or a reader is escaped. */
function renderText(text: string): string {
  const escaped = text.replace(/["\\\p{C}\p{Zl}\p{Zp}]/gu, (c) =>
    c === '"' || c === '\\' ? `\\${c}` : `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`,
  )
  return `"${escaped}"`
}

/** A run-time value for people, cut to a readable length. */
export function renderValue(value: Value): string {
  const text = renderWhole(value)
  return text.length > 200 ? `${text.slice(0, 199)}…` : text
}

function renderWhole(value: Value): string {
  if (typeof value === 'string') return renderText(value)
  if (typeof value !== 'object') return String(value)
  if (value instanceof EntityRef) return renderUid(value)
  if (value instanceof SetValue) return `[${[...value.values()].map(renderWhole).join(', ')}]`
  if (value instanceof RecordValue) {
    const parts = [...value.fields].map(([k, v]) => `${renderText(k)}: ${renderWhole(v)}`)
    return `{${parts.join(', ')}}`
  }
  if (value instanceof IpValue) return `ip("${renderIp(value)}")`
  if (value instanceof DecimalValue) return `decimal("${renderDecimal(BigInt(value.scaled))}")`
  if (value instanceof DatetimeValue) return `datetime("${renderDatetime(value.ms)}")`
  if (value instanceof DurationValue) return `duration("${value.ms}ms")`
  return ''
}

export function renderDecimal(scaled: bigint): string {
  const digits = String(scaled < 0n ? -scaled : scaled).padStart(5, '0')
  const fraction = digits.slice(-4).replace(/0{1,3}$/, '')
  return `${scaled < 0n ? '-' : ''}${digits.slice(0, -4)}.${fraction}`
}

function renderDatetime(ms: Long): string {
  const date = new Date(Number(ms))
  return Number.isNaN(date.getTime()) ? `${ms}ms since 1970-01-01` : date.toISOString()
}
