import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { estOf, exprOf } from '../src/ast.ts'
import { allOf } from '../src/code.ts'
import { compileAll, compileBool, compileValue } from '../src/compile.ts'
import type { ExprEst } from '../src/est.ts'
import { Pool } from '../src/pool.ts'
import { EvaluationError } from '../src/value.ts'
import { EXPRESSION_ENTITIES, EXPRESSION_REQUEST, EXPRESSIONS } from './expressions.ts'
import { envOf } from './env.ts'
import { parseSource } from './parse.ts'

const env = envOf(EXPRESSION_REQUEST, EXPRESSION_ENTITIES)
const result = (evaluate: () => unknown): string => {
  try {
    return String(evaluate())
  } catch (error) {
    assert.ok(error instanceof EvaluationError, String(error))
    return error.message
  }
}
const parsed = (expression: string) => {
  const { est, integers } = parseSource(
    `permit(principal, action, resource) when { ${expression} };`,
  )
  const [condition] = est.conditions
  assert.ok(condition)
  return { body: condition.body, integers }
}

/** As a policy of a set: once alone, and once among policies that read the same. */
const inSet = (body: ExprEst, integers: ReadonlyMap<number, bigint>, pool: Pool): string[] => {
  const range = pool.clauses.add(compileAll([body], integers, pool))
  const alone = result(() => pool.clauses.hold(range, env))
  pool.clauses.begin(env)
  const among = [1, 2].map(() => result(() => pool.clauses.holdAmong(range, env)))
  return [alone, ...among]
}

describe('expressions', () => {
  // One test for all: a mutation run starts this file a thousand times.
  it(`come to what the table of ${EXPRESSIONS.length} says`, () => {
    const pool = new Pool()
    for (const [expression, comes] of EXPRESSIONS) {
      const { body, integers } = parsed(expression)
      assert.equal(
        result(() => compileBool(body, integers)(env)),
        comes,
        expression,
      )
      // Alone, in one set with all others, and as a value are three ways through the compiler.
      assert.deepEqual(inSet(body, integers, pool), [comes, comes, comes], expression)
      const value = result(() => compileValue(body, integers)(env))
      if (comes === 'true' || comes === 'false') assert.equal(value, comes, expression)
    }
  })

  it('mean the same as ASTs, and as what these are written back to', () => {
    for (const [expression, comes] of EXPRESSIONS) {
      const { body, integers } = parsed(expression)
      const ast = exprOf(body, integers)
      const est = estOf(ast)
      assert.equal(
        result(() => compileBool(est, new Map())(env)),
        comes,
        expression,
      )
      assert.deepEqual(exprOf(est, new Map()), ast, expression)
    }
  })

  const unknown: [string, object][] = [
    ['an operator', { nand: { left: { Value: true }, right: { Value: true } } }],
    ['a variable', { Var: 'session' }],
    ['a literal', { Value: null }],
    ['an expression', {}],
    ['a slot', { Slot: '?principal' }],
  ]
  for (const [name, body] of unknown) {
    it(`refuses ${name} it does not know, when compiling`, () => {
      const est = body as Readonly<Record<string, unknown>>
      assert.throws(() => compileBool(est, new Map()), { code: 'SP_CEDAR_UNSUPPORTED' })
      assert.throws(() => exprOf(est, new Map()), { code: 'SP_CEDAR_UNSUPPORTED' })
    })
  }

  it('names what it does not know, cut to a readable length', () => {
    const refused = (body: Readonly<Record<string, unknown>>, message: string): void => {
      assert.throws(() => compileBool(body, new Map()), { message })
      assert.throws(() => exprOf(body, new Map()), { message })
    }
    refused({ Var: 'session' }, 'the policy uses `session`')
    refused({ Value: null }, 'the policy uses `null`')
    refused({ Value: undefined }, 'the policy uses `undefined`')
    refused({ Value: { x: 1 } }, 'the policy uses `{"x":1}`')
    refused(
      { ['x'.repeat(100)]: { left: { Value: 1 }, right: { Value: 1 } } },
      `the policy uses \`${'x'.repeat(60)}\``,
    )
  })

  it('splits nested `&&` into clauses, left to right', () => {
    const { body } = parsed('context.a && (context.b && context.c) && !(context.d && context.e)')
    assert.equal(compileAll([body], new Map(), new Pool()).length, 4)
    const order: string[] = []
    const seen = (name: string) => () => {
      order.push(name)
      return true
    }
    for (const count of [0, 1, 2, 3, 4, 5, 6]) {
      order.length = 0
      const names = ['a', 'b', 'c', 'd', 'e', 'f'].slice(0, count)
      assert.equal(allOf(names.map(seen))(env), true)
      assert.deepEqual(order, names)
      for (const [i, name] of names.entries()) {
        order.length = 0
        const codes = names.map((each) => (each === name ? () => false : seen(each)))
        assert.equal(allOf(codes)(env), false)
        assert.deepEqual(order, names.slice(0, i))
      }
    }
  })
})

describe('the pool of a set', () => {
  it('keeps one object for all mentions of an entity', () => {
    const pool = new Pool()
    const a = pool.entity('U', 'a')
    assert.deepEqual([a.type, a.id], ['U', 'a'])
    assert.equal(pool.entity('U', 'a'), a)
    assert.notEqual(pool.entity('U', 'b'), a)
    assert.notEqual(pool.entity('V', 'a'), a)
    assert.equal(pool.entity('V', 'a').type, 'V')
  })

  it('compiles like expressions once, and unlike ones each', () => {
    const pool = new Pool()
    let compiled = 0
    const compile = () => ({ run: () => ++compiled })
    const share = (expr: object) => pool.expression(expr, compile)
    const kinds = ['1', 1, true, null, [], {}, [1], ['1'], { a: 1 }, { b: 1 }, { a: [1] }, [[1]]]
    const made = kinds.map((Value) => share({ Value }))
    assert.equal(new Set(made).size, kinds.length)
    for (const [i, Value] of kinds.entries()) assert.equal(share({ Value }), made[i])
    assert.notEqual(share({ Value: [1, 2] }), share({ Value: [2, 1] }))
    assert.notEqual(share({ Var: [1, [2]] }), share({ Var: [[1], 2] }))
  })

  it('looks at 48 parts of an expression and no more', () => {
    const pool = new Pool()
    const share = (items: number) =>
      pool.expression({ Set: Array.from({ length: items }, (_, i) => i) }, () => ({
        run: () => true,
      }))
    // The object and its array are parts too.
    assert.equal(share(46), share(46))
    assert.notEqual(share(47), share(47))
    const nested = (depth: number): object => (depth === 0 ? {} : { a: nested(depth - 1) })
    const deep = (depth: number) => pool.expression(nested(depth), () => ({ run: () => true }))
    assert.equal(deep(47), deep(47))
    assert.notEqual(deep(48), deep(48))
  })

  it('does not share what has stand-ins for large integers', () => {
    const pool = new Pool()
    const of = (expression: string): boolean => {
      const { body, integers } = parsed(expression)
      const [alone, ...among] = inSet(body, integers, pool)
      for (const each of among) assert.equal(each, alone)
      return alone === 'true'
    }
    // Both policies have the same stand-in in the same place.
    assert.equal(of('context.big == 9007199254740993'), true)
    assert.equal(of('context.big == 9007199254740995'), false)
    assert.equal(of('context.big == 9007199254740993'), true)
  })
})
