import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { prepareContext } from '@sallyport/cedar'
import type { CedarJson } from '@sallyport/cedar'
import { callContext, fieldContext as contextOfField, sharedContext } from '../src/context.ts'
import type { ContextFacts } from '../src/context.ts'
import type { Call } from '../src/index.ts'
import { call, quiet } from './fixture.ts'

const facts = (over: Partial<ContextFacts> = {}, asked: Partial<Call> = {}): ContextFacts => ({
  call: call(asked),
  session: quiet,
  purpose: 'aml',
  approvers: [],
  ...over,
})
const fieldContext = (of: ContextFacts) => contextOfField(sharedContext(of), 'core.list')
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
    same(callContext(sharedContext(facts()), call()), { ...expected, input: { account: 'a1' } })
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

  for (const source of ['', '1::ffff:10.0.0.1', '10.0.0.1 ', 'nonsense']) {
    it(`takes \`${source}\` for no address`, () => {
      assert.throws(() => fieldContext(facts({}, { source })), { code: 'SP_CEDAR_VALUE' })
    })
  }
})
