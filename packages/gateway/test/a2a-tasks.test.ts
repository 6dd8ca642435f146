/** Tasks and conversations of A2A: who makes many loses its own, and nobody else's. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { systemClock } from '@sallyport/base'
import { Pushes } from '../src/a2a/pushes.ts'
import { Tasks } from '../src/a2a/tasks.ts'

const tasks = (max: number, maxTotal: number, bytes = [Infinity, Infinity] as const): Tasks =>
  new Tasks({
    ...{ clock: systemClock, maxPerSession: max, maxTotal, idleMs: 3_600_000 },
    ...{ maxBytesPerSession: bytes[0], maxBytes: bytes[1] },
    pushes: new Pushes({ clock: systemClock, maxPerTask: 2, maxPerSession: 3, maxTotal: 4 }),
  })

/** A granted call of an instance; what it counts against is its own unless said. */
const granted = (instance: string, session = instance, text = '') => ({
  caller: { instance, session },
  call: {
    ...{ instance, agent: 'reader', system: 'clerk', operation: 'explain', time: 0 },
    ...{ input: { text }, evidence: { approvals: [] } },
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

describe('what the calls said that tasks were made by', () => {
  const make = (all: Tasks, grant: Granted, name: string): string =>
    all.note(grant, { task: `${grant.caller.instance} ${name}`, context: name }).id
  const long = 'x'.repeat(1000)

  it('is so much of one session, and what it takes is its own', () => {
    const all = tasks(100, 100, [3000, 100_000])
    const [greedy, honest] = [granted('greedy', 'greedy', long), granted('honest')]
    const kept = make(all, honest, '1')
    const ids = ['1', '2', '3'].map((name) => make(all, greedy, name))
    assert.deepEqual(
      ids.map((id) => isThere(all, greedy, id)),
      [false, true, true],
    )
    // What is short has room.
    const short = ['4', '5', '6'].map((name) => make(all, granted('greedy'), name))
    assert.ok(short.every((id) => isThere(all, greedy, id)))
    assert.ok(isThere(all, honest, kept))
  })

  it('is so much of all together, and who has most gives way', () => {
    const all = tasks(100, 100, [5000, 6000])
    const [greedy, honest] = [granted('greedy', 'greedy', long), granted('honest', 'honest', long)]
    const kept = make(all, honest, '1')
    const ids = ['1', '2', '3', '4'].map((name) => make(all, greedy, name))
    assert.ok(isThere(all, greedy, ids[3] ?? '') && isThere(all, honest, kept))
    const more = make(all, honest, '2')
    assert.ok(isThere(all, honest, kept) && isThere(all, honest, more))
    assert.ok(ids.some((id) => !isThere(all, greedy, id)))
  })

  it('is counted anew where a task goes on', () => {
    const all = tasks(100, 100, [2000, 100_000])
    const grant = granted('one')
    const [first, second] = [make(all, grant, '1'), make(all, grant, '2')]
    const task = all.find(second, 'clerk', grant.caller)
    all.wentOn(task, granted('one', 'one', long))
    assert.ok(isThere(all, grant, first))
    all.wentOn(task, granted('one', 'one', 'x'.repeat(1800)))
    assert.ok(!isThere(all, grant, first) && isThere(all, grant, second))
    assert.equal(all.size, 1)
  })
})

describe('places to push to', () => {
  const make = (all: Tasks, grant: Granted, name: string) =>
    all.note(grant, { task: `${grant.caller.instance} ${name}`, context: name })
  const put = (all: Tasks, task: ReturnType<typeof make> | undefined, id: string, who = 'one') => {
    const room = all.pushes.room(task?.owner.session ?? who, task, { id, url: 'https://x' })
    return room
  }
  const refused = { code: 'SP_A2A_PUSH_LIMIT', status: 429 }

  it('are so many of a task, of a session and in all, and each that goes makes room', () => {
    const all = tasks(10, 10)
    const [one, other] = [granted('one'), granted('other')]
    const [a, b, c] = [make(all, one, 'a'), make(all, one, 'b'), make(all, other, 'c')]
    for (const id of ['1', '2']) put(all, a, id).settle(a)
    assert.throws(() => put(all, a, '3'), refused)
    // The same again is none more.
    put(all, a, '2').settle(a)
    assert.equal(all.pushes.size, 2)
    put(all, b, '1').settle(b)
    assert.throws(() => put(all, b, '2'), refused)
    put(all, c, '1').settle(c)
    assert.throws(() => put(all, c, '2'), refused)
    all.pushes.delete(a, '1')
    all.pushes.delete(a, '1')
    assert.equal(all.pushes.size, 3)
    put(all, c, '2').settle(c)
    all.cut('one')
    assert.equal(all.pushes.size, 2)
    all.cut('other')
    assert.equal(all.pushes.size, 0)
  })

  it('count while the peer is told, and no more where nothing came of it', () => {
    const all = tasks(10, 10)
    const a = make(all, granted('one'), 'a')
    const [first, second] = [put(all, a, '1'), put(all, a, '2')]
    assert.throws(() => put(all, a, '3'), refused)
    first.settle()
    first.settle(a)
    assert.deepEqual([...a.pushes.keys()], [])
    const third = put(all, a, '3')
    assert.throws(() => put(all, a, '4'), refused)
    all.cut('one')
    // It came to be of a task that is gone.
    second.settle(a)
    third.settle(a)
    assert.equal(all.pushes.size, 0)
  })

  it('are set no faster than a session may, and others by their own pace', () => {
    let now = 0
    const clock = { now: () => now, monotonic: () => now }
    const many = { maxPerTask: 1000, maxPerSession: 1000, maxTotal: 1000 }
    const pushes = new Pushes({ clock, ...many })
    const set = (session: string): void => {
      pushes.room(session, undefined, { id: 'x', url: 'https://x' }).settle()
    }
    for (let n = 0; n < 32; n++) set('one')
    assert.throws(() => {
      set('one')
    }, refused)
    set('other')
    now += 1000
    set('one')
    assert.throws(() => {
      set('one')
    }, refused)
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
