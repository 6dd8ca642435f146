/** Tasks and conversations of A2A: who makes many loses its own, and nobody else's. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { systemClock } from '@sallyport/base'
import { Tasks } from '../src/a2a/tasks.ts'

const tasks = (max: number, maxTotal: number): Tasks =>
  new Tasks({ clock: systemClock, maxPerSession: max, maxTotal, idleMs: 3_600_000 })

/** A granted call of an instance; what it counts against is its own unless said. */
const granted = (instance: string, session = instance) => ({
  caller: { instance, session },
  call: {
    ...{ instance, agent: 'reader', system: 'clerk', operation: 'explain', input: {}, time: 0 },
    evidence: { approvals: [] },
  },
})

type Granted = ReturnType<typeof granted>

/** Whether its caller still finds it. */
const isThere = (all: Tasks, { caller }: Granted, id: string): boolean => {
  try {
    return all.find(id, 'clerk', caller).id === id
  } catch {
    return false
  }
}

describe('tasks', () => {
  const make = (all: Tasks, grant: Granted, name: string): string =>
    all.note(grant, { task: `${grant.caller.instance} ${name}`, context: name }).id

  it('of one session are so many, however its instances are named', () => {
    const all = tasks(3, 100)
    const honest = granted('honest')
    const kept = make(all, honest, '1')
    const ids = ['a', 'b', 'c', 'd', 'e'].map((name) => {
      const grant = granted(name, 'reader@else')
      return [grant, make(all, grant, '1')] as const
    })
    assert.equal(all.size, 4)
    assert.deepEqual(
      ids.map(([grant, id]) => isThere(all, grant, id)),
      [false, false, true, true, true],
    )
    assert.ok(isThere(all, honest, kept))
    // One cap is no common property.
    const [, , c] = ids
    assert.ok(c)
    assert.ok(!isThere(all, granted('d', 'reader@else'), c[1]))
  })

  it('that are used stay, and the one that is not goes', () => {
    const all = tasks(2, 100)
    const grant = granted('one')
    const [first, second] = [make(all, grant, '1'), make(all, grant, '2')]
    assert.ok(isThere(all, grant, first))
    const third = make(all, grant, '3')
    assert.deepEqual(
      [first, second, third].map((id) => isThere(all, grant, id)),
      [true, false, true],
    )
  })

  it('of all together are so many, and who has most gives way', () => {
    const all = tasks(10, 6)
    const [greedy, honest] = [granted('greedy'), granted('honest')]
    const kept = make(all, honest, '1')
    for (let n = 0; n < 9; n++) make(all, greedy, String(n))
    assert.equal(all.size, 6)
    const more = make(all, honest, '2')
    assert.equal(all.size, 6)
    assert.ok(isThere(all, honest, kept) && isThere(all, honest, more))
  })
})

describe('conversations', () => {
  it('are driven out by nobody else’s', () => {
    const all = tasks(3, 6)
    const honest = granted('honest')
    const id = all.noteContext(honest, 'theirs')
    const peerOf = ({ caller }: Granted, own: string) => all.peerContext('clerk', caller, own)
    for (let n = 0; n < 50; n++) all.noteContext(granted(`i${n}`, 'reader@else'), `c${n}`)
    for (let n = 0; n < 50; n++) all.noteContext(granted('greedy'), `c${n}`)
    assert.equal(peerOf(honest, id), 'theirs')
    // The same again has the same id; another instance of the session knows nothing of it.
    assert.equal(all.noteContext(honest, 'theirs'), id)
    const one = granted('i1', 'reader@else')
    const own = all.noteContext(one, 'theirs')
    assert.notEqual(own, id)
    assert.equal(peerOf(one, own), 'theirs')
    assert.equal(peerOf(granted('i2', 'reader@else'), own), undefined)
    assert.notEqual(all.noteContext(granted('i2', 'reader@else'), 'theirs'), own)
  })

  it('are forgotten with their instance, and no other’s are', () => {
    const all = tasks(5, 50)
    const [cut, other] = [granted('x/agent/a', 's'), granted('x/agent/ab', 's')]
    const [gone, kept] = [all.noteContext(cut, 'p'), all.noteContext(other, 'p')]
    all.cut('x/agent/a')
    assert.equal(all.peerContext('clerk', cut.caller, gone), undefined)
    assert.equal(all.peerContext('clerk', other.caller, kept), 'p')
  })
})
