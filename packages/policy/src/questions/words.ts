import { renderAst } from '@sallyport/cedar'
import type { Expr } from '@sallyport/cedar'

const COMPARED: Readonly<Record<string, string>> = {
  '<': 'is below',
  '<=': 'is at most',
  '>': 'is above',
  '>=': 'is at least',
  '==': 'is',
  '!=': 'is not',
}

const OPPOSITE: Readonly<Record<string, string>> = {
  '<': '>=',
  '<=': '>',
  '>': '<=',
  '>=': '<',
  '==': '!=',
  '!=': '==',
}

/** The parts of a condition that must all hold, in words where there are words for them. */
export function words(expr: Expr): string[] {
  if (expr.kind === 'binary' && expr.operator === '&&') {
    return [...words(expr.left), ...words(expr.right)]
  }
  if (expr.kind === 'bool' && expr.value) return []
  return [phrase(expr)]
}

function phrase(expr: Expr): string {
  if (expr.kind === 'not') return negated(expr.operand)
  if (expr.kind === 'binary') {
    const { operator, left, right } = expr
    if (operator === '||') return `either ${phrase(left)}, or ${phrase(right)}`
    if (operator === '&&') return words(expr).join(' and ')
    const subject = pathOf(left)
    const verb = COMPARED[operator]
    if (subject !== undefined && verb !== undefined) return compared(subject, operator, right)
    if (subject === 'context.session.labels' && operator === 'contains') {
      return `the session has touched ${code(right)}`
    }
    if (subject === 'context.evidence.approvers' && operator === 'contains') {
      return `${code(right)} has approved it`
    }
  }
  if (expr.kind === 'has' && pathOf(expr.of) !== undefined) {
    return `${nameOf(`${pathOf(expr.of) ?? ''}.${expr.path.join('.')}`)} is given`
  }
  return code(expr)
}

function negated(expr: Expr): string {
  if (expr.kind === 'binary' && OPPOSITE[expr.operator] !== undefined && pathOf(expr.left)) {
    // A comparison that fails makes both it and its opposite fail.
    return compared(pathOf(expr.left) ?? '', OPPOSITE[expr.operator] ?? '', expr.right)
  }
  const text = phrase(expr)
  return text.startsWith('the session has touched ')
    ? text.replace('has touched', 'has not touched')
    : `not: ${text}`
}

function compared(subject: string, operator: string, right: Expr): string {
  if (subject === 'context.evidence.approvals' && right.kind === 'long') {
    const least = operator === '>=' ? right.value : operator === '>' ? right.value + 1n : undefined
    if (least === 1n) return 'a person approves it'
    if (least !== undefined) return `${least} people approve it`
  }
  return `${nameOf(subject)} ${COMPARED[operator] ?? operator} ${code(right)}`
}

/** `context.a.b` for such an expression. */
function pathOf(expr: Expr): string | undefined {
  if (expr.kind === 'variable') return expr.name
  if (expr.kind !== 'attribute') return undefined
  const of = pathOf(expr.of)
  return of === undefined ? undefined : `${of}.${expr.name}`
}

const NAMES: readonly (readonly [prefix: string, words: string])[] = [
  ['context.input.', 'input '],
  ['context.time.hour', 'the hour (UTC)'],
  ['context.time.weekday', 'the weekday (1 = Monday)'],
  ['context.time.', 'time '],
  ['context.risk', 'the risk'],
  ['context.purpose', 'the purpose'],
  ['context.source', 'the source address'],
  ['context.evidence.approvals', 'the number of approvals'],
]

function nameOf(path: string): string {
  for (const [prefix, text] of NAMES) {
    if (path === prefix) return text
    if (prefix.endsWith('.') && path.startsWith(prefix)) {
      return `${text}\`${path.slice(prefix.length)}\``
    }
  }
  return `\`${path}\``
}

/** A literal as it stands, anything else as Cedar. */
function code(expr: Expr): string {
  const text = renderAst(expr)
  return ['long', 'bool', 'string'].includes(expr.kind) ? text : `\`${text}\``
}
