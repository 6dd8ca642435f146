import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { prepareContext } from '@sallyport/cedar'
import type { CedarJson } from '@sallyport/cedar'
import {
  callContext,
  clockOf,
  fieldContext as contextOfField,
  sharedContext,
} from '../src/context.ts'
import type { ContextFacts, KeptContext } from '../src/context.ts'
import type { Call } from '../src/index.ts'
import { call, network, quiet } from './fixture.ts'

const facts = (over: Partial<ContextFacts> = {}, asked: Partial<Call> = {}): ContextFacts => ({
  call: call(asked),
  session: quiet,
  purpose: 'aml',
  approvers: [],
  clock: clockOf(undefined),
  ...over,
})
const fieldContext = (of: ContextFacts) => contextOfField(sharedContext(of), 'core.list')
const list = network.systems[0]?.operations.find(({ name }) => name === 'list')
assert.ok(list)
const monday = { epoch: 1_795_442_700, hour: 14, minute: 5, weekday: 1, date: '2026-11-23' }
const expected = {
  time: monday,
  session: { labels: [] },
  risk: 0,
  purpose: 'aml',
  evidence: { approvals: 0, approvers: [] },
}
const same = (got: unknown, json: Readonly<Record<string, CedarJson>>): void =>
  assert.deepEqual(got, prepareContext(json))

describe('what policies read beside the request', () => {
  it('is, for a call, its input and the facts', () => {
    same(callContext(sharedContext(facts()), call(), list), {
      ...expected,
      input: { account: 'a1' },
    })
  })

  it('is, for a field, the operation and the facts, and no input', () => {
    same(fieldContext(facts()), { ...expected, operation: 'core.list' })
  })

  it('counts each approver once and names all', () => {
    const { evidence } = { evidence: { approvals: 2, approvers: ['olga', 'ivan'] } }
    same(fieldContext(facts({ approvers: ['olga', 'ivan', 'olga'] })), {
      ...expected,
      evidence,
      operation: 'core.list',
    })
  })

  it('has the labels of its own session, whatever was asked for others', () => {
    const demand = (labels: readonly string[], read: readonly string[]): void => {
      const session = { labels: [...read] }
      const of = facts({ session: { labels, risk: 0 } })
      same(fieldContext(of), { ...expected, session, operation: 'core.list' })
    }
    const labels = ['a']
    for (const given of [labels, ['a,b'], ['a', 'b'], ['a,b'], [], ['']]) demand(given, given)
    // Whoever keeps its list and adds to it is read by what it holds now.
    labels.push('c')
    demand(labels, ['a', 'c'])
  })

  it('takes labels as they are, and a fraction of risk as the whole point', () => {
    const session = { labels: ['pii', 'untrusted'], risk: 41.01 }
    same(fieldContext(facts({ session, purpose: 'ops' })), {
      ...expected,
      session: { labels: ['pii', 'untrusted'] },
      risk: 42,
      purpose: 'ops',
      operation: 'core.list',
    })
  })

  const times: [string, number, Record<string, CedarJson>][] = [
    [
      'a Sunday, the seventh day, just before midnight',
      Date.UTC(2026, 10, 22, 23, 59, 59, 999),
      { epoch: 1_795_391_999, hour: 23, minute: 59, weekday: 7, date: '2026-11-22' },
    ],
    [
      'a Saturday at midnight',
      Date.UTC(2026, 0, 3),
      { epoch: 1_767_398_400, hour: 0, minute: 0, weekday: 6, date: '2026-01-03' },
    ],
    [
      'half a second before 1970',
      -500,
      { epoch: -1, hour: 23, minute: 59, weekday: 3, date: '1969-12-31' },
    ],
  ]
  for (const [name, time, record] of times) {
    it(`reads the clock in UTC: ${name}`, () => {
      same(fieldContext(facts({}, { time })), {
        ...expected,
        time: record,
        operation: 'core.list',
      })
    })
  }

  it('keeps no time for another: seconds apart, and back again', () => {
    const at = (time: number) => fieldContext(facts({}, { time }))
    const noon = Date.UTC(2026, 10, 23, 14, 5)
    same(at(noon), { ...expected, operation: 'core.list' })
    const next = { ...monday, epoch: monday.epoch + 1 }
    same(at(noon + 1000), { ...expected, time: next, operation: 'core.list' })
    same(at(noon + 1999), { ...expected, time: next, operation: 'core.list' })
    same(at(noon), { ...expected, operation: 'core.list' })
  })

  const sources: [string, string][] = [
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::FFFF:10.0.0.1', '10.0.0.1'],
    ['::ffff:192.168.10.1', '192.168.10.1'],
    ['::ffff:a:1', '::ffff:a:1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['2001:db8::1', '2001:db8::1'],
    ['::ffff:10.0.0.1%lo', '10.0.0.1'],
  ]
  for (const [source, arg] of sources) {
    it(`reads the source address ${source}`, () => {
      same(fieldContext(facts({}, { source })), {
        ...expected,
        source: { __extn: { fn: 'ip', arg } },
        operation: 'core.list',
      })
    })
  }

  const part = (name: string, asked: Partial<Call>, over: Partial<ContextFacts> = {}) =>
    fieldContext(facts(over, asked)).fields.get(name)

  it('converts a second once, and an instant in between is that second', () => {
    const noon = Date.UTC(2026, 10, 23, 12)
    const at = (ms: number) => part('time', { time: noon + ms })
    const first = at(0)
    assert.equal(at(1), first)
    assert.equal(at(999), first)
    const next = at(1000)
    assert.notDeepEqual(next, first)
    assert.equal(at(1999), next)
    assert.deepEqual(at(0), first)
  })

  it('converts a source address once, and remembers 4,096 of them', () => {
    const at = (source: string) => part('source', { source })
    const numbered = (i: number): string => `10.9.${i >> 8}.${i & 255}`
    // Whatever was remembered before is gone after so many.
    for (let i = 0; i < 4097; i++) at(`10.8.${i >> 8}.${i & 255}`)
    let kept = 0
    const before = Array.from({ length: 4000 }, (_, i) => at(numbered(i)))
    for (const [i, value] of before.entries()) if (at(numbered(i)) === value) kept++
    assert.equal(kept, 4000)
    for (let i = 0; i < 4097; i++) at(`10.7.${i >> 8}.${i & 255}`)
    assert.notEqual(at(numbered(0)), before[0])
    assert.deepEqual(at(numbered(0)), before[0])
  })

  it('says that nobody approved with one value', () => {
    assert.equal(part('evidence', { time: 0 }), part('evidence', { time: 5 }))
    assert.notDeepEqual(part('evidence', {}), part('evidence', {}, { approvers: ['olga'] }))
  })

  it('knows no time zone that this platform does not know', () => {
    assert.throws(() => clockOf('Nowhere/Atlantis'), {
      code: 'SP_NETWORK_RULE',
      message: 'there is no time zone `Nowhere/Atlantis` here',
      fix: 'use a name of the IANA database that every gateway knows',
    })
    const utc = clockOf(undefined)(0)
    const local = clockOf('Europe/Berlin')(0)
    assert.ok(utc instanceof Object && local instanceof Object)
    assert.notDeepEqual(local, utc)
  })

  for (const source of ['', '1::ffff:10.0.0.1', '10.0.0.1 ', 'nonsense']) {
    it(`takes \`${source}\` for no address`, () => {
      assert.throws(() => fieldContext(facts({}, { source })), { code: 'SP_CEDAR_VALUE' })
    })
  }

  it('is kept for the next call of the same caller only where nothing that it says is another', () => {
    const kept: KeptContext = { last: undefined }
    const labels = Object.freeze(['a'])
    const before = facts({ session: { labels, risk: 1 } }, { source: '192.0.2.1' })
    const first = sharedContext(before, kept)
    const again = call({ source: '192.0.2.1', input: { account: 'a2' } })
    assert.equal(sharedContext({ ...before, call: again }, kept), first)
    assert.equal(contextOfField(first, 'core.list'), contextOfField(first, 'core.list'))
    assert.deepEqual(
      contextOfField(first, 'core.other'),
      contextOfField(sharedContext(before), 'core.other'),
    )
    const delegator = 'operator:o'
    const others: ContextFacts[] = [
      { ...before, session: { labels, risk: 2 } },
      { ...before, session: { labels: ['b'], risk: 1 } },
      { ...before, purpose: 'other' },
      { ...before, approvers: ['olga'] },
      { ...before, call: { ...before.call, time: before.call.time + 1000 } },
      { ...before, call: { ...before.call, source: '192.0.2.2' } },
      { ...facts({ session: { labels, risk: 1 } }) },
      { ...before, call: { ...before.call, onBehalfOf: { subject: 's', actors: [] } } },
      { ...before, call: { ...before.call, mandate: { id: 'm', delegator, depth: 1, task: 't' } } },
      {
        ...before,
        call: { ...before.call, payment: { amount: 1, currency: 'EUR', creditor: 'c', by: 'b' } },
      },
    ]
    for (const other of others) {
      // Each behind the one that is kept, and behind each other.
      sharedContext(before, kept)
      for (const one of [other, before]) {
        const alone = sharedContext(one).context
        assert.deepEqual(sharedContext(one, kept).context, alone)
        assert.deepEqual(sharedContext(one, kept).context, alone)
      }
      assert.notDeepEqual(sharedContext(other, kept).context, first.context)
    }
  })

  it('is not kept by a list of labels that can still change', () => {
    const kept: KeptContext = { last: undefined }
    const labels = ['a']
    sharedContext(facts({ session: { labels, risk: 0 } }), kept)
    labels[0] = 'b'
    same(sharedContext(facts({ session: { labels, risk: 0 } }), kept).context, {
      ...expected,
      session: { labels: ['b'] },
    })
  })
})
