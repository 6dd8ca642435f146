import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { closeCedar } from '@sallyport/cedar'
import { createDecider, createRowFilters } from '../src/index.ts'
import { call, network, quiet, sources } from './fixture.ts'

after(closeCedar)

const AT = Date.UTC(2026, 10, 23, 16, 30)

/** The kind of filter at a time, by one policy beside the one that permits every row. */
async function kindsAt(forbid: string, timeZone: string | undefined): Promise<string[]> {
  const settings = timeZone === undefined ? network.settings : { ...network.settings, timeZone }
  const declaration = { network: { ...network, settings }, policies: sources() }
  const [permit, late] = [
    'permit(principal, action == Action::"row.read", resource is Row);',
    `forbid(principal, action == Action::"row.read", resource is Row) when { ${forbid} };`,
  ].map((source, i) => ({ id: `row${i}`, source, file: 'rows.cedar', line: 1 }))
  assert.ok(permit && late)
  const filters = await createRowFilters({
    declaration,
    decider: await createDecider({ declaration }),
    rows: {
      ...{ dataset: 'account', table: 'accounts', id: 'id' },
      attributes: { balance: { kind: 'long', column: 'balance' } },
      policies: [permit, late],
    },
  })
  return [AT, AT + 3_600_000].map((time) => filters.filter(call({ time }), quiet).kind)
}

test('a policy about rows reads the local time where the network declares a zone', async () => {
  // Half past five, then half past six, in Zurich.
  for (const late of [
    'context.time.local.hour >= 18',
    'context.time has local && context.time.local.hour >= 18',
  ]) {
    const [before, after] = await kindsAt(late, 'Europe/Zurich')
    assert.notEqual(before, 'none', late)
    assert.equal(after, 'none', late)
  }
  assert.deepEqual((await kindsAt('context.time.hour >= 17', undefined))[1], 'none')
})
