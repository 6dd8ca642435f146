import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { closeCedar, EntityStore, loadPolicySet } from '../src/index.ts'
import type { CedarJson, PolicySet } from '../src/index.ts'
import { generateTrial } from './generate.ts'

after(closeCedar)

/** `CEDAR_TRIALS=1000` takes more random policy sets, and a mutation run fewer. */
const TRIALS = Number(process.env['CEDAR_TRIALS'] ?? 120)

const NOBODY = EntityStore.from([])
const uid = (type: string, id: string) => ({ type, id })
const load = (source: string): Promise<PolicySet> =>
  loadPolicySet({ policies: [{ id: 'p', source }] })

/** What each point was seen to be, in order; `-` where evaluation did not reach it. */
function seen(set: PolicySet, context: Record<string, CedarJson>): string {
  const request = {
    principal: uid('User', 'u'),
    action: uid('Action', 'a'),
    resource: uid('Thing', 't'),
    context,
  }
  const [cover] = set.cover(request, NOBODY)
  if (cover === undefined) return 'out of scope'
  const letters = cover.seen.map((one) => (one === undefined ? '-' : one.charAt(0)))
  return `${letters.join('')} ${cover.outcome}`
}

const points = (set: PolicySet): string[] =>
  set
    .points()
    .flatMap(({ points }) =>
      points.map(({ kind, text, depth }) => `${'  '.repeat(depth)}${kind} ${text}`),
    )

describe('coverage points', () => {
  it('are clauses, operands of joins and the parts of conditionals, but no literals', async () => {
    const set = await load(`permit (principal, action, resource)
when { context.a && (context.b || context.c || !(context.d && context.a)) }
unless { if context.a then context.b == 1 else true };`)
    assert.deepEqual(points(set), [
      'when context.a',
      'when context.b || context.c || !(context.d && context.a)',
      '  part context.b',
      '  part context.c',
      '  part !(context.d && context.a)',
      '    part context.d',
      '    part context.a',
      'unless if context.a then context.b == 1 else true',
      '  part context.a',
      '  part context.b == 1',
    ])
  })

  it('see what evaluation reaches, and no more', async () => {
    const set = await load(`permit (principal, action, resource)
when { context.a && (context.b || context.c) } when { context.d };`)
    // a, (b || c), b, c, d
    const context = { a: true, b: false, c: true, d: false }
    assert.equal(seen(set, context), 'ttftf unsatisfied')
    assert.equal(seen(set, { ...context, d: true }), 'ttftt satisfied')
    assert.equal(seen(set, { ...context, b: true }), 'ttt-f unsatisfied')
    assert.equal(seen(set, { ...context, a: false }), 'f---- unsatisfied')
    assert.equal(seen(set, { ...context, c: false }), 'tfff- unsatisfied')
    assert.equal(seen(set, { a: true, b: false }), 'tefe- error')
    assert.equal(seen(set, { a: 7 }), 'e---- error')
  })

  it('of an `unless` say what its body came to', async () => {
    const set = await load('forbid (principal, action, resource) unless { context.ok };')
    assert.equal(seen(set, { ok: true }), 't unsatisfied')
    assert.equal(seen(set, { ok: false }), 'f satisfied')
  })

  it('stand inside operands of other operators too', async () => {
    const set = await load(`permit (principal, action, resource)
when { (if context.a then context.n else 10) < 5 && (context.a && context.b) == context.c };`)
    assert.deepEqual(points(set), [
      'when (if context.a then context.n else 10) < 5',
      '  part context.a',
      'when (context.a && context.b) == context.c',
      '  part context.a',
      '  part context.b',
    ])
    assert.equal(seen(set, { a: true, n: 1, b: true, c: true }), 'ttttt satisfied')
    assert.equal(seen(set, { a: false, n: 1, b: true, c: true }), 'ff--- unsatisfied')
    assert.equal(seen(set, { a: true, b: true, c: true }), 'et--- error')
  })

  it('leave policies out whose scope does not admit the request', async () => {
    const other = await load('permit (principal == User::"x", action, resource);')
    assert.equal(seen(other, {}), 'out of scope')
    assert.equal(
      seen(await load('permit (principal == User::"u", action, resource);'), {}),
      ' satisfied',
    )
  })
})

it('covers random policies to the outcome that decides them', async () => {
  const tally = { satisfied: 0, unsatisfied: 0, error: 0 }
  for (let seed = 1; seed <= TRIALS; seed++) {
    const { input, entities, requests } = generateTrial(seed)
    const set = await loadPolicySet(input)
    const store = EntityStore.from(entities)
    const sizes = new Map(set.points().map(({ policyId, points }) => [policyId, points.length]))
    for (const request of requests) {
      const answer = set.decide(request, store)
      const covers = set.cover(request, store)
      const having = (outcome: string, effect?: string): string[] =>
        covers
          .filter(
            ({ policyId, outcome: had }) =>
              had === outcome && (effect ?? set.effect(policyId)) === set.effect(policyId),
          )
          .map(({ policyId }) => policyId)
      const forbids = having('satisfied', 'forbid')
      const expected = forbids.length > 0 ? forbids : having('satisfied', 'permit')
      assert.deepEqual(answer.reasons, expected, `seed ${seed}`)
      assert.deepEqual(
        answer.errors.map(({ policyId }) => policyId),
        having('error'),
        `seed ${seed}`,
      )
      for (const { policyId, outcome, seen } of covers) {
        assert.equal(seen.length, sizes.get(policyId))
        tally[outcome]++
      }
    }
  }
  for (const [outcome, count] of Object.entries(tally))
    assert.ok(count > TRIALS / 3, `${outcome}: ${count}`)
})
