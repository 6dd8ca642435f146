import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { EntityStore } from '../src/entities.ts'
import type { EntityRecord } from '../src/entities.ts'
import type { EntityJson, EntityUid } from '../src/index.ts'

const CODE = 'SP_CEDAR_ENTITIES'

/** `'a'` is `U::"a"`; `'G:b'` is `G::"b"`. */
function uid(name: string): EntityUid {
  const [type = '', id] = name.split(':')
  return id === undefined ? { type: 'U', id: type } : { type, id }
}
const entity = (name: string, parents: readonly string[] = [], n = 0): EntityJson => ({
  uid: uid(name),
  attrs: { n },
  parents: parents.map(uid),
})
const from = (graph: Readonly<Record<string, readonly string[]>>): EntityStore =>
  EntityStore.from(Object.entries(graph).map(([name, parents]) => entity(name, parents)))
const name = ({ type, id }: EntityUid): string => (type === 'U' ? id : `${type}:${id}`)
const above = (store: EntityStore, of: string): string[] | undefined =>
  store.get(uid(of))?.ancestors.map(name).toSorted()

/** Both forms of a record's ancestors must say the same. */
function consistent(store: EntityStore): void {
  let count = 0
  for (const record of store.records()) {
    count++
    assert.equal(store.get(record.uid), record)
    const listed = record.ancestors.map(name).toSorted()
    assert.equal(new Set(listed).size, listed.length, `${name(record.uid)} has one twice`)
    const filed = [...record.ancestorIds].flatMap(([type, ids]) =>
      [...ids].map((id) => name({ type, id })),
    )
    assert.deepEqual(filed.toSorted(), listed)
  }
  assert.equal(store.size, count)
}

describe('entities', () => {
  it('keep attributes, tags and parents', () => {
    const store = EntityStore.from([
      {
        uid: uid('a'),
        attrs: { x: 1 },
        parents: [uid('G:g'), uid('G:h')],
        tags: { t: true },
      },
      entity('b'),
    ])
    const a = store.get(uid('a'))
    assert.deepEqual(a?.attrs, new Map([['x', 1]]))
    assert.deepEqual(a.tags, new Map([['t', true]]))
    assert.deepEqual(a.parents.map(name), ['G:g', 'G:h'])
    assert.deepEqual(name(a.uid), 'a')
    assert.deepEqual(store.get(uid('b'))?.tags, new Map())
    assert.equal(store.get(uid('c')), undefined)
    assert.equal(store.get(uid('G:a')), undefined)
    assert.equal(store.size, 2)
    assert.equal(EntityStore.from([]).size, 0)
  })

  it('know every ancestor, in whichever order they are given', () => {
    const graph = { a: ['b', 'c'], b: ['d'], c: ['d', 'G:x'], d: ['e'], e: [], z: ['nobody'] }
    for (const order of [Object.keys(graph), Object.keys(graph).toReversed()]) {
      const store = from(Object.fromEntries(order.map((k) => [k, graph[k as keyof typeof graph]])))
      assert.deepEqual(above(store, 'a'), ['G:x', 'b', 'c', 'd', 'e'])
      assert.deepEqual(above(store, 'b'), ['d', 'e'])
      assert.deepEqual(above(store, 'c'), ['G:x', 'd', 'e'])
      assert.deepEqual(above(store, 'e'), [])
      // A parent that no entity is stays one.
      assert.deepEqual(above(store, 'z'), ['nobody'])
      consistent(store)
    }
  })

  const cycles: [string, Readonly<Record<string, readonly string[]>>][] = [
    ['one', { a: ['a'] }],
    ['two', { a: ['b'], b: ['a'] }],
    ['three, below another', { z: ['a'], a: ['b'], b: ['c'], c: ['a'] }],
    ['two, beside a way out', { a: ['x', 'b'], b: ['x', 'a'], x: [] }],
  ]
  for (const [length, graph] of cycles) {
    it(`refuse a cycle of ${length}`, () => {
      assert.throws(() => from(graph), {
        code: CODE,
        message: /^the entity `U::"[a-z]"` is its own ancestor$/,
      })
    })
  }
  it('take two ways to one ancestor for no cycle', () => {
    assert.deepEqual(above(from({ a: ['b', 'c'], b: ['d'], c: ['b', 'd'], d: [] }), 'a'), [
      'b',
      'c',
      'd',
    ])
  })

  it('refuse an action in what is no action', () => {
    const inside = (type: string, parent: string) =>
      EntityStore.from([{ uid: uid(`${type}:a`), attrs: {}, parents: [{ type: parent, id: 'p' }] }])
    assert.equal(inside('Action', 'Action').size, 1)
    assert.equal(inside('U', 'Action').size, 1)
    assert.equal(inside('Actions', 'U').size, 1)
    const message = 'the action `Action::"a"` is in what is no action'
    assert.throws(() => inside('Action', 'U'), { code: CODE, message })
    assert.throws(() => inside('Action', 'NAction'), { code: CODE, message })
    const own = { uid: { type: 'N::Action', id: 'a' }, attrs: {}, parents: [] }
    assert.equal(EntityStore.from([{ ...own, parents: [{ type: 'M::Action', id: 'a' }] }]).size, 1)
    assert.throws(() => EntityStore.from([{ ...own, parents: [{ type: 'M::Act', id: 'a' }] }]), {
      code: CODE,
      message: 'the action `N::Action::"a"` is in what is no action',
    })
  })

  it('refuse one that is there twice', () => {
    const message = 'the entity `U::"a\\""` is there twice'
    assert.throws(() => EntityStore.from([entity('a"'), entity('b'), entity('a"')]), {
      code: CODE,
      message,
    })
  })
})

describe('an overlay of entities', () => {
  const base = from({ a: ['b'], b: ['c'], c: [], lost: ['late'] })

  it('adds without changing what it stands on', () => {
    const over = base.with([entity('x', ['a', 'y']), entity('y')])
    assert.deepEqual(above(over, 'x'), ['a', 'b', 'c', 'y'])
    assert.equal(over.size, 6)
    assert.equal(base.size, 4)
    assert.equal(base.get(uid('x')), undefined)
    // Shared, not copied.
    assert.equal(over.get(uid('a')), base.get(uid('a')))
    consistent(over)
    const higher = over.with([entity('top', ['x'])])
    assert.deepEqual(above(higher, 'top'), ['a', 'b', 'c', 'x', 'y'])
    assert.equal(higher.size, 7)
    consistent(higher)
  })

  it('refuses what is there already, in whichever layer', () => {
    const over = base.with([entity('x')])
    for (const [store, id] of [
      [base, 'a'],
      [over, 'a'],
      [over, 'x'],
    ] as const) {
      assert.throws(() => store.with([entity(id)]), {
        code: CODE,
        message: `the entity \`U::"${id}"\` is there twice`,
      })
    }
    assert.throws(() => base.with([entity('n'), entity('n')]), { code: CODE })
  })

  it('mends the ancestors of those who named an entity before it was there', () => {
    assert.deepEqual(above(base, 'lost'), ['late'])
    const mended = base.with([entity('late', ['a'])])
    assert.deepEqual(above(mended, 'lost'), ['a', 'b', 'c', 'late'])
    assert.deepEqual(above(base, 'lost'), ['late'])
    consistent(mended)
    // Also where the name hangs loose in a layer below.
    const above2 = base.with([entity('n')]).with([entity('late', ['c'])])
    assert.deepEqual(above(above2, 'lost'), ['c', 'late'])
    consistent(above2)
    // One that was named already among others that were not.
    const among = base.with([entity('n'), entity('late', ['c'])])
    assert.deepEqual(above(among, 'lost'), ['c', 'late'])
    consistent(among)
    assert.throws(() => base.with([entity('late', ['lost'])]), { code: CODE })
  })

  it('finds by role what it finds at all', () => {
    const over = base.with([entity('x'), entity('G:x')])
    const asked = ['a', 'x', 'G:x', 'G:a', 'nobody', 'a', 'H:a']
    for (const role of [0, 1, 2] as const) {
      for (const each of [...asked, ...asked.toReversed()]) {
        assert.equal(over.findAs(role, uid(each)), over.find(uid(each)), `${role} ${each}`)
        assert.equal(base.findAs(role, uid(each)), base.find(uid(each)), `${role} ${each}`)
      }
    }
  })
})

describe('a changed store', () => {
  const before = from({ a: ['b'], b: ['c'], c: [], d: ['c'], other: [], lost: ['late', 'other'] })
  const record = (store: EntityStore, id: string): EntityRecord | undefined => store.get(uid(id))

  it('puts, replaces and removes, and leaves the store of before', () => {
    const after = before.update({
      put: [entity('b', ['other'], 5), entity('n', ['a'])],
      remove: [uid('d')],
    })
    assert.deepEqual(above(after, 'a'), ['b', 'other'])
    assert.deepEqual(above(after, 'b'), ['other'])
    assert.deepEqual(above(after, 'n'), ['a', 'b', 'other'])
    assert.equal(record(after, 'b')?.attrs.get('n'), 5)
    assert.equal(record(after, 'd'), undefined)
    assert.equal(after.size, 6)
    consistent(after)
    assert.deepEqual(above(before, 'a'), ['b', 'c'])
    assert.equal(record(before, 'b')?.attrs.get('n'), 0)
    assert.equal(before.size, 6)
    consistent(before)
  })

  it('shares what the change does not reach, and gives what it reaches a new number', () => {
    const after = before.update({ put: [entity('b')] })
    for (const id of ['c', 'd', 'other', 'lost'])
      assert.equal(record(after, id), record(before, id))
    for (const id of ['a', 'b']) {
      const [was, is] = [record(before, id)?.serial ?? 0, record(after, id)?.serial ?? 0]
      assert.ok(is > was && was > 0, `${id}: ${was}, ${is}`)
    }
    const serials = [...before.records(), ...after.records()].map(({ serial }) => serial)
    // Four of each six are shared.
    assert.equal(new Set(serials).size, 8)
  })

  it('keeps the name of a parent that is removed, and takes up one that comes', () => {
    const gone = before.update({ remove: [uid('b')] })
    assert.deepEqual(above(gone, 'a'), ['b'])
    assert.equal(gone.size, 5)
    const back = gone.update({ put: [entity('b', ['c'])] })
    assert.deepEqual(above(back, 'a'), ['b', 'c'])
    // An overlay knows that the name hangs loose too, old names as well as new ones.
    assert.deepEqual(above(gone.with([entity('b', ['d'])]), 'a'), ['b', 'c', 'd'])
    const unrelated = before.update({ put: [entity('c', [], 1)] })
    assert.deepEqual(above(unrelated.with([entity('late', ['c'])]), 'lost'), ['c', 'late', 'other'])
    consistent(unrelated)
  })

  it('reads the layers of an overlay as one', () => {
    const over = before.with([entity('x', ['a'])])
    const after = over.update({ remove: [uid('b')] })
    assert.deepEqual(above(after, 'x'), ['a', 'b'])
    assert.equal(after.size, 6)
    consistent(after)
    const dangling = before.with([entity('x', ['later'])]).update({ put: [entity('z')] })
    assert.deepEqual(above(dangling.with([entity('later', ['c'])]), 'x'), ['c', 'later'])
  })

  it('is the same where nothing changes', () => {
    const same = before.update({})
    assert.equal(same.size, before.size)
    assert.deepEqual([...same.records()], [...before.records()])
    assert.equal(before.update({ remove: [uid('nobody')] }).size, before.size)
  })

  it('refuses an entity twice in one change, and cycles', () => {
    const twice = (change: Parameters<EntityStore['update']>[0]): void =>
      assert.throws(() => before.update(change), {
        code: CODE,
        message: 'the entity `U::"n"` is there twice',
      })
    twice({ put: [entity('n'), entity('n')] })
    twice({ put: [entity('n')], remove: [uid('n')] })
    twice({ remove: [uid('n'), uid('n')] })
    assert.throws(() => before.update({ put: [entity('c', ['a'])] }), {
      code: CODE,
      message: /own ancestor/,
    })
    assert.throws(() => before.update({ put: [entity('late', ['lost'])] }), { code: CODE })
    assert.throws(() => before.update({ remove: [{ type: 'U' } as unknown as EntityUid] }), {
      code: 'SP_CEDAR_VALUE',
    })
  })
})
