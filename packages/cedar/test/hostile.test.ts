import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import {
  checkPolicies,
  closeCedar,
  EntityStore,
  loadPolicySet,
  splitPolicies,
} from '../src/index.ts'
import type { Request } from '../src/index.ts'
import { parsePolicies } from '../src/parser.ts'

/** Time that others on the machine take does not count. */
function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

after(closeCedar)

const when = (body: string): string => `permit(principal, action, resource) when { ${body} };`
const load = (body: string) => loadPolicySet({ policies: [{ id: 'p', source: when(body) }] })
const uid = (type: string, id: string) => ({ type, id })
const request = (context: unknown = {}): Request => ({
  principal: uid('U', 'a'),
  action: uid('Action', 'a'),
  resource: uid('U', 'b'),
  // Hostile callers are not held by types.
  context: context as Request['context'],
})
const NOBODY = EntityStore.from([])

describe('hostile policies', () => {
  const refused: [string, string, string][] = [
    [
      '10,000 nested parentheses',
      `${'('.repeat(10_000)}true${')'.repeat(10_000)}`,
      'SP_CEDAR_LIMIT',
    ],
    ['41 nested sets', `${'['.repeat(40)}${']'.repeat(40)} == 1`, 'SP_CEDAR_LIMIT'],
    ['a chain of 600 operators', Array(600).fill('true').join(' && '), 'SP_CEDAR_LIMIT'],
    ['600 chained conditionals', `${'if true then true else '.repeat(600)}true`, 'SP_CEDAR_LIMIT'],
    ['600 member accesses', `context${'.a'.repeat(600)}`, 'SP_CEDAR_LIMIT'],
    ['a megabyte literal', `"${'a'.repeat(1e6)}" == context.s`, 'SP_CEDAR_LIMIT'],
    ['a lone surrogate', '"\ud800" == "a"', 'SP_CEDAR_SYNTAX'],
    ['a `__proto__` record key', 'context == {"__proto__": 1}', 'SP_CEDAR_SYNTAX'],
    ['a spelled-out `__proto__`', 'context == {"\\u{5f}_proto__": 1}', 'SP_CEDAR_SYNTAX'],
    ['a `__proto__` attribute', 'context.__proto__ == 1', 'SP_CEDAR_SYNTAX'],
    ['an identifier with a look-alike letter', 'соntext.a', 'SP_CEDAR_SYNTAX'],
    ['an integer of 65 bits', '9223372036854775808 == 1', 'SP_CEDAR_SYNTAX'],
    ['an unclosed string', '"', 'SP_CEDAR_SYNTAX'],
    ['an unknown function', 'eval("1")', 'SP_CEDAR_SYNTAX'],
  ]
  for (const [name, body, code] of refused) {
    it(`refuses ${name}, quickly`, async () => {
      const start = processorMs()
      await assert.rejects(load(body), { code })
      assert.ok(processorMs() - start < 5000)
    })
  }

  it('still takes what stands just within the bounds', async () => {
    const deep = await load(`${'('.repeat(38)}true${')'.repeat(38)}`)
    assert.equal(deep.decide(request(), NOBODY).decision, 'allow')
    const long = await load(Array(500).fill('true').join(' && '))
    assert.equal(long.decide(request(), NOBODY).decision, 'allow')
    assert.equal(long.explain(request(), NOBODY).policies[0]?.conditions.length, 500)
  })

  it('outlives a parser that crashes', async () => {
    // Past the bounds on purpose: this is what they keep away from the parser.
    const bomb = when(`${'['.repeat(3000)}${']'.repeat(3000)} == 1`)
    await assert.rejects(parsePolicies([bomb]), { code: 'SP_CEDAR_PARSER' })
    const set = await load('true')
    assert.equal(set.decide(request(), NOBODY).decision, 'allow')
  })

  it('refuses ids that would confuse a reader or an object', async () => {
    for (const id of ['', '__proto__', 'a\nb', 'a'.repeat(300)]) {
      const policies = [{ id, source: when('true') }]
      await assert.rejects(loadPolicySet({ policies }), { code: 'SP_CEDAR_SYNTAX' })
    }
    const twice = [1, 2].map(() => ({ id: 'p', source: when('true') }))
    await assert.rejects(loadPolicySet({ policies: twice }), { code: 'SP_CEDAR_SYNTAX' })
  })
})

describe('hostile requests', () => {
  const knot: Record<string, unknown> = {}
  knot['self'] = knot
  let deep: unknown = 1
  for (let i = 0; i < 10_000; i++) deep = { deep }
  const refused: [string, unknown][] = [
    ['null', { x: null }],
    ['undefined', { x: undefined }],
    ['a fraction', { x: 1.5 }],
    ['NaN', { x: Number.NaN }],
    ['an integer that is not exact', { x: 2 ** 53 }],
    ['a bigint of 65 bits', { x: 2n ** 63n }],
    ['a function', { x: () => 1 }],
    ['a symbol', { x: Symbol('x') }],
    ['a date object', { x: new Date(0) }],
    ['a map', { x: new Map([['a', 1]]) }],
    ['a cycle', knot],
    ['10,000 levels', deep],
    ['a lone surrogate', { x: '\udc00' }],
    ['a lone surrogate as a key', { '\udc00': 1 }],
    ['an entity with a companion', { x: { __entity: uid('U', 'a'), y: 1 } }],
    ['an entity with too much in it', { x: { __entity: { ...uid('U', 'a'), z: 1 } } }],
    ['an unknown extension', { x: { __extn: { fn: 'exec', arg: 'ls' } } }],
    ['a predicate as a value', { x: { __extn: { fn: 'isIpv4', arg: '1.2.3.4' } } }],
    ['an address that is none', { x: { __extn: { fn: 'ip', arg: '1.2.3' } } }],
  ]
  for (const [name, context] of refused) {
    it(`refuses ${name} in the context`, async () => {
      const set = await load('true')
      assert.throws(() => set.decide(request(context), NOBODY), { code: 'SP_CEDAR_VALUE' })
    })
  }

  it('takes members named like built-ins for what they are', async () => {
    const set = await load(
      'context has constructor && context.constructor == 1 && !(context has toString)',
    )
    assert.equal(set.decide(request({ constructor: 1 }), NOBODY).decision, 'allow')
    assert.equal(set.decide(request({}), NOBODY).decision, 'deny')
    const own = JSON.parse('{"__proto__":{"admin":true}}') as object
    const admin = await load('context.admin')
    assert.equal(admin.decide(request(own), NOBODY).decision, 'deny')
    assert.equal(admin.decide(request({ admin: true }), NOBODY).decision, 'allow')
  })

  it('matches wildcards without blowing up', async () => {
    const set = await load(`context.s like "${'*a'.repeat(200)}b"`)
    const start = processorMs()
    assert.equal(set.decide(request({ s: 'a'.repeat(100_000) }), NOBODY).decision, 'deny')
    assert.ok(processorMs() - start < 1000)
  })
})

describe('entities', () => {
  const entity = (id: string, ...parents: string[]) => ({
    uid: uid('U', id),
    attrs: {},
    parents: parents.map((parent) => uid('U', parent)),
  })

  it('refuses cycles and duplicates', () => {
    const code = 'SP_CEDAR_ENTITIES'
    assert.throws(() => EntityStore.from([entity('a', 'a')]), { code })
    assert.throws(() => EntityStore.from([entity('a', 'b'), entity('b', 'c'), entity('c', 'a')]), {
      code,
    })
    assert.throws(() => EntityStore.from([entity('a'), entity('a')]), { code })
    assert.throws(() => EntityStore.from([entity('a')]).with([entity('a')]), { code })
  })

  it('closes over a chain as deep as it is long', () => {
    const chain = Array.from({ length: 2000 }, (_, i) => entity(String(i), String(i + 1)))
    const store = EntityStore.from(chain)
    assert.equal(store.get(uid('U', '0'))?.ancestors.length, 2000)
  })

  it('lays entities over others as if all had been there at once', async () => {
    const set = await loadPolicySet({
      policies: [{ id: 'p', source: 'permit(principal in U::"top", action, resource);' }],
    })
    const base = EntityStore.from([entity('a', 'mid')])
    assert.equal(set.decide(request(), base).decision, 'deny')
    // `mid` was a mere name until now: what `a` descends from changes with it.
    const whole = base.with([entity('mid', 'top')])
    assert.equal(set.decide(request(), whole).decision, 'allow')
    assert.equal(set.decide(request(), base).decision, 'deny')
    const over = EntityStore.from([entity('mid', 'top')]).with([entity('a', 'mid')])
    assert.equal(set.decide(request(), over).decision, 'allow')
    assert.equal(over.size, 2)
    assert.equal([...over.records()].length, 2)
  })
})

describe('splitPolicies', () => {
  it('cuts a file into policies with ids, lines and spans', async () => {
    const text = `// first; not the end\n@id("one")\npermit(principal, action, resource)\nwhen { context.s == ";\\";" };\n\nforbid(principal, action, resource);\n`
    const split = await splitPolicies(text, 'policies/base.cedar')
    assert.deepEqual(
      split.map(({ id, line }) => [id, line]),
      [
        ['one', 2],
        ['base.policy1', 6],
      ],
    )
    assert.ok(split[0]?.source.startsWith('// first'))
    assert.equal(split[1]?.source, 'forbid(principal, action, resource);')
    assert.deepEqual(await splitPolicies('// nothing\n', 'x.cedar'), [])
  })

  it('says where a file is wrong', async () => {
    const wrong = 'permit(principal, action, resource);\n\npermit(é, action, resource);'
    await assert.rejects(
      splitPolicies(wrong, 'x.cedar'),
      (error: { code: string; span: object }) => {
        assert.equal(error.code, 'SP_CEDAR_SYNTAX')
        assert.deepEqual(error.span, { file: 'x.cedar', line: 3, column: 8 })
        return true
      },
    )
    const open = 'permit(principal, action, resource)'
    await assert.rejects(splitPolicies(open, 'x.cedar'), { code: 'SP_CEDAR_SYNTAX' })
    const twice =
      '@id("a") permit(principal, action, resource); @id("a") forbid(principal, action, resource);'
    await assert.rejects(splitPolicies(twice, 'x.cedar'), { code: 'SP_CEDAR_SYNTAX' })
  })
})

describe('checkPolicies', () => {
  const schema = 'entity U; action a appliesTo { principal: U, resource: U, context: { n: Long } };'

  it('points into the source in UTF-16 units', async () => {
    const source = when('"é😀" == "x" || context.m == 1')
    const { ok, diagnostics } = await checkPolicies({ policies: [{ id: 'p', source }], schema })
    assert.equal(ok, false)
    const [first] = diagnostics
    assert.equal(first?.policyId, 'p')
    assert.equal(source.slice(first?.start, first?.end), 'context.m')
  })

  it('lets warnings be warnings', async () => {
    const { ok, diagnostics } = await checkPolicies({
      policies: [{ id: 'p', source: when('false') }],
      schema,
    })
    assert.equal(ok, true)
    assert.equal(diagnostics[0]?.severity, 'warning')
  })

  it('reports a schema that is none', async () => {
    const { ok } = await checkPolicies({ policies: [], schema: 'entity' })
    assert.equal(ok, false)
  })
})
