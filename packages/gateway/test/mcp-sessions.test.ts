/** Sessions of MCP: who opens many loses its own, and nobody else's. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { systemClock } from '@sallyport/base'
import { McpSessions } from '../src/adapters/mcp-sessions.ts'

const sessions = (maxPerHolder: number, maxTotal: number): McpSessions =>
  new McpSessions({
    ...{ clock: systemClock, idleMs: 3_600_000, maxPerHolder, maxTotal },
    onEnd: () => undefined,
  })

const open = (all: McpSessions, instance: string, holder = instance) =>
  all.open({
    ...{ instance, holder, system: 'tools', version: '1', subject: undefined },
    client: { sampling: false, form: false, url: false },
  })

type Session = ReturnType<typeof open>

const isThere = (all: McpSessions, { id, instance }: Session): boolean =>
  all.find(id, instance, 'tools') !== undefined

describe('sessions of MCP', () => {
  it('of one holder are so many, however its instances are named', () => {
    const all = sessions(3, 100)
    const honest = open(all, 'honest')
    const many = ['a', 'b', 'c', 'd', 'e'].map((name) => open(all, name, 'reader@else'))
    assert.equal(all.size, 4)
    assert.deepEqual(
      many.map((one) => isThere(all, one)),
      [false, false, true, true, true],
    )
    assert.ok(many[0]?.ended.signal.aborted)
    assert.ok(isThere(all, honest))
  })

  it('that are used stay, and the one that is not goes', () => {
    const all = sessions(2, 100)
    const [first, second] = [open(all, 'one'), open(all, 'one')]
    assert.ok(isThere(all, first))
    const third = open(all, 'one')
    assert.deepEqual(
      [first, second, third].map((one) => isThere(all, one)),
      [true, false, true],
    )
    // What was closed counts no more.
    all.close(first.id)
    open(all, 'one')
    assert.ok(isThere(all, third))
  })

  it('of all together are so many: who has most gives way, and where nobody has more than one, nobody does', () => {
    const all = sessions(10, 4)
    const honest = open(all, 'honest')
    for (let n = 0; n < 9; n++) open(all, 'greedy')
    assert.equal(all.size, 4)
    const others = [open(all, 'other'), open(all, 'another')]
    assert.equal(all.size, 4)
    assert.ok([honest, ...others].every((one) => isThere(all, one)))
    assert.throws(() => open(all, 'late'), { code: 'SP_OVERLOADED' })
    assert.equal(all.size, 4)
    assert.ok([honest, ...others].every((one) => isThere(all, one)))
  })
})
