import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import v8 from 'node:v8'
import { runInNewContext } from 'node:vm'
import { closeCedar, EntityStore, loadPolicySet } from '../src/index.ts'
import type { EntityJson } from '../src/index.ts'

after(closeCedar)

const uid = (type: string, id: string) => ({ type, id })
const entity = (type: string, id: string, ...parents: string[]): EntityJson => ({
  uid: uid(type, id),
  attrs: {},
  parents: parents.map((parent) => uid('Team', parent)),
})
const ask = (principal: string, action = 'read', resource = 'r') => ({
  principal: uid('User', principal),
  action: uid('Action', action),
  resource: uid('Doc', resource),
  context: {},
})
describe('decisions after a change of entities', () => {
  const POLICIES = [
    { id: 'team', source: 'permit(principal in Team::"a", action == Action::"read", resource);' },
    { id: 'ghost', source: 'permit(principal == User::"ghost", action, resource);' },
    { id: 'typed', source: 'permit(principal is Robot, action, resource is Doc in Team::"a");' },
    { id: 'two', source: 'forbid(principal, action in [Action::"x", Action::"y"], resource);' },
  ]
  const load = () => loadPolicySet({ policies: POLICIES })

  it('follows a user who leaves a team, in the same set, and not in the store of before', async () => {
    const set = await load()
    const before = EntityStore.from([entity('User', 'u', 'a'), entity('Team', 'a')])
    const decide = (store: EntityStore) => [1, 2, 3].map(() => set.decide(ask('u'), store).decision)
    assert.deepEqual(decide(before), ['allow', 'allow', 'allow'])
    const left = before.update({ put: [entity('User', 'u')] })
    assert.deepEqual(decide(left), ['deny', 'deny', 'deny'])
    assert.deepEqual(decide(before), ['allow', 'allow', 'allow'])
    assert.deepEqual(decide(left.update({ put: [entity('User', 'u', 'a')] })).at(-1), 'allow')
    assert.deepEqual(decide(left.update({ remove: [uid('User', 'u')] })).at(-1), 'deny')
  })

  it('follows a change far above the user', async () => {
    const set = await load()
    const far = EntityStore.from([
      entity('User', 'u', 'c'),
      entity('User', 'other', 'd'),
      entity('Team', 'c', 'b'),
      entity('Team', 'b', 'a'),
    ])
    assert.equal(set.decide(ask('u'), far).decision, 'allow')
    const cut = far.update({ put: [entity('Team', 'b')] })
    assert.equal(set.decide(ask('u'), cut).decision, 'deny')
    const gone = far.update({ remove: [uid('Team', 'c')] })
    assert.equal(set.decide(ask('u'), gone).decision, 'deny')
    const back = gone.update({ put: [entity('Team', 'c', 'b')] })
    assert.equal(set.decide(ask('u'), back).decision, 'allow')
    // What did not change is the same record, and keeps what is remembered of it.
    const of = (store: EntityStore) => store.get(uid('User', 'other'))
    assert.equal(of(cut), of(far))
    assert.notEqual(cut.get(uid('User', 'u')), far.get(uid('User', 'u')))
  })

  it('does not take one entity that is in no store for another', async () => {
    const set = await load()
    const nobody = EntityStore.from([])
    const reasons = (type: string, id: string, resource = uid('Doc', 'r'), store = nobody) =>
      set.decide({ ...ask(''), principal: uid(type, id), resource }, store).reasons.join()
    for (let round = 0; round < 2; round++) {
      assert.equal(reasons('User', 'x'), '')
      assert.equal(reasons('User', 'ghost'), 'ghost')
      assert.equal(reasons('Robot', 'x'), '')
      assert.equal(reasons('Robot', 'ghost'), '')
      const shelf = EntityStore.from([entity('Doc', 's', 'a')])
      assert.equal(reasons('Robot', 'x', uid('Doc', 's'), shelf), 'typed')
      assert.equal(reasons('User', 'x', uid('Doc', 's'), shelf), '')
      assert.equal(reasons('User', 'ghost', uid('Doc', 's'), shelf), 'ghost')
    }
  })

  it('refuses changes that are none, and leaves the store as it was', () => {
    const store = EntityStore.from([entity('Team', 'a'), entity('Team', 'b', 'a')])
    const code = 'SP_CEDAR_ENTITIES'
    assert.throws(() => store.update({ put: [entity('Team', 'a', 'b')] }), { code })
    assert.throws(() => store.update({ put: [entity('Team', 'c'), entity('Team', 'c')] }), { code })
    assert.throws(() => store.update({ put: [entity('Team', 'a')], remove: [uid('Team', 'a')] }), {
      code,
    })
    assert.equal(store.update({ remove: [uid('Team', 'nobody')] }).size, 2)
    assert.deepEqual(
      store.get(uid('Team', 'b'))?.ancestors.map(({ id }) => id),
      ['a'],
    )
  })

  it('grows by nothing that hostile ids bring along', async () => {
    const set = await load()
    const store = EntityStore.from([entity('User', 'u', 'a'), entity('Team', 'a')])
    v8.setFlagsFromString('--expose-gc')
    const collect: unknown = runInNewContext('gc')
    const settle = (): number => {
      if (typeof collect === 'function') collect()
      return process.memoryUsage().heapUsed
    }
    const flood = (from: number): void => {
      for (let i = from; i < from + 50_000; i++) {
        const { decision } = set.decide(ask(`mallory-${i}`, `act-${i}`, `doc-${i}`), store)
        assert.equal(decision, 'deny')
      }
    }
    flood(0)
    const before = settle()
    flood(50_000)
    const grown = settle() - before
    // 50,000 remembered triples would take 5 MB at the least.
    assert.equal(typeof collect, 'function')
    assert.ok(grown < 1e6, `${grown} bytes`)
    assert.equal(set.decide(ask('u'), store).decision, 'allow')
  })
})
