import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { closeCedar, EntityStore, loadPolicySet, prepareContext } from '../src/index.ts'
import type { PolicySet, Request } from '../src/index.ts'
import type { PolicyInput } from '../src/policy-set.ts'

after(closeCedar)

const uid = (type: string, id: string) => ({ type, id })
const STORE = EntityStore.from([
  { uid: uid('U', 'a'), attrs: { n: 1 }, parents: [uid('G', 'g')] },
  { uid: uid('U', 'b'), attrs: {}, parents: [] },
])
const ask = (principal = 'a', context: Request['context'] = { n: 5 }): Request => ({
  principal: uid('U', principal),
  action: uid('Action', 'read'),
  resource: uid('Doc', 'd'),
  context,
})
const when = (body: string, effect = 'permit'): string =>
  `${effect}(principal, action, resource) when { ${body} };`
const input = (...sources: string[]): PolicyInput => ({
  policies: sources.map((source, i) => ({ id: `p${i}`, source })),
})
/** A set that remembers slices, one that does not, and one that forgets at once; all must agree. */
const load = async (given: PolicyInput): Promise<PolicySet[]> =>
  Promise.all(
    [undefined, 0, 4].map((sliceMemo) =>
      loadPolicySet(sliceMemo === undefined ? given : { ...given, sliceMemo }),
    ),
  )

const YES = when('true')
const NO = when('false')
const ERROR = when('context.q == 1')
const FORBID = when('true', 'forbid')
const PASS = when('false', 'forbid')
const FORBID_ERROR = when('context.q == 1', 'forbid')
const MESSAGE = 'record does not have `q`'

describe('decisions', () => {
  const cases: [
    name: string,
    sources: string[],
    decision: 'allow' | 'deny',
    reasons: number[],
    errors: number[],
  ][] = [
    ['nothing permits', [NO], 'deny', [], []],
    ['one permit', [YES], 'allow', [0], []],
    ['one forbid', [FORBID], 'deny', [0], []],
    ['one forbid that does not hold', [PASS], 'deny', [], []],
    ['one error', [ERROR], 'deny', [], [0]],
    ['one forbid that fails', [FORBID_ERROR], 'deny', [], [0]],
    ['all permits', [YES, NO, YES, YES], 'allow', [0, 2, 3], []],
    ['a forbid over permits', [YES, FORBID, YES], 'deny', [1], []],
    ['several forbids', [FORBID, YES, FORBID], 'deny', [0, 2], []],
    ['errors are skipped', [ERROR, YES, FORBID_ERROR], 'allow', [1], [0, 2]],
    ['errors beside a forbid', [ERROR, FORBID], 'deny', [1], [0]],
    ['errors alone', [ERROR, NO, ERROR], 'deny', [], [0, 2]],
    ['a forbid that does not hold', [PASS, YES], 'allow', [1], []],
  ]
  for (const [name, sources, decision, reasons, errors] of cases) {
    it(name, async () => {
      const expected = {
        decision,
        reasons: reasons.map((i) => `p${i}`),
        errors: errors.map((i) => ({ policyId: `p${i}`, message: MESSAGE })),
      }
      for (const set of await load(input(...sources))) {
        // Twice each: the second time, slices are remembered.
        for (let round = 0; round < 2; round++) {
          assert.deepEqual(set.decide(ask(), STORE), expected)
          assert.deepEqual(set.explain(ask(), STORE).decision, expected)
          const context = prepareContext({ n: 5 })
          assert.deepEqual(set.decide({ ...ask(), context }, STORE), expected)
        }
      }
    })
  }

  it('list reasons and errors in the order of the set, wherever the policies are filed', async () => {
    const scopes = [
      'principal == U::"a", action, resource',
      'principal, action, resource is Doc',
      'principal in G::"g", action in [Action::"read", Action::"write"], resource',
      'principal, action == Action::"read", resource == Doc::"d"',
      'principal is U, action, resource',
      'principal, action, resource',
    ]
    for (const order of [
      scopes,
      scopes.toReversed(),
      [...scopes.slice(3), ...scopes.slice(0, 3)],
    ]) {
      const permits = order.map((scope) => `permit(${scope});`)
      const failing = order.map((scope) => `permit(${scope}) when { context.q == 1 };`)
      for (const set of await load(input(...permits, ...failing))) {
        for (let round = 0; round < 3; round++) {
          const { reasons, errors } = set.decide(ask(), STORE)
          assert.deepEqual(
            reasons,
            [0, 1, 2, 3, 4, 5].map((i) => `p${i}`),
          )
          assert.deepEqual(
            errors.map(({ policyId }) => policyId),
            [6, 7, 8, 9, 10, 11].map((i) => `p${i}`),
          )
        }
      }
    }
  })

  it('keep nothing of one request for another', async () => {
    const own = 'permit(principal == U::"b", action, resource);'
    for (const set of await load(input(when('context.n == 5'), own, when('principal.n == 1')))) {
      for (let round = 0; round < 3; round++) {
        assert.deepEqual(set.decide(ask(), STORE).reasons, ['p0', 'p2'])
        assert.deepEqual(set.decide(ask('b'), STORE).reasons, ['p0', 'p1'])
        assert.deepEqual(set.decide(ask('a', { n: 6 }), STORE).reasons, ['p2'])
        assert.deepEqual(set.decide(ask('nobody', { n: 6 }), STORE).reasons, [])
      }
    }
  })

  it('refuse a request that holds no Cedar values', async () => {
    const [set] = await load(input(YES))
    assert.throws(() => set?.decide({ ...ask(), principal: uid('U', '\ud800') }, STORE), {
      code: 'SP_CEDAR_VALUE',
    })
    assert.throws(() => set?.decide(ask('a', { n: 1.5 }), STORE), { code: 'SP_CEDAR_VALUE' })
  })

  it('answer for effects and annotations by id', async () => {
    const set = await loadPolicySet(input(`@a("b") ${YES}`, FORBID))
    assert.equal(set.size, 2)
    assert.deepEqual(
      [set.effect('p0'), set.effect('p1'), set.effect('p2')],
      ['permit', 'forbid', undefined],
    )
    assert.deepEqual(
      [set.annotations('p0'), set.annotations('p1'), set.annotations('p2')],
      [{ a: 'b' }, {}, {}],
    )
    assert.equal((await loadPolicySet({ policies: [] })).decide(ask(), STORE).decision, 'deny')
  })

  it('tell large integers apart that a double cannot', async () => {
    const is = (n: string) => when(`context.n == ${n}`)
    const [set] = await load(input(is('9007199254740993'), is('9007199254740992'), is('5')))
    const decide = (n: bigint) => set?.decide(ask('a', { n }), STORE).reasons
    assert.deepEqual(decide(9_007_199_254_740_993n), ['p0'])
    assert.deepEqual(decide(9_007_199_254_740_992n), ['p1'])
    assert.deepEqual(decide(5n), ['p2'])
  })
})

describe('templates', () => {
  const template = (source: string) => [{ id: 't', source }]
  const both = template('permit(principal == ?principal, action, resource in ?resource);')
  const [a, d] = [uid('U', 'a'), uid('Doc', 'd')]

  it('permit as their links fill them', async () => {
    const set = await loadPolicySet({
      policies: [{ id: 'own', source: NO }],
      templates: [
        ...both,
        {
          id: 'u',
          source:
            'forbid(principal is U in ?principal, action, resource) when { context.n == 9007199254740993 };',
        },
      ],
      links: [
        { id: 'l1', templateId: 't', principal: a, resource: d },
        { id: 'l2', templateId: 't', principal: uid('U', 'b'), resource: d },
        { id: 'l3', templateId: 'u', principal: uid('G', 'g') },
      ],
    })
    assert.equal(set.size, 4)
    assert.deepEqual(set.decide(ask(), STORE).reasons, ['l1'])
    assert.deepEqual(set.decide(ask('b'), STORE).reasons, ['l2'])
    assert.deepEqual(set.decide(ask('a', { n: 9_007_199_254_740_993n }), STORE).reasons, ['l3'])
    assert.deepEqual(set.decide(ask('b', { n: 9_007_199_254_740_993n }), STORE).reasons, ['l2'])
    assert.equal(set.effect('l3'), 'forbid')
    assert.equal(set.effect('t'), undefined)
  })

  const wrong: [string, object, string][] = [
    ['names no template', { templateId: 'x', principal: a, resource: d }, 'names no template'],
    ['leaves a slot empty', { templateId: 't', principal: a }, 'leaves a slot empty'],
    ['leaves the other slot empty', { templateId: 't', resource: d }, 'leaves a slot empty'],
  ]
  for (const [name, link, what] of wrong) {
    it(`refuse a link that ${name}`, async () => {
      const links = [{ id: 'l', ...link } as { id: string; templateId: string }]
      await assert.rejects(loadPolicySet({ policies: [], templates: both, links }), {
        code: 'SP_CEDAR_INVALID',
        message: `the template link \`l\` ${what}`,
      })
    })
  }
  it('refuse a link that fills a slot too many', async () => {
    const templates = template('permit(principal == ?principal, action, resource);')
    const links = [{ id: 'l', templateId: 't', principal: a, resource: d }]
    await assert.rejects(loadPolicySet({ policies: [], templates, links }), {
      code: 'SP_CEDAR_INVALID',
      message: 'the template link `l` fills a slot that the template does not have',
    })
  })
})

describe('what does not load', () => {
  it('names the policy that cannot be read', async () => {
    await assert.rejects(loadPolicySet(input(YES, 'permit(')), {
      code: 'SP_CEDAR_SYNTAX',
      message: /^policy `p1`: failed to parse/,
    })
    await assert.rejects(loadPolicySet(input(when('context.n == 9223372036854775808'))), {
      code: 'SP_CEDAR_SYNTAX',
    })
    await assert.rejects(loadPolicySet({ policies: [], templates: [{ id: 't', source: YES }] }), {
      code: 'SP_CEDAR_SYNTAX',
      message: /^policy `t`: /,
    })
  })

  it('names the policy or the schema that is wrong', async () => {
    const schema =
      'entity U; entity Doc; action read appliesTo { principal: U, resource: Doc, context: { n: Long } };'
    assert.equal((await loadPolicySet({ ...input(when('context.n == 5')), schema })).size, 1)
    await assert.rejects(loadPolicySet({ ...input(YES, when('context.m == 5')), schema }), {
      code: 'SP_CEDAR_INVALID',
      message: /^policy `p1`: .*`m`/,
    })
    await assert.rejects(loadPolicySet({ ...input(YES), schema: 'entity' }), {
      code: 'SP_CEDAR_INVALID',
      message: /^the schema: /,
    })
  })

  it('says how to mend what the parser knows to mend', async () => {
    const helped = await loadPolicySet(
      input('permit(principal, action, resource) when { principle == U::"a" };'),
    ).catch((error: unknown) => error)
    assert.ok(helped instanceof Error && 'fix' in helped && typeof helped.fix === 'string')
    assert.match(helped.fix, /principal/)
  })
})
