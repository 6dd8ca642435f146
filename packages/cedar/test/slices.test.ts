import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import v8 from 'node:v8'
import { runInNewContext } from 'node:vm'
import { closeCedar, EntityStore, loadPolicySet } from '../src/index.ts'
import type { EntityJson } from '../src/index.ts'
import { SliceMemo } from '../src/slice-memo.ts'

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
const slice = (): { only: undefined; policies: [] } => ({ only: undefined, policies: [] })

describe('the memo of slices', () => {
  it('gives back what was put under the same three numbers, and only that', () => {
    const memo = new SliceMemo(1024)
    const kept = [slice(), slice(), slice()] as const
    memo.put(1, 2, 3, kept[0])
    memo.put(3, 2, 1, kept[1])
    memo.put(0, 0, 0, kept[2])
    assert.equal(memo.get(1, 2, 3), kept[0])
    assert.equal(memo.get(3, 2, 1), kept[1])
    assert.equal(memo.get(0, 0, 0), kept[2])
    for (const [p, a, r] of [
      [1, 3, 2],
      [2, 1, 3],
      [-1, 2, 3],
      [1, 2, 0],
    ] as const) {
      assert.equal(memo.get(p, a, r), undefined)
    }
  })

  it('tells numbers beyond 32 bits apart', () => {
    const memo = new SliceMemo(64)
    const [near, far] = [slice(), slice()]
    memo.put(5, 1, 1, near)
    memo.put(5 + 2 ** 32, 1, 1, far)
    assert.equal(memo.get(5, 1, 1), near)
    assert.equal(memo.get(5 + 2 ** 32, 1, 1), far)
  })

  it('never holds more than its capacity, and mixes nothing up under pressure', () => {
    const memo = new SliceMemo(256)
    const kept = Array.from({ length: 10_000 }, slice)
    for (const [i, each] of kept.entries()) memo.put(i, i % 7, -i, each)
    const found = kept.filter((each, i) => {
      const known = memo.get(i, i % 7, -i)
      assert.ok(known === undefined || known === each)
      return known !== undefined
    })
    assert.ok(found.length <= 256, `${found.length} kept`)
    assert.ok(found.length > 128, `${found.length} kept`)
  })

  it('looks at each of the three numbers', () => {
    for (const place of [0, 1, 2]) {
      const memo = new SliceMemo(4)
      const at = (n: number): [number, number, number] => {
        const key: [number, number, number] = [7, 7, 7]
        key[place] = n
        return key
      }
      // A memo of four entries has one set: every key is compared with every other.
      const kept = [1, 2, 3, 4].map((n) => ({ n, slice: slice() }))
      for (const { n, slice: each } of kept) memo.put(...at(n), each)
      for (const { n, slice: each } of kept) assert.equal(memo.get(...at(n)), each)
      assert.equal(memo.get(...at(5)), undefined)
    }
  })

  it('keeps what is used while a flood of others passes', () => {
    const memo = new SliceMemo(256)
    const hot = slice()
    memo.put(1, 1, 1, hot)
    for (let i = 0; i < 5000; i++) {
      memo.put(1000 + i, 2, 3, slice())
      assert.equal(memo.get(1, 1, 1), hot, `after ${i}`)
    }
  })

  it('keeps nothing where its capacity says so, and no endless slice', () => {
    const off = new SliceMemo(0)
    off.put(1, 1, 1, slice())
    assert.equal(off.get(1, 1, 1), undefined)
    const memo = new SliceMemo(64)
    // The memo looks at nothing but the length.
    memo.put(1, 1, 1, { only: undefined, policies: Array.from<never>({ length: 257 }) })
    assert.equal(memo.get(1, 1, 1), undefined)
    const long = { only: undefined, policies: Array.from<never>({ length: 256 }) }
    memo.put(1, 1, 1, long)
    assert.equal(memo.get(1, 1, 1), long)
  })
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
