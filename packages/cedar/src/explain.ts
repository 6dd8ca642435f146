import { compileBool, compileValue, conjuncts } from './compile.ts'
import type { BoolCode } from './code.ts'
import type { Env } from './operators.ts'
import type { ExprEst } from './est.ts'
import { admits } from './policy.ts'
import type { CompiledPolicy, Scope } from './policy.ts'
import { renderExpr, renderUid, renderValue } from './render.ts'
import type { CedarDecision, CedarExplanation, ClauseTrace, PolicyTrace } from './types.ts'
import { EvaluationError } from './value.ts'
import type { EntityRef } from './value.ts'

/** Near misses given with an explanation: more helps nobody. */
const MAX_NEAR_MISSES = 25

type Outcome = PolicyTrace['outcome']

/**
 * Why a decision came out as it did: the policies that determined it, those that failed, and on a deny the permits
 * that came closest. Meant for operators and computed on demand; it re-evaluates every policy clause by clause.
 */
export function explainPolicies(
  policies: readonly CompiledPolicy[],
  decision: CedarDecision,
  env: Env,
): CedarExplanation {
  const determining = new Set(decision.reasons)
  const failing = new Set(decision.errors.map(({ policyId }) => policyId))
  const first: PolicyTrace[] = []
  const misses: { trace: PolicyTrace; failing: number }[] = []
  for (const policy of policies) {
    if (determining.has(policy.id)) first.push(trace(policy, env, 'satisfied'))
    else if (failing.has(policy.id)) first.push(trace(policy, env, 'error'))
    else if (decision.decision === 'deny' && policy.effect === 'permit') {
      const missed = trace(policy, env, undefined)
      misses.push({ trace: missed, failing: countFailing(missed) })
    }
  }
  misses.sort((a, b) => a.failing - b.failing)
  const near = misses.slice(0, MAX_NEAR_MISSES).map(({ trace }) => trace)
  return { decision, policies: [...first, ...near] }
}

function trace(policy: CompiledPolicy, env: Env, known: Outcome | undefined): PolicyTrace {
  const { id, effect, annotations } = policy
  const scope = [
    scopeTrace('principal', policy.principal, env.principal, env),
    scopeTrace('action', policy.action, env.action, env),
    scopeTrace('resource', policy.resource, env.resource, env),
  ]
  const conditions = policy
    .conditions()
    .flatMap(({ kind, body }) =>
      (kind === 'when' ? conjuncts(body) : [body]).map((clause) =>
        clauseTrace(clause, kind === 'unless', policy.integers, env),
      ),
    )
  // A permit beside a forbid may be satisfied and still determine nothing.
  const satisfied = [...scope, ...conditions].every(({ result }) => result === 'true')
  const outcome = known ?? (satisfied ? 'satisfied' : 'unsatisfied')
  return { policyId: id, effect, outcome, scope, conditions, annotations }
}

function countFailing({ scope, conditions }: PolicyTrace): number {
  return [...scope, ...conditions].filter(({ result }) => result !== 'true').length
}

function scopeTrace(
  name: 'principal' | 'action' | 'resource',
  scope: Scope,
  entity: EntityRef,
  env: Env,
): ClauseTrace {
  const result = admits(scope, entity, env) ? 'true' : 'false'
  return { text: scopeText(name, scope), result, values: { [name]: renderUid(entity) } }
}

function scopeText(name: string, scope: Scope): string {
  switch (scope.kind) {
    case 'all':
      return name
    case 'is':
      return `${name} is ${scope.type}`
    case 'eq':
      return `${name} == ${renderUid(scope.entity)}`
    default: {
      const [only, ...more] = scope.entities.map(renderUid)
      const type = scope.type === undefined ? '' : ` is ${scope.type}`
      const list = more.length === 0 && only ? only : `[${[only, ...more].join(', ')}]`
      return `${name}${type} in ${list}`
    }
  }
}

function clauseTrace(
  clause: ExprEst,
  negated: boolean,
  integers: ReadonlyMap<number, bigint>,
  env: Env,
): ClauseTrace {
  const text = renderExpr(negated ? { '!': { arg: clause } } : clause, integers)
  const values = readValues(clause, integers, env)
  try {
    const code: BoolCode = compileBool(clause, integers)
    return { text, result: code(env) !== negated ? 'true' : 'false', values }
  } catch (error) {
    if (!(error instanceof EvaluationError)) throw error
    return { text, result: 'error', values, error: error.message }
  }
}

/** What each attribute path in the clause held. */
function readValues(
  clause: ExprEst,
  integers: ReadonlyMap<number, bigint>,
  env: Env,
): Record<string, string> {
  const values = new Map<string, string>()
  for (const path of paths(clause)) {
    const text = renderExpr(path, integers)
    if (values.has(text)) continue
    try {
      values.set(text, renderValue(compileValue(path, integers)(env)))
    } catch (error) {
      if (!(error instanceof EvaluationError)) throw error
      values.set(text, 'absent')
    }
  }
  return Object.fromEntries(values)
}

/** The longest attribute, tag and variable reads of an expression. */
function paths(expr: unknown): ExprEst[] {
  if (Array.isArray(expr)) return expr.flatMap(paths)
  if (typeof expr !== 'object' || expr === null || 'Value' in expr) return []
  if (isPath(expr)) return 'Var' in expr && expr.Var === 'context' ? [] : [expr as ExprEst]
  return Object.values(expr).flatMap(paths)
}

function isPath(expr: object): boolean {
  if ('Var' in expr) return true
  const inner = '.' in expr ? expr['.'] : 'getTag' in expr ? expr.getTag : undefined
  return (
    typeof inner === 'object' && inner !== null && 'left' in inner && isPath(Object(inner.left))
  )
}
