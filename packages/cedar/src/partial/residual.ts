import { binary } from '../ast.ts'
import type { Expr, PolicyAst, ScopeAst, Variable } from '../ast.ts'
import type { EntityStore } from '../entities.ts'
import type { PolicySet } from '../policy-set.ts'
import { PartialEvaluator } from './evaluate.ts'
import type { PartialRequest } from './types.ts'

/** A policy under a request of which parts are unknown. */
export interface ResidualPolicy {
  readonly policy: PolicyAst
  /**
   * `satisfied`, `unsatisfied` and `error` for every completion of what is unknown; `open` where that depends on
   * `condition`.
   */
  readonly outcome: 'satisfied' | 'unsatisfied' | 'error' | 'open'
  /** What is left to be evaluated of an `open` one. */
  readonly condition?: Expr
  /** Of an `error`. */
  readonly message?: string
}

/**
 * Partially evaluates every policy of a set, in order, those left out that apply to no completion.
 *
 * @throws SallyportError `SP_CEDAR_VALUE` for known parts that are no Cedar values
 */
export function residualPolicies(
  policies: PolicySet,
  request: PartialRequest,
  store: EntityStore,
): ResidualPolicy[] {
  const evaluator = new PartialEvaluator(request, store)
  return policies.policies().flatMap((policy) => {
    const residual = residualOf(policy, evaluator)
    return residual.outcome === 'unsatisfied' ? [] : [residual]
  })
}

export function residualOf(policy: PolicyAst, evaluator: PartialEvaluator): ResidualPolicy {
  const part = evaluator.evaluate(wholeOf(policy))
  switch (part.kind) {
    case 'error':
      return { policy, outcome: 'error', message: part.message }
    case 'value':
      return { policy, outcome: part.value === true ? 'satisfied' : 'unsatisfied' }
    default:
      return { policy, outcome: 'open', condition: part.expr }
  }
}

/** Scope and conditions of a policy as one expression; `true &&` makes sure that it is a bool or fails. */
function wholeOf({ principal, action, resource, condition }: PolicyAst): Expr {
  const scopes = [
    scopeExpr('principal', principal),
    scopeExpr('action', action),
    scopeExpr('resource', resource),
  ].filter((expr) => expr !== undefined)
  const start: Expr = { kind: 'bool', value: true }
  return [...scopes, ...(condition === undefined ? [] : [condition])].reduce(
    (left, right) => binary('&&', left, right),
    start,
  )
}

function scopeExpr(name: Variable, scope: ScopeAst): Expr | undefined {
  const variable: Expr = { kind: 'variable', name }
  switch (scope.kind) {
    case 'all':
      return undefined
    case 'is':
      return { kind: 'is', operand: variable, type: scope.type }
    case 'eq':
      return binary('==', variable, { kind: 'entity', uid: scope.entity })
    default: {
      const within: Expr = {
        kind: 'set',
        items: scope.entities.map((uid): Expr => ({ kind: 'entity', uid })),
      }
      return scope.type === undefined
        ? binary('in', variable, within)
        : { kind: 'is', operand: variable, type: scope.type, in: within }
    }
  }
}
