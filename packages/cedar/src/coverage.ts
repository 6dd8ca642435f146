import type { BoolCode } from './code.ts'
import { compileBool, compileValue, conjuncts } from './compile.ts'
import type { ExprEst } from './est.ts'
import type { Env } from './operators.ts'
import { admits } from './policy.ts'
import type { CompiledPolicy } from './policy.ts'
import { renderExpr } from './render.ts'
import type { ClauseTrace, CoveragePoint, PolicyCover, PolicyPoints } from './types.ts'
import { EvaluationError } from './value.ts'

type Tally = (ClauseTrace['result'] | undefined)[]

/** Evaluates and notes what it saw. @throws EvaluationError */
type Watched = (env: Env, seen: Tally) => boolean

interface Probe {
  readonly points: readonly CoveragePoint[]
  readonly conditions: readonly { readonly run: Watched; readonly negated: boolean }[]
}

const probes = new WeakMap<CompiledPolicy, Probe>()

/** The points of every policy: its clauses, and inside them each operand of `&&` and `||` and each part of an `if`. */
export function coveragePoints(policies: readonly CompiledPolicy[]): PolicyPoints[] {
  return policies.map((policy) => ({
    policyId: policy.id,
    effect: policy.effect,
    points: probeOf(policy).points,
  }))
}

/**
 * Evaluates every policy whose scope admits the request, as a decision would: left to right, and no further than
 * Cedar itself goes, so that what is short-circuited is not seen. Slow beside a decision, and made for tests.
 */
export function coverPolicies(policies: readonly CompiledPolicy[], env: Env): PolicyCover[] {
  return policies
    .filter(
      ({ principal, action, resource }) =>
        admits(principal, env.principal, env) &&
        admits(action, env.action, env) &&
        admits(resource, env.resource, env),
    )
    .map((policy) => cover(policy, env))
}

function cover(policy: CompiledPolicy, env: Env): PolicyCover {
  const { points, conditions } = probeOf(policy)
  const seen: Tally = points.map(() => undefined)
  try {
    const satisfied = conditions.every(({ run, negated }) => run(env, seen) !== negated)
    return { policyId: policy.id, outcome: satisfied ? 'satisfied' : 'unsatisfied', seen }
  } catch (error) {
    if (!(error instanceof EvaluationError)) throw error
    return { policyId: policy.id, outcome: 'error', seen }
  }
}

function probeOf(policy: CompiledPolicy): Probe {
  let probe = probes.get(policy)
  if (probe === undefined) {
    const maker = new Maker(policy.integers)
    const conditions = policy.conditions().flatMap(({ kind, body }) => {
      const negated = kind === 'unless'
      const clauses = negated ? [body] : conjuncts(body)
      return clauses.map((clause) => ({ run: maker.clause(clause, kind, 0), negated }))
    })
    probes.set(policy, (probe = { points: maker.points, conditions }))
  }
  return probe
}

class Maker {
  readonly points: CoveragePoint[] = []
  readonly #integers: ReadonlyMap<number, bigint>

  constructor(integers: ReadonlyMap<number, bigint>) {
    this.#integers = integers
  }

  /** An expression that is a point of its own, unless it is a literal, which cannot come out both ways. */
  clause(expr: ExprEst, kind: CoveragePoint['kind'], depth: number): Watched {
    if ('Value' in expr) return this.#inside(expr, depth)
    const at = this.points.length
    const text = renderExpr(expr, this.#integers)
    this.points.push({ kind, text, depth })
    const run = this.#inside(expr, depth + 1)
    return (env, seen) => {
      try {
        const result = run(env, seen)
        seen[at] = result ? 'true' : 'false'
        return result
      } catch (error) {
        seen[at] = 'error'
        throw error
      }
    }
  }

  /** What joins bools evaluates its parts as Cedar does; all else is evaluated whole. */
  #inside(expr: ExprEst, depth: number): Watched {
    const [operator = '', operands] = Object.entries(expr)[0] ?? []
    switch (operator) {
      case '&&':
      case '||': {
        const parts = chain(expr, operator).map((part) => this.clause(part, 'part', depth))
        return operator === '&&'
          ? (env, seen) => parts.every((part) => part(env, seen))
          : (env, seen) => parts.some((part) => part(env, seen))
      }
      case '!': {
        // The operand of `!` in the parser's own output.
        const part = this.#inside((operands as { arg: ExprEst }).arg, depth)
        return (env, seen) => !part(env, seen)
      }
      case 'if-then-else': {
        // As above, of a conditional.
        const parts = operands as Record<'if' | 'then' | 'else', ExprEst>
        const test = this.clause(parts.if, 'part', depth)
        const yes = this.clause(parts.then, 'part', depth)
        const no = this.clause(parts.else, 'part', depth)
        return (env, seen) => (test(env, seen) ? yes(env, seen) : no(env, seen))
      }
      default:
        return this.#whole(expr, depth)
    }
  }

  #whole(expr: ExprEst, depth: number): Watched {
    const code: BoolCode = compileBool(expr, this.#integers)
    const inner = this.#nested(expr, depth)
    if (inner.length === 0) return (env) => code(env)
    return (env, seen) => {
      watch(inner, env, seen)
      return code(env)
    }
  }

  /** The bools joined inside an operand of something else, such as `(if a then 1 else 2) < x`. */
  #nested(expr: unknown, depth: number): ((env: Env, seen: Tally) => void)[] {
    if (Array.isArray(expr)) return expr.flatMap((item) => this.#nested(item, depth))
    if (typeof expr !== 'object' || expr === null || 'Value' in expr || 'Var' in expr) return []
    if ('&&' in expr || '||' in expr || '!' in expr) return [this.#inside(expr, depth)]
    if ('if-then-else' in expr) return [this.#valueOf(expr, depth)]
    return Object.values(expr).flatMap((item) => this.#nested(item, depth))
  }

  /** A conditional whose arms need not be bools: its test is the point. */
  #valueOf(expr: ExprEst, depth: number): (env: Env, seen: Tally) => void {
    // As in `#inside`.
    const parts = expr['if-then-else'] as Record<'if' | 'then' | 'else', ExprEst>
    const test = this.clause(parts.if, 'part', depth)
    const arm = (part: ExprEst): ((env: Env, seen: Tally) => void) => {
      const inner = this.#nested(part, depth)
      const value = compileValue(part, this.#integers)
      return (env, seen) => {
        watch(inner, env, seen)
        value(env)
      }
    }
    const [yes, no] = [arm(parts.then), arm(parts.else)]
    return (env, seen) => (test(env, seen) ? yes : no)(env, seen)
  }
}

/** Parts come before the whole that they are operands of; one that fails is the whole's failure to report. */
function watch(parts: readonly ((env: Env, seen: Tally) => void)[], env: Env, seen: Tally): void {
  try {
    for (const part of parts) part(env, seen)
  } catch (error) {
    if (!(error instanceof EvaluationError)) throw error
  }
}

/** The operands of nested `&&` or `||`, left to right. */
function chain(expr: ExprEst, operator: '&&' | '||'): ExprEst[] {
  // The operands of a join in the parser's own output.
  const operands = expr[operator] as { left: ExprEst; right: ExprEst } | undefined
  return operands ? [...chain(operands.left, operator), ...chain(operands.right, operator)] : [expr]
}
