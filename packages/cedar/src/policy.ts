import { SallyportError } from '@sallyport/base'
import { compileAll, conjuncts } from './compile.ts'
import { recordOf } from './operators.ts'
import type { Env } from './operators.ts'
import type { ConditionEst, ExprEst, PolicyEst, ScopeEst, UidEst } from './est.ts'
import type { Pool } from './pool.ts'
import type { CedarDecision } from './types.ts'
import type { EntityRef } from './value.ts'

/** One side of a policy's scope. */
export type Scope =
  | { readonly kind: 'all' }
  | { readonly kind: 'is'; readonly type: string }
  | { readonly kind: 'eq'; readonly entity: EntityRef }
  /** In any of these; of type `type` too where that is given. */
  | { readonly kind: 'in'; readonly entities: readonly EntityRef[]; readonly type?: string }

/** A policy ready to be decided. */
export interface CompiledPolicy {
  // What a decision reads stands first, and so close together.
  /** All conditions, `unless` negated, in order, among the clauses of the set. */
  readonly from: number
  readonly to: number
  readonly effect: 'permit' | 'forbid'
  /** The decision where it holds and no other policy does. */
  readonly held: CedarDecision
  /** Its place in the set: answers list policies in this order. */
  readonly order: number
  readonly id: string
  readonly principal: Scope
  readonly action: Scope
  readonly resource: Scope
  /** Which variables each clause reads, in their order. */
  readonly reads: readonly ReadonlySet<string>[]
  /** As the parser gave them. What decides does not need them: they are read when first asked for. */
  readonly conditions: () => readonly ConditionEst[]
  readonly integers: ReadonlyMap<number, bigint>
  readonly annotations: Readonly<Record<string, string>>
}

/** A policy as the parser gave it. */
export interface ParsedPolicy {
  readonly id: string
  /** `PolicyEst`; the parser's declared type is the same format, looser, and the compiler refuses what it does not know. */
  readonly json: string
  /** The sides of its scope that had slots. */
  readonly filled?: Pick<PolicyEst, 'principal' | 'resource'>
  readonly integers: ReadonlyMap<number, bigint>
}

export const estOf = ({ json, filled }: ParsedPolicy): PolicyEst => ({
  ...(JSON.parse(json) as PolicyEst),
  ...filled,
})

/** @throws SallyportError `SP_CEDAR_UNSUPPORTED` */
export function compilePolicy(parsed: ParsedPolicy, order: number, pool: Pool): CompiledPolicy {
  const { id, json, integers } = parsed
  const est = estOf(parsed)
  const clauses = est.conditions.map(asWhen)
  return {
    ...pool.clauses.add(compileAll(clauses, integers, pool)),
    effect: est.effect,
    held: heldAlone(id, est.effect),
    order,
    id,
    principal: scopeOf(est.principal, pool),
    action: scopeOf(est.action, pool),
    resource: scopeOf(est.resource, pool),
    reads: clauses.flatMap(conjuncts).map((clause) => pool.variables(clause)),
    conditions: conditionsOf(json),
    integers,
    annotations: annotationsOf(est),
  }
}

function conditionsOf(json: string): CompiledPolicy['conditions'] {
  let conditions: readonly ConditionEst[] | undefined
  return () => (conditions ??= (JSON.parse(json) as PolicyEst).conditions)
}

function heldAlone(id: string, effect: CompiledPolicy['effect']): CedarDecision {
  return Object.freeze({
    decision: effect === 'permit' ? 'allow' : 'deny',
    reasons: Object.freeze([id]),
    errors: NO_ERRORS,
  })
}

export const NO_ERRORS: CedarDecision['errors'] = Object.freeze([])

/** A condition that must hold. */
const asWhen = ({ kind, body }: ConditionEst): ExprEst =>
  kind === 'when' ? body : { '!': { arg: body } }

const NO_ANNOTATIONS: Readonly<Record<string, string>> = Object.freeze({})

function annotationsOf(est: PolicyEst): Readonly<Record<string, string>> {
  const entries = Object.entries(est.annotations ?? {})
  if (entries.length === 0) return NO_ANNOTATIONS
  return Object.freeze(Object.fromEntries(entries.map(([key, value]) => [key, value ?? ''])))
}

function scopeOf(est: ScopeEst, pool: Pool): Scope {
  const refOf = ({ type, id }: UidEst): EntityRef => pool.entity(type, id)

  const inside = (uids: readonly UidEst[], type?: string): Scope => {
    const entities = uids.map(refOf)
    return type === undefined ? { kind: 'in', entities } : { kind: 'in', entities, type }
  }
  switch (est.op) {
    case 'All':
      return { kind: 'all' }
    case '==':
      if (est.entity) return { kind: 'eq', entity: refOf(est.entity) }
      break
    case 'in':
      if (est.entities) return inside(est.entities)
      if (est.entity) return inside([est.entity])
      break
    case 'is':
      if (est.entity_type === undefined) break
      if (est.in === undefined) return { kind: 'is', type: est.entity_type }
      if (est.in.entity) return inside([est.in.entity], est.entity_type)
      break
  }
  throw new SallyportError('SP_CEDAR_UNSUPPORTED', 'a policy has a scope of an unknown form')
}

/** Whether one side of the scope admits an entity; scopes cannot fail. */
export function admits(scope: Scope, entity: EntityRef, env: Env): boolean {
  switch (scope.kind) {
    case 'all':
      return true
    case 'is':
      return scope.type === entity.type
    case 'eq':
      return scope.entity.type === entity.type && scope.entity.id === entity.id
    default: {
      if (scope.type !== undefined && scope.type !== entity.type) return false
      const ids = recordOf(env, entity)?.ancestorIds
      return scope.entities.some(
        ({ type, id }) =>
          (type === entity.type && id === entity.id) || ids?.get(type)?.has(id) === true,
      )
    }
  }
}
