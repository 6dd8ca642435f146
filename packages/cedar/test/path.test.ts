import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { EntityStore } from '../src/index.ts'
import { recordFromJson, refFromJson } from '../src/data.ts'
import type { Env } from '../src/operators.ts'
import { readOf, readOwn } from '../src/path.ts'
import type { Read } from '../src/path.ts'

const ann = { type: 'User', id: 'ann' }
const box = { type: 'Box', id: 'one' }
const open = { type: 'Action', id: 'open' }
const store = EntityStore.from([
  { uid: ann, attrs: { name: 'Ann', at: { home: { floor: 3 } } }, parents: [] },
  { uid: box, attrs: { owner: { __entity: ann }, at: { shelf: 7 } }, parents: [] },
])
const context = { input: { amount: 5, to: { name: 'bob' } }, who: { __entity: ann }, n: 1 }

const env = (principal = ann, resource = box): Env => ({
  principal: refFromJson(principal),
  action: refFromJson(open),
  resource: refFromJson(resource),
  context: recordFromJson(context),
  principalRecord: store.get(principal),
  actionRecord: undefined,
  resourceRecord: store.get(resource),
  store,
})
const nobody = env({ type: 'User', id: 'nobody' }, { type: 'Box', id: 'none' })

const read = (root: string, ...names: string[]): Read => {
  const found = readOf(root, names)
  assert.ok(found, `${root}.${names.join('.')}`)
  return found
}

describe('reads of attributes', () => {
  const values: [root: string, names: string[], value: unknown][] = [
    ['context', ['n'], 1],
    ['context', ['input', 'amount'], 5],
    ['context', ['input', 'to', 'name'], 'bob'],
    ['principal', ['name'], 'Ann'],
    ['principal', ['at', 'home', 'floor'], 3],
    ['resource', ['at', 'shelf'], 7],
  ]
  for (const [root, names, value] of values) {
    it(`${root}.${names.join('.')} is one closure, and is read without it, too`, () => {
      const one = read(root, ...names)
      assert.deepEqual([one.root, one.names], [root, names])
      assert.equal(one.run(env()), value)
      assert.equal(readOwn(one, env()), value)
    })
  }

  it('go on into other entities as closures alone', () => {
    assert.equal(read('context', 'who', 'name').run(env()), 'Ann')
    assert.equal(read('resource', 'owner', 'at', 'home', 'floor').run(env()), 3)
    assert.equal(readOwn(read('context', 'who', 'name'), env()), undefined)
    assert.equal(readOwn(read('resource', 'owner', 'name'), env()), undefined)
  })

  it('are of the variables that have attributes, and of at least one', () => {
    assert.equal(readOf('action', ['a']), undefined)
    assert.equal(readOf('', ['a']), undefined)
    for (const root of ['context', 'principal', 'resource'])
      assert.equal(readOf(root, []), undefined)
  })

  const failing: [root: string, names: string[], of: Env, message: string][] = [
    ['context', ['m'], env(), 'record does not have `m`'],
    ['context', ['m', 'x'], env(), 'record does not have `m`'],
    ['context', ['input', 'm'], env(), 'record does not have `m`'],
    ['context', ['input', 'to', 'm'], env(), 'record does not have `m`'],
    ['principal', ['m'], env(), 'entity of type `User` does not have `m`'],
    ['resource', ['m'], env(), 'entity of type `Box` does not have `m`'],
    ['principal', ['m'], nobody, 'entity `User::"nobody"` does not exist'],
    ['resource', ['m', 'x'], nobody, 'entity `Box::"none"` does not exist'],
  ]
  for (const [root, names, of, message] of failing) {
    it(`${root}.${names.join('.')}: ${message}`, () => {
      const one = read(root, ...names)
      assert.throws(() => one.run(of), { message })
      assert.equal(readOwn(one, of), undefined)
    })
  }

  it('of what is no record fail, and are nothing without the closure', () => {
    for (const one of [read('context', 'n', 'x'), read('context', 'input', 'amount', 'x')]) {
      assert.throws(() => one.run(env()))
      assert.equal(readOwn(one, env()), undefined)
    }
  })
})
