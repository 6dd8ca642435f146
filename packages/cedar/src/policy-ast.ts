import { binary, exprOf, plainUid } from './ast.ts'
import type { Expr, PolicyAst, ScopeAst } from './ast.ts'
import type { ConditionEst } from './est.ts'
import type { CompiledPolicy } from './policy.ts'

/** A compiled policy as it was written. */
export function policyAst(policy: CompiledPolicy): PolicyAst {
  const { id, effect, annotations, integers } = policy
  const clauses = policy.conditions().map(({ kind, body }: ConditionEst) => ({
    kind,
    body: exprOf(body, integers),
  }))
  const [first, ...rest] = clauses.map(({ kind, body }): Expr =>
    kind === 'when' ? body : { kind: 'not', operand: body },
  )
  return {
    id,
    effect,
    annotations,
    principal: plainScope(policy.principal),
    action: plainScope(policy.action),
    resource: plainScope(policy.resource),
    clauses,
    condition: first && rest.reduce((left, right) => binary('&&', left, right), first),
  }
}

function plainScope(scope: CompiledPolicy['principal']): ScopeAst {
  if (scope.kind === 'eq') return { kind: 'eq', entity: plainUid(scope.entity) }
  return scope.kind === 'in' ? { ...scope, entities: scope.entities.map(plainUid) } : scope
}
