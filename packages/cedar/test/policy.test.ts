import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { EntityStore } from '../src/entities.ts'
import type { PolicyEst } from '../src/est.ts'
import type { EntityJson, EntityUid } from '../src/index.ts'
import type { Env } from '../src/operators.ts'
import { PolicyIndex } from '../src/policy-index.ts'
import { admits, compilePolicy } from '../src/policy.ts'
import type { CompiledPolicy } from '../src/policy.ts'
import { Pool } from '../src/pool.ts'
import { envOf } from './env.ts'

const ALL = { op: 'All' } as const
const OPEN: PolicyEst = {
  effect: 'permit',
  principal: ALL,
  action: ALL,
  resource: ALL,
  conditions: [],
}
const compile = (est: Partial<PolicyEst>, order = 0, pool = new Pool()): CompiledPolicy =>
  compilePolicy(
    { id: `p${order}`, json: JSON.stringify({ ...OPEN, ...est }), integers: new Map() },
    order,
    pool,
  )

function indexOf(policies: readonly CompiledPolicy[]): PolicyIndex {
  const index = new PolicyIndex(policies.length)
  for (const policy of policies) index.add(policy)
  return index
}

const uid = (type: string, id: string): EntityUid => ({ type, id })
const TYPES = ['U', 'G'] as const
const IDS = ['a', 'b', 'c', 'd'] as const
const entity = (type: string, id: string, ...parents: EntityUid[]): EntityJson => ({
  uid: uid(type, id),
  attrs: {},
  parents,
})
/** `U::c` and `G::d` are in no store; `G::a` holds most. */
const STORE = EntityStore.from([
  entity('U', 'a', uid('G', 'a'), uid('G', 'd')),
  entity('U', 'b', uid('G', 'b'), uid('U', 'a')),
  entity('U', 'd'),
  entity('G', 'b', uid('G', 'a')),
  entity('G', 'a'),
  entity('G', 'c'),
])
const asked = (principal: EntityUid, action: EntityUid, resource: EntityUid): Env =>
  envOf({ principal, action, resource, context: {} }, STORE)

type ScopeEst = PolicyEst['principal']
const eq = (...[type, id]: [string, string]): ScopeEst => ({ op: '==', entity: uid(type, id) })
const within = (...[type, id]: [string, string]): ScopeEst => ({ op: 'in', entity: uid(type, id) })
const any = (...entities: EntityUid[]): ScopeEst => ({ op: 'in', entities })
const is = (type: string): ScopeEst => ({ op: 'is', entity_type: type })
const isIn = (type: string, ...[t, id]: [string, string]): ScopeEst => ({
  op: 'is',
  entity_type: type,
  in: { entity: uid(t, id) },
})

describe('scopes', () => {
  const everyone = TYPES.flatMap((type) => IDS.map((id) => uid(type, id)))
  const cases: [name: string, scope: ScopeEst, admitted: string[]][] = [
    ['all', ALL, ['U a', 'U b', 'U c', 'U d', 'G a', 'G b', 'G c', 'G d']],
    ['== U::a', eq('U', 'a'), ['U a']],
    ['== a missing one', eq('U', 'c'), ['U c']],
    ['is G', is('G'), ['G a', 'G b', 'G c', 'G d']],
    ['is X', is('X'), []],
    ['in G::a', within('G', 'a'), ['U a', 'U b', 'G a', 'G b']],
    ['in U::a', within('U', 'a'), ['U a', 'U b']],
    ['in a missing one', within('G', 'd'), ['U a', 'U b', 'G d']],
    ['in [G::b, U::c]', any(uid('G', 'b'), uid('U', 'c')), ['U b', 'U c', 'G b']],
    ['in []', any(), []],
    ['is U in G::a', isIn('U', 'G', 'a'), ['U a', 'U b']],
    ['is G in G::a', isIn('G', 'G', 'a'), ['G a', 'G b']],
    ['is G in U::a', isIn('G', 'U', 'a'), []],
  ]
  for (const [name, scope, admitted] of cases) {
    it(`${name} admits ${admitted.join(', ') || 'nobody'}`, () => {
      for (const each of everyone) {
        const env = asked(each, uid('Action', 'x'), each)
        const expected = admitted.includes(`${each.type} ${each.id}`)
        const label = `${each.type}::${each.id}`
        for (const side of ['principal', 'resource'] as const) {
          const policy = compile({ [side]: scope })
          assert.equal(admits(policy[side], env[side], env), expected, `${side} ${label}`)
          const { only, policies } = indexOf([policy]).candidates(env)
          const found = [...(only ? [only] : []), ...(policies ?? [])]
          assert.deepEqual(found, expected ? [policy] : [], `${side} ${label} by index`)
        }
        const act = asked(uid('X', 'x'), each, uid('X', 'x'))
        const policy = compile({ action: scope })
        assert.equal(admits(policy.action, act.action, act), expected, `action ${label}`)
      }
    })
  }

  const odd: [string, unknown][] = [
    ['an operator', { op: 'near', entity: uid('U', 'a') }],
    ['== nothing', { op: '==' }],
    ['in nothing', { op: 'in' }],
    ['is nothing', { op: 'is' }],
    ['is in nothing', { op: 'is', entity_type: 'U', in: {} }],
    ['an open slot', { op: '==', slot: '?principal' }],
    ['an open slot within', { op: 'is', entity_type: 'U', in: { slot: '?principal' } }],
  ]
  for (const [name, scope] of odd) {
    it(`refuses a scope of an unknown form: ${name}`, () => {
      assert.throws(() => compile({ principal: scope as ScopeEst }), {
        code: 'SP_CEDAR_UNSUPPORTED',
        message: 'a policy has a scope of an unknown form',
      })
    })
  }
})

describe('conditions', () => {
  const literal = (value: boolean) => ({ Value: value })
  const env = asked(uid('U', 'a'), uid('Action', 'x'), uid('U', 'a'))
  const holds = (est: Partial<PolicyEst>): boolean => {
    const pool = new Pool()
    const policy = compile(est, 0, pool)
    pool.clauses.begin(env)
    const alone = pool.clauses.hold(policy, env)
    assert.equal(pool.clauses.holdAmong(policy, env), alone)
    return alone
  }
  it('hold where every `when` is true and every `unless` is not, however many', () => {
    for (let count = 0; count <= 6; count++) {
      const all = Array.from({ length: count }, (_, i) =>
        i % 2 === 0
          ? { kind: 'when' as const, body: literal(true) }
          : { kind: 'unless' as const, body: literal(false) },
      )
      assert.equal(holds({ conditions: all }), true)
      for (let i = 0; i < count; i++) {
        const conditions = all.map((each, j) =>
          i === j ? { ...each, body: literal(each.kind === 'unless') } : each,
        )
        assert.equal(holds({ conditions }), false, `${i} of ${count}`)
      }
    }
  })

  it('are evaluated in order, and no further than the first that fails', () => {
    const boom = { kind: 'when' as const, body: { '!': { arg: { Value: 1 } } } }
    const no = { kind: 'when' as const, body: literal(false) }
    const yes = { kind: 'when' as const, body: literal(true) }
    for (let before = 0; before < 5; before++) {
      const start = Array.from({ length: before }, () => yes)
      assert.equal(holds({ conditions: [...start, no, boom] }), false)
      assert.throws(() => holds({ conditions: [...start, boom, no] }), {
        name: 'EvaluationError',
      })
    }
  })
})

describe('a compiled policy', () => {
  it('keeps what it is known by', () => {
    const conditions = [{ kind: 'when' as const, body: { Value: true } }]
    const policy = compile({ effect: 'forbid', conditions, annotations: { a: 'x', b: null } }, 7)
    assert.deepEqual(
      [policy.id, policy.order, policy.effect, policy.held, policy.annotations],
      ['p7', 7, 'forbid', { decision: 'deny', reasons: ['p7'], errors: [] }, { a: 'x', b: '' }],
    )
    assert.deepEqual(policy.conditions(), conditions)
    assert.deepEqual(compile({}).annotations, {})
    const { held, annotations } = policy
    assert.equal(compile({}).held.decision, 'allow')
    for (const shared of [held, held.reasons, held.errors, annotations, compile({}).annotations]) {
      assert.ok(Object.isFrozen(shared))
    }
  })
})

/** A small seeded generator (mulberry32). */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

describe('the index of policies', () => {
  const next = random(20_261_125)
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T
  const anyone = (): EntityUid => uid(pick(TYPES), pick(IDS))
  const scope = (): ScopeEst => {
    const { type, id } = anyone()
    const of = anyone()
    return pick([
      ALL,
      eq(type, id),
      eq(type, id),
      within(type, id),
      within(type, id),
      is(type),
      isIn(type, of.type, of.id),
    ])
  }
  // Cedar has lists in the scope of actions only, and `is` in the others only.
  const actions = (): ScopeEst => {
    const [one, two] = [anyone(), anyone()]
    const { type, id } = one
    return pick([
      ALL,
      eq(type, id),
      within(type, id),
      within(type, id),
      any(one, two, anyone()),
      any(one, one),
      any(),
    ])
  }
  const compare = (policies: readonly CompiledPolicy[], index: PolicyIndex, env: Env): number => {
    const { only, policies: several } = index.candidates(env)
    assert.ok(only === undefined || several === undefined)
    const found = [...(only ? [only] : []), ...(several ?? [])].map(({ order }) => order)
    const expected = policies
      .filter(
        ({ principal, action, resource }) =>
          admits(action, env.action, env) &&
          admits(principal, env.principal, env) &&
          admits(resource, env.resource, env),
      )
      .map(({ order }) => order)
    assert.deepEqual(
      found.toSorted((a, b) => a - b),
      expected,
    )
    return expected.length
  }

  it('finds exactly the policies whose scope admits the request, each once', () => {
    let several = 0
    let one = 0
    for (let round = 0; round < 60; round++) {
      const pool = new Pool()
      const size = pick([1, 2, 3, 8, 30])
      const policies = Array.from({ length: size }, (_, i) =>
        compile({ principal: scope(), action: actions(), resource: scope() }, i, pool),
      )
      const index = indexOf(policies)
      for (let i = 0; i < 25; i++) {
        const found = compare(policies, index, asked(anyone(), anyone(), anyone()))
        if (found > 1) several++
        if (found === 1) one++
      }
    }
    assert.ok(several > 100 && one > 100, `${several} and ${one} requests met policies`)
  })

  it('finds by the shorter way: few names and many ancestors, and the other way round', () => {
    const many = Array.from({ length: 40 }, (_, i) => uid(i % 3 === 0 ? 'H' : 'G', `g${i}`))
    const member = entity('U', 'm', ...many)
    const loner = entity('U', 'l', uid('G', 'g7'))
    const store = EntityStore.from([member, loner])
    for (const names of [1, 2, 3, 39, 60]) {
      const pool = new Pool()
      const policies = Array.from({ length: names }, (_, i) =>
        compile({ principal: within(i % 3 === 0 ? 'H' : 'G', `g${i}`) }, i, pool),
      )
      const index = indexOf(policies)
      for (const { uid: principal } of [member, loner, entity('U', 'x'), entity('G', 'g1')]) {
        const request = { principal, action: uid('A', 'a'), resource: uid('U', 'l'), context: {} }
        compare(policies, index, envOf(request, store))
      }
    }
  })

  it('shares the one list of a place that says it all', () => {
    const pool = new Pool()
    const [exact, other] = [compile({ principal: eq('U', 'a') }, 0, pool), compile({}, 1, pool)]
    const index = indexOf([exact])
    const env = asked(uid('U', 'a'), uid('A', 'a'), uid('U', 'a'))
    assert.equal(index.candidates(env), index.candidates(env))
    assert.equal(index.candidates(env).only, exact)
    const both = indexOf([other, compile({}, 1, pool), compile({}, 2, pool)])
    assert.equal(both.candidates(env), both.candidates(env))
    assert.equal(both.candidates(env).policies?.length, 3)
    const nobody = index.candidates(asked(uid('U', 'b'), uid('A', 'a'), uid('U', 'a')))
    assert.deepEqual([nobody.only, nobody.held, nobody.policies], [undefined, undefined, []])
    assert.ok(Object.isFrozen(nobody))
  })

  it('has one number for entities that no policy can tell apart, and different ones otherwise', () => {
    const index = indexOf([
      compile({
        principal: eq('U', 'named'),
        action: any(uid('A', 'x'), uid('A', 'y')),
        resource: is('Doc'),
      }),
      compile({ principal: isIn('U', 'G', 'g'), resource: is('Box') }, 1),
    ])
    const key = (type: string, id: string): number => index.key(uid(type, id), undefined)
    const told = [
      key('U', 'named'),
      key('A', 'x'),
      key('A', 'y'),
      key('Doc', 'any'),
      key('Box', 'any'),
      key('G', 'g'),
      key('X', 'unknown'),
    ]
    assert.equal(new Set(told).size, told.length)
    assert.equal(key('X', 'unknown'), 0)
    assert.ok(told.every((number) => number <= 0))
    assert.equal(key('Doc', 'any'), key('Doc', 'other'))
    assert.equal(key('U', 'other'), key('X', 'unknown'))
    assert.equal(key('A', 'z'), key('X', 'unknown'))
    // What is in a store has the number of its record, whatever policies say.
    const record = STORE.get(uid('U', 'a'))
    assert.ok(record)
    assert.equal(index.key(uid('U', 'a'), record), record.serial)
  })
})
