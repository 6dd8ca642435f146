import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { closeCedar, EntityStore, loadPolicySet, loadSchema, renderAst } from '../src/index.ts'
import type { EntityUid, PolicyAst, ScopeAst } from '../src/index.ts'
import { estOf, exprOf } from '../src/ast.ts'
import { compileBool } from '../src/compile.ts'
import { CORPUS, readCorpus } from './corpus.ts'
import { generateTrial } from './generate.ts'

after(closeCedar)

/** Every 4th policy of the corpus; `CEDAR_EVERY=1` takes all. */
const EVERY = Number(process.env['CEDAR_EVERY'] ?? 4)

/** `CEDAR_TRIALS=1000` takes more random policy sets, and a mutation run fewer. */
const TRIALS = Number(process.env['CEDAR_TRIALS'] ?? 60)

const NO_INTEGERS: ReadonlyMap<number, bigint> = new Map()

/** A policy as text again, out of nothing but its AST. */
function render(policy: PolicyAst): string {
  const uid = (entity: EntityUid): string => renderAst({ kind: 'entity', uid: entity })
  const scope = (name: string, side: ScopeAst): string => {
    switch (side.kind) {
      case 'all':
        return name
      case 'is':
        return `${name} is ${side.type}`
      case 'eq':
        return `${name} == ${uid(side.entity)}`
      default: {
        const list = side.entities.map(uid)
        const type = side.type === undefined ? '' : ` is ${side.type}`
        return `${name}${type} in ${list.length === 1 ? list.join('') : `[${list.join(', ')}]`}`
      }
    }
  }
  const head = (['principal', 'action', 'resource'] as const).map((name) =>
    scope(name, policy[name]),
  )
  const clauses = policy.clauses.map(({ kind, body }) => `${kind} { ${renderAst(body)} }`)
  return `${policy.effect}(${head.join(', ')}) ${clauses.join(' ')};`
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'bigint' ? `integer ${inner}` : inner,
  )

describe('the AST of policies', () => {
  it('holds every form of expression with its real values', async () => {
    const source = `@owner("risk")
      permit(principal is U in G::"g", action in [Action::"a", Action::"b"], resource == R::"r")
      when { context has a.b && principal["x y"].n == -9223372036854775808 }
      unless { resource is R in G::"h" || context.s like "a\\**b" || -(5) < 9007199254740993 }
      when { if [1, "x"].contains({a: true}) then ip("::1").isLoopback() else !principal.hasTag("t") };`
    const set = await loadPolicySet({ policies: [{ id: 'p', source }] })
    const [policy] = set.policies()
    assert.equal(set.policies(), set.policies(), 'made once')
    assert.ok(policy)
    assert.deepEqual(policy.annotations, { owner: 'risk' })
    assert.deepEqual(policy.principal, {
      kind: 'in',
      type: 'U',
      entities: [{ type: 'G', id: 'g' }],
    })
    assert.deepEqual(policy.action, {
      kind: 'in',
      entities: [
        { type: 'Action', id: 'a' },
        { type: 'Action', id: 'b' },
      ],
    })
    assert.deepEqual(policy.resource, { kind: 'eq', entity: { type: 'R', id: 'r' } })
    const [first, second, third] = policy.clauses
    assert.deepEqual(first?.kind === 'when' && first.body, {
      kind: 'binary',
      operator: '&&',
      left: { kind: 'has', of: { kind: 'variable', name: 'context' }, path: ['a', 'b'] },
      right: {
        kind: 'binary',
        operator: '==',
        left: {
          kind: 'attribute',
          of: { kind: 'attribute', of: { kind: 'variable', name: 'principal' }, name: 'x y' },
          name: 'n',
        },
        right: { kind: 'long', value: -(2n ** 63n) },
      },
    })
    assert.equal(second?.kind, 'unless')
    assert.equal(
      text(second?.body),
      '{"kind":"binary","operator":"||","left":{"kind":"binary","operator":"||","left":{"kind":"is","operand":{"kind":"variable","name":"resource"},"type":"R","in":{"kind":"entity","uid":{"type":"G","id":"h"}}},"right":{"kind":"like","operand":{"kind":"attribute","of":{"kind":"variable","name":"context"},"name":"s"},"pattern":["a*","b"]}},"right":{"kind":"binary","operator":"<","left":{"kind":"negate","operand":{"kind":"long","value":"integer 5"}},"right":{"kind":"long","value":"integer 9007199254740993"}}}',
    )
    assert.equal(
      text(third?.body),
      '{"kind":"if","test":{"kind":"binary","operator":"contains","left":{"kind":"set","items":[{"kind":"long","value":"integer 1"},{"kind":"string","value":"x"}]},"right":{"kind":"record","members":[["a",{"kind":"bool","value":true}]]}},"yes":{"kind":"call","function":"isLoopback","args":[{"kind":"call","function":"ip","args":[{"kind":"string","value":"::1"}]}]},"no":{"kind":"not","operand":{"kind":"binary","operator":"hasTag","left":{"kind":"variable","name":"principal"},"right":{"kind":"string","value":"t"}}}}',
    )
    assert.ok(policy.condition?.kind === 'binary' && policy.condition.operator === '&&')
  })

  it('fills the slots of templates', async () => {
    const set = await loadPolicySet({
      policies: [],
      templates: [
        { id: 't', source: 'permit(principal in ?principal, action, resource is R in ?resource);' },
      ],
      links: [
        {
          id: 'l',
          templateId: 't',
          principal: { type: 'G', id: 'g' },
          resource: { type: 'F', id: 'f' },
        },
      ],
    })
    const [policy] = set.policies()
    assert.deepEqual(
      [policy?.id, policy?.principal, policy?.resource, policy?.condition],
      [
        'l',
        { kind: 'in', entities: [{ type: 'G', id: 'g' }] },
        { kind: 'in', type: 'R', entities: [{ type: 'F', id: 'f' }] },
        undefined,
      ],
    )
  })

  it('decides the same when rendered and parsed again, whatever the policies', async () => {
    let decisions = 0
    for (let seed = 1; seed <= TRIALS; seed++) {
      const { input, entities, requests } = generateTrial(seed)
      const set = await loadPolicySet(input)
      const asts = set.policies()
      const again = await loadPolicySet({
        policies: asts.map((policy) => ({ id: policy.id, source: render(policy) })),
      })
      assert.equal(text(again.policies().map(bare)), text(asts.map(bare)), `seed ${seed}`)
      const store = EntityStore.from(entities)
      for (const request of requests) {
        assert.deepEqual(again.decide(request, store), set.decide(request, store), `seed ${seed}`)
        decisions++
      }
    }
    assert.ok(decisions > 3 * TRIALS)
  })

  it(
    'is lossless for the policies of the official corpus',
    { skip: CORPUS === undefined ? 'no corpus: set SALLYPORT_DATA' : false },
    async () => {
      const cases = readCorpus(CORPUS ?? '').filter((_, i) => i % EVERY === 0)
      const policies = cases.map(({ policy }, i) => ({ id: `p${i}`, source: policy }))
      const set = await loadPolicySet({ policies })
      const asts = set.policies()
      const again = await loadPolicySet({
        policies: asts.map((policy) => ({ id: policy.id, source: render(policy) })),
      })
      const back = again.policies()
      let decisions = 0
      for (const [i, ast] of asts.entries()) {
        assert.equal(text(back[i] && bare(back[i])), text(bare(ast)), cases[i]?.name)
        if (ast.condition === undefined) continue
        const est = estOf(ast.condition)
        assert.equal(text(exprOf(est, NO_INTEGERS)), text(ast.condition), cases[i]?.name)
        compileBool(est, NO_INTEGERS)
        // Every 10th decides, which takes a set of its own.
        if (i % 10 !== 0) continue
        const own = await loadPolicySet({ policies: [{ id: 'policy0', source: render(ast) }] })
        const store = EntityStore.from(cases[i]?.entities ?? [])
        for (const request of cases[i]?.requests ?? []) {
          const { decision, reasons, errors } = own.decide(request, store)
          assert.deepEqual(
            [decision, reasons, errors.map(({ policyId }) => policyId)],
            [request.decision, request.reason, request.errors],
            cases[i]?.name,
          )
          decisions++
        }
      }
      assert.ok(asts.length > 1900 && decisions > 1000, `${asts.length} policies, ${decisions}`)
    },
  )
})

/** What must survive: annotations are not rendered. */
const bare = ({ annotations: _annotations, ...policy }: PolicyAst): unknown => policy

describe('the types of a schema', () => {
  it('are resolved, namespaces and all', async () => {
    const schema = await loadSchema(`
      namespace A {
        type T = { x: Long, y?: Set<ipaddr> };
        entity U in [G] { t: T, u?: U, "a b": decimal } tags Set<String>;
        entity G;
        entity Color enum ["red", "blue"];
        action a in [c] appliesTo { principal: [U], resource: [U, G], context: { q: T, c: Color } };
        action c;
        action d appliesTo { principal: U, resource: G, context: T };
      }`)
    const types = schema.types()
    assert.equal(types, schema.types())
    assert.deepEqual([...types.entityTypes.keys()].sort(), ['A::Color', 'A::G', 'A::U'])
    const t = {
      kind: 'record',
      attributes: new Map([
        ['x', { type: { kind: 'long' }, required: true }],
        ['y', { type: { kind: 'set', element: { kind: 'ipaddr' } }, required: false }],
      ]),
    }
    assert.deepEqual(types.entityTypes.get('A::U'), {
      name: 'A::U',
      attributes: new Map<string, unknown>([
        ['a b', { type: { kind: 'decimal' }, required: true }],
        ['t', { type: t, required: true }],
        ['u', { type: { kind: 'entity', type: 'A::U' }, required: false }],
      ]),
      tags: { kind: 'set', element: { kind: 'string' } },
      parents: ['A::G'],
      ids: undefined,
    })
    assert.deepEqual(types.entityTypes.get('A::Color')?.ids, ['red', 'blue'])
    assert.deepEqual(types.action({ type: 'A::Action', id: 'a' }), {
      uid: { type: 'A::Action', id: 'a' },
      principals: ['A::U'],
      resources: ['A::U', 'A::G'],
      context: {
        kind: 'record',
        attributes: new Map<string, unknown>([
          ['c', { type: { kind: 'entity', type: 'A::Color' }, required: true }],
          ['q', { type: t, required: true }],
        ]),
      },
      parents: [{ type: 'A::Action', id: 'c' }],
    })
    assert.deepEqual(types.action({ type: 'A::Action', id: 'd' })?.context, t)
    assert.deepEqual(types.action({ type: 'A::Action', id: 'c' })?.principals, [])
    assert.equal(types.action({ type: 'A::Action', id: 'z' }), undefined)
  })
})
