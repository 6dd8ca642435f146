import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { compileAll } from '../src/compile.ts'
import { EntityStore } from '../src/entities.ts'
import type { CedarJson } from '../src/index.ts'
import type { Env } from '../src/operators.ts'
import { Pool } from '../src/pool.ts'
import { prepareContext } from '../src/prepare.ts'
import { EvaluationError } from '../src/value.ts'
import { envOf } from './env.ts'
import { parseSource } from './parse.ts'

const uid = (type: string, id: string) => ({ type, id })
const user = (id: string, level: number, boss?: string) => ({
  uid: uid('U', id),
  attrs: { level, ...(boss === undefined ? {} : { boss: { __entity: uid('U', boss) } }) },
  parents: [],
})

function set(...conditions: string[]) {
  const pool = new Pool()
  const ranges = conditions.map((condition) => {
    const { est, integers } = parseSource(
      `permit(principal, action, resource) when { ${condition} };`,
    )
    return pool.clauses.add(
      compileAll(
        est.conditions.map(({ body }) => body),
        integers,
        pool,
      ),
    )
  })
  return { clauses: pool.clauses, ranges, range: ranges[0] ?? { from: 0, to: 0 } }
}

const ask = (
  store: EntityStore,
  { principal = 'a', resource = 'a' },
  context: Readonly<Record<string, CedarJson>> = {},
): Env =>
  envOf(
    {
      principal: uid('U', principal),
      action: uid('A', 'x'),
      resource: uid('U', resource),
      context,
    },
    store,
  )

describe('the clauses of a set', () => {
  const { clauses, range } = set('context.x < 5 && principal.level < 5 && resource.level < 5')
  const low = EntityStore.from([user('a', 1), user('b', 9), user('c', 1)])
  const high = EntityStore.from([user('a', 9), user('b', 1), user('c', 1)])
  /** Asked in every order, so that each meets what every other left behind. */
  const cases: readonly (readonly [env: Env, holds: boolean])[] = [
    [ask(low, {}, { x: 1 }), true],
    [ask(low, {}, { x: 9 }), false],
    [ask(low, { principal: 'b' }, { x: 1 }), false],
    [ask(low, { resource: 'b' }, { x: 1 }), false],
    [ask(low, { resource: 'c' }, { x: 1 }), true],
    [ask(high, {}, { x: 1 }), false],
    [ask(high, { principal: 'b', resource: 'c' }, { x: 1 }), true],
    // A context that was prepared may be met again, with others.
    ...[1, 9].flatMap((x) => {
      const context = prepareContext({ x })
      return (['a', 'b'] as const).map((name) => {
        const env = { ...ask(low, { principal: name, resource: name }), context }
        return [env, x === 1 && name === 'a'] as const
      })
    }),
  ]

  it('are asked anew about each context, principal and resource', () => {
    for (const [first, firstHolds] of cases) {
      for (const [second, secondHolds] of cases) {
        for (const [env, holds] of [
          [first, firstHolds],
          [second, secondHolds],
          [second, secondHolds],
        ] as const) {
          assert.equal(clauses.hold(range, env), holds)
          clauses.begin(env)
          assert.equal(clauses.holdAmong(range, env), holds)
          assert.equal(clauses.holdAmong(range, env), holds)
          assert.equal(clauses.hold(range, env), holds)
        }
      }
    }
  })

  it('fail anew where an entity or an attribute is missing', () => {
    const missing: readonly (readonly [env: Env, message: RegExp])[] = [
      [ask(low, {}), /^record does not have `x`$/],
      [ask(low, { principal: 'z' }, { x: 1 }), /^entity `U::"z"` does not exist$/],
    ]
    for (const [env, message] of missing) {
      for (const [other, holds] of cases) {
        clauses.begin(other)
        assert.equal(clauses.holdAmong(range, other), holds)
        clauses.begin(env)
        for (let i = 0; i < 2; i++) {
          assert.throws(() => clauses.holdAmong(range, env), { name: 'EvaluationError', message })
        }
        assert.throws(() => clauses.hold(range, env), { name: 'EvaluationError', message })
      }
    }
  })

  it('read what another entity says of each store anew', () => {
    const { clauses: read, range: boss } = set('principal.boss.level < 5')
    const stores = [
      EntityStore.from([user('b', 1)]),
      EntityStore.from([user('b', 9)]),
      EntityStore.from([]),
    ]
    const base = EntityStore.from([user('a', 1, 'b')])
    const expected = [true, false, undefined]
    for (const i of [0, 1, 2, 1, 0, 0]) {
      // The principal's record is one and the same in all.
      const env = { ...ask(base, {}), store: stores[i] ?? base }
      read.begin(env)
      for (const holds of [
        () => read.holdAmong(boss, env),
        () => read.holdAmong(boss, env),
        () => read.hold(boss, env),
      ]) {
        if (expected[i] === undefined) assert.throws(holds, EvaluationError)
        else assert.equal(holds(), expected[i])
      }
    }
  })

  it('keep apart what has the same form: texts, numbers, attributes, operators', () => {
    const texts = ['context.a == 1', 'context.a == "1"', 'context.b == 1', 'context.a != 1']
    const { clauses: several, ranges } = set(...texts, 'context.a <= 1', 'context.a >= 2')
    const env = ask(low, {}, { a: 1, b: 2 })
    several.begin(env)
    const expected = [true, false, false, false, true, false]
    assert.deepEqual(
      ranges.map((each) => several.holdAmong(each, env)),
      expected,
    )
    assert.deepEqual(
      ranges.map((each) => several.hold(each, env)),
      expected,
    )
  })

  it('are picked in the order asked for, from policies of any number of them', () => {
    const condition = Array.from({ length: 80 }, (_, i) => `context.x != ${i}`).join(' && ')
    const { clauses: many, range: all } = set(condition)
    const odd = many.pick(
      all,
      Array.from({ length: 40 }, (_, i) => 2 * i + 1),
    )
    for (let x = 0; x < 82; x++) {
      const env = ask(low, {}, { x })
      many.begin(env)
      assert.equal(many.holdAmong(all, env), x >= 80, `${x}`)
      assert.equal(many.holdAmong(odd, env), x % 2 === 0 || x >= 80, `${x}`)
      assert.equal(many.holdsAt(all, 7, env), x !== 7)
    }
    assert.equal(many.hold(many.pick(all, []), ask(low, {})), true)
  })
})
