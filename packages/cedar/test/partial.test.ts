import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { closeCedar, EntityStore, loadPolicySet, renderAst } from '../src/index.ts'
import type { CedarJson, CedarType, EntityJson, Request } from '../src/index.ts'
import { estOf } from '../src/ast.ts'
import type { Expr } from '../src/ast.ts'
import { compileBool } from '../src/compile.ts'
import { recordFromJson } from '../src/data.ts'
import { PartialEvaluator } from '../src/partial/evaluate.ts'
import { residualOf } from '../src/partial/residual.ts'
import type { PartialRequest, UnknownEntity } from '../src/partial/types.ts'
import { EvaluationError } from '../src/value.ts'
import { generateTrial } from './generate.ts'

after(closeCedar)

/** `CEDAR_TRIALS=1000` takes more random policy sets, and a mutation run fewer. */
const TRIALS = Number(process.env['CEDAR_TRIALS'] ?? 250)

type AttributeTypes = Map<string, { type: CedarType; required: boolean }>

/** A type that the value has; what is in a set does not matter here. */
function typeOf(json: CedarJson, seed: number): CedarType {
  if (typeof json === 'boolean') return { kind: 'bool' }
  if (typeof json === 'string') return { kind: 'string' }
  if (typeof json !== 'object') return { kind: 'long' }
  if (Array.isArray(json)) return { kind: 'set', element: { kind: 'bool' } }
  if ('__entity' in json) return { kind: 'entity', type: (json.__entity as { type: string }).type }
  if ('__extn' in json) {
    const { fn } = json.__extn as { fn: string }
    const kind = fn === 'ip' ? 'ipaddr' : fn === 'offset' ? 'datetime' : fn
    return { kind: kind as 'ipaddr' | 'decimal' | 'datetime' | 'duration' }
  }
  return { kind: 'record', attributes: attributesOf(json as Record<string, CedarJson>, seed) }
}

function attributesOf(record: Readonly<Record<string, CedarJson>>, seed: number): AttributeTypes {
  const types: AttributeTypes = new Map()
  for (const [i, [name, value]] of Object.entries(record).entries()) {
    types.set(name, { type: typeOf(value, seed + i), required: (seed + i) % 3 !== 0 })
  }
  // Types may also allow what is not there.
  if (!types.has('n')) types.set('n', { type: { kind: 'long' }, required: false })
  return types
}

/** The request with some of it unknown, by the bits of `mask`. */
function partly(request: Request, entities: readonly EntityJson[], mask: number): PartialRequest {
  const entity = ({ type, id }: { type: string; id: string }): UnknownEntity => {
    const record = entities.find(({ uid }) => uid.type === type && uid.id === id)
    const some = Object.entries(record?.attrs ?? {}).filter((_, i) => (i + mask) % 2 === 0)
    return {
      unknown: true,
      type,
      attributes: mask & 16 ? Object.fromEntries(some) : {},
      ...(mask & 4 ? { mayBe: (other: string) => other === id } : {}),
      ...(mask & 8
        ? {
            ancestors: EntityStore.from(entities).get({ type, id })?.ancestors ?? [],
          }
        : {}),
    }
  }
  const all = Object.entries(request.context)
  const known = all.filter((_, i) => (i + mask) % 2 === 0)
  return {
    principal: mask & 1 ? entity(request.principal) : request.principal,
    action: request.action,
    resource: mask & 2 ? entity(request.resource) : request.resource,
    context:
      mask % 5 === 0
        ? { known: request.context }
        : {
            known: Object.fromEntries(known),
            unknown: { kind: 'record', attributes: attributesOf(request.context, mask) },
          },
  }
}

/** What an expression comes to when everything is known. */
function run(expr: Expr, request: Request, store: EntityStore): string {
  const [principal, action, resource] = (['principal', 'action', 'resource'] as const).map((name) =>
    store.get(request[name]),
  )
  const refs = recordFromJson({
    principal: { __entity: request.principal },
    action: { __entity: request.action },
    resource: { __entity: request.resource },
  }).fields
  try {
    return String(
      compileBool(
        estOf(expr),
        new Map(),
      )({
        principal: principal?.uid ?? (refs.get('principal') as never),
        action: action?.uid ?? (refs.get('action') as never),
        resource: resource?.uid ?? (refs.get('resource') as never),
        context: recordFromJson(request.context),
        principalRecord: principal,
        actionRecord: action,
        resourceRecord: resource,
        store,
      }),
    )
  } catch (error) {
    if (!(error instanceof EvaluationError)) throw error
    return 'error'
  }
}

describe('partial evaluation', () => {
  it('leaves a residual that every completion decides as the policy', async () => {
    const tally = { satisfied: 0, unsatisfied: 0, error: 0, open: 0, smaller: 0 }
    for (let seed = 1; seed <= TRIALS; seed++) {
      const { input, entities, requests } = generateTrial(seed)
      const set = await loadPolicySet(input)
      const store = EntityStore.from(entities)
      for (const [r, request] of requests.entries()) {
        const evaluator = new PartialEvaluator(partly(request, entities, seed + r), store)
        const decision = set.decide(request, store)
        const failed = new Set(decision.errors.map(({ policyId }) => policyId))
        for (const policy of set.policies()) {
          const residual = residualOf(policy, evaluator)
          tally[residual.outcome]++
          // One policy alone, so that a forbid beside it does not hide whether it is satisfied.
          const alone = failed.has(policy.id)
            ? 'error'
            : run(whole(policy.id, set.policies()), request, store)
          const claimed =
            residual.outcome === 'open'
              ? residual.condition === undefined
                ? 'nothing'
                : run(residual.condition, request, store)
              : { satisfied: 'true', unsatisfied: 'false', error: 'error' }[residual.outcome]
          const left = residual.condition ? renderAst(residual.condition) : residual.outcome
          assert.equal(claimed, alone, `seed ${seed}, request ${r}, ${policy.id}: ${left}`)
          const { condition } = residual
          if (condition && policy.condition) {
            if (renderAst(condition).length < renderAst(policy.condition).length) tally.smaller++
          }
        }
      }
    }
    assert.ok(Math.min(...Object.values(tally)) > TRIALS / 3, JSON.stringify(tally))
  })

  it('concludes from types and ancestors only what they settle', async () => {
    const outcome = async (condition: string, mayBe?: (id: string) => boolean) => {
      const set = await loadPolicySet({
        policies: [
          { id: 'p', source: `permit(principal, action, resource) when { ${condition} };` },
        ],
      })
      const evaluator = new PartialEvaluator(
        {
          principal: {
            unknown: true,
            type: 'U',
            ancestors: [{ type: 'G', id: 'g' }],
            attributes: { n: 1 },
            ...(mayBe ? { mayBe } : {}),
          },
          action: { type: 'Action', id: 'a' },
          resource: { unknown: true, type: 'R' },
          context: {
            known: { k: 5 },
            unknown: {
              kind: 'record',
              attributes: new Map([
                ['must', { type: { kind: 'bool' }, required: true }],
                ['may', { type: { kind: 'bool' }, required: false }],
                ['k', { type: { kind: 'long' }, required: true }],
              ]),
            },
          },
        },
        EntityStore.from([]),
      )
      const [policy] = set.policies()
      assert.ok(policy)
      const residual = residualOf(policy, evaluator)
      return residual.condition ? renderAst(residual.condition) : residual.outcome
    }
    assert.equal(await outcome('principal in G::"g"'), 'satisfied')
    assert.equal(await outcome('principal in G::"h"'), 'unsatisfied')
    assert.equal(await outcome('principal in U::"x"'), 'principal in U::"x"')
    assert.equal(await outcome('principal in U::"x"', () => false), 'unsatisfied')
    assert.equal(await outcome('principal == U::"x"', () => false), 'unsatisfied')
    assert.equal(await outcome('principal == U::"x"'), 'principal == U::"x"')
    assert.equal(await outcome('principal == R::"x"'), 'unsatisfied')
    assert.equal(await outcome('principal.n == 1 && resource.n == 1'), 'resource.n == 1')
    assert.equal(await outcome('context has must && context.k == 5'), 'satisfied')
    assert.equal(await outcome('context has may'), 'context has may')
    assert.equal(await outcome('context.must || true'), 'satisfied')
    assert.equal(await outcome('context.may || true'), 'context.may || true')
    assert.equal(await outcome('context.absent'), 'error')
    assert.equal(await outcome('true && context.k'), 'error')
    assert.equal(await outcome('resource.n && true'), 'resource.n && true')
  })
})

/** Scope and condition of a policy as one expression, written by the parser from text. */
function whole(
  id: string,
  policies: ReturnType<Awaited<ReturnType<typeof loadPolicySet>>['policies']>,
): Expr {
  const policy = policies.find((each) => each.id === id)
  assert.ok(policy)
  const parts = (['principal', 'action', 'resource'] as const).flatMap((name): Expr[] => {
    const scope = policy[name]
    const operand: Expr = { kind: 'variable', name }
    if (scope.kind === 'all') return []
    if (scope.kind === 'is') return [{ kind: 'is', operand, type: scope.type }]
    const entities = scope.kind === 'eq' ? [scope.entity] : scope.entities
    const right: Expr = {
      kind: 'set',
      items: entities.map((uid): Expr => ({ kind: 'entity', uid })),
    }
    if (scope.kind === 'eq') {
      return [{ kind: 'binary', operator: 'contains', left: right, right: operand }]
    }
    return scope.type === undefined
      ? [{ kind: 'binary', operator: 'in', left: operand, right }]
      : [{ kind: 'is', operand, type: scope.type, in: right }]
  })
  return [...parts, ...(policy.condition ? [policy.condition] : [])].reduce<Expr>(
    (left, right) => ({ kind: 'binary', operator: '&&', left, right }),
    { kind: 'bool', value: true },
  )
}
