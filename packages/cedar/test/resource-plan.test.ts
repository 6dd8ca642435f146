import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { closeCedar, EntityStore, loadPolicySet, prepareContext } from '../src/index.ts'
import type { EntityRecord, PolicySet } from '../src/index.ts'
import { generateTrial } from './generate.ts'

after(closeCedar)

/** `CEDAR_TRIALS=1000` takes more random policy sets, and a mutation run fewer. */
const TRIALS = Number(process.env['CEDAR_TRIALS'] ?? 150)

const uid = (type: string, id: string) => ({ type, id })

async function plan(source: string, store: EntityStore, ...ids: string[]) {
  const set = await loadPolicySet({ policies: [{ id: 'p', source }] })
  const records = ids.map((id): EntityRecord => {
    const record = store.get(uid('Doc', id))
    assert.ok(record)
    return record
  })
  return { set, plan: set.plan(uid('Action', 'read'), records, store), records }
}

const doc = (id: string, attrs: Record<string, number | boolean>) => ({
  uid: uid('Doc', id),
  attrs,
  parents: [],
})

describe('a plan of resources', () => {
  it('answers for each resource as deciding it would', async () => {
    let compared = 0
    let shared = 0
    let allowed = 0
    for (let seed = 0; seed < TRIALS; seed++) {
      const trial = generateTrial(910_000 + seed)
      const set: PolicySet = await loadPolicySet(trial.input)
      const store = EntityStore.from(trial.entities)
      const records = [...store.records()]
      for (const request of trial.requests) {
        const made = set.plan(request.action, records, store)
        assert.deepEqual(
          made.groups.flat().toSorted((a, b) => a - b),
          records.map((_, i) => i),
        )
        const decide = made.decider(request.principal, prepareContext(request.context), store)
        for (const [group, members] of made.groups.entries()) {
          if (members.length > 1) shared++
          const answer = decide(group)
          for (const member of members) {
            const resource = records[member]?.uid
            assert.ok(resource)
            assert.deepEqual(answer, set.decide({ ...request, resource }, store), `seed ${seed}`)
            compared++
            if (answer.decision === 'allow') allowed++
          }
        }
      }
    }
    assert.ok(
      compared > 33 * TRIALS && shared > 2 * TRIALS && allowed > 3 * TRIALS,
      `${compared} ${shared} ${allowed}`,
    )
  })

  const store = EntityStore.from([
    doc('low', { class: 1 }),
    doc('lower', { class: 0 }),
    doc('high', { class: 3 }),
    doc('bare', {}),
  ])

  it('groups what no policy tells apart, and only that', async () => {
    const { plan: made } = await plan(
      'permit(principal, action, resource) when { resource.class <= 1 && context.on };',
      store,
      'low',
      'high',
      'lower',
      'bare',
    )
    assert.deepEqual(made.groups, [[0, 2], [1], [3]])
  })

  it('keeps resources apart that a remaining clause reads', async () => {
    const { plan: made } = await plan(
      'permit(principal, action, resource) when { resource.class < context.limit };',
      store,
      'low',
      'lower',
    )
    assert.deepEqual(made.groups, [[0], [1]])
  })

  it('lets a clause fail that stands before one that is false', async () => {
    const { set, plan: made } = await plan(
      'permit(principal, action, resource) when { context.missing && resource.class > 5 };',
      store,
      'low',
    )
    const decide = made.decider(uid('User', 'a'), prepareContext({}), store)
    assert.equal(decide(0).errors.length, 1)
    const request = { principal: uid('User', 'a'), action: uid('Action', 'read'), context: {} }
    assert.deepEqual(decide(0), set.decide({ ...request, resource: uid('Doc', 'low') }, store))
  })

  it('does not settle early what another store may say of a further entity', async () => {
    const owned = EntityStore.from([
      {
        uid: uid('Doc', 'd'),
        attrs: { owner: { __entity: uid('User', 'late') } },
        parents: [],
      },
    ])
    const { set, plan: made } = await plan(
      'permit(principal, action, resource) when { resource.owner has trusted };',
      owned,
      'd',
    )
    const later = owned.with([{ uid: uid('User', 'late'), attrs: { trusted: true }, parents: [] }])
    const request = { principal: uid('User', 'a'), action: uid('Action', 'read'), context: {} }
    for (const [at, decision] of [
      [owned, 'deny'],
      [later, 'allow'],
    ] as const) {
      const decide = made.decider(request.principal, prepareContext({}), at)
      assert.equal(decide(0).decision, decision)
      assert.deepEqual(decide(0), set.decide({ ...request, resource: uid('Doc', 'd') }, at))
    }
  })

  it('asks anew who a principal is, as often as it is another', async () => {
    const user = (group: string) => ({
      uid: uid('User', 'a'),
      attrs: {},
      parents: [uid('Group', group)],
    })
    const { set, plan: made } = await plan(
      'permit(principal in Group::"staff", action, resource) when { context.on };',
      store,
      'low',
    )
    const [staff, guests] = ['staff', 'guests'].map((group) => store.with([user(group)]))
    assert.ok(staff && guests)
    const request = { principal: uid('User', 'a'), action: uid('Action', 'read') }
    for (const [at, on, decision] of [
      [staff, true, 'allow'],
      [guests, true, 'deny'],
      [staff, true, 'allow'],
      [staff, false, 'deny'],
      [store, true, 'deny'],
      [guests, true, 'deny'],
    ] as const) {
      const decide = made.decider(request.principal, prepareContext({ on }), at)
      assert.equal(decide(0).decision, decision)
      const whole = { ...request, context: { on }, resource: uid('Doc', 'low') }
      assert.deepEqual(decide(0), set.decide(whole, at))
    }
  })

  it('denies a group that it does not have', async () => {
    const { plan: made } = await plan('permit(principal, action, resource);', store, 'low')
    const decide = made.decider(uid('User', 'a'), prepareContext({}), store)
    assert.equal(decide(0).decision, 'allow')
    assert.equal(decide(7).decision, 'deny')
  })
})
