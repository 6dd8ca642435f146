/** What becomes of a call of which there can be no record, though the log is there. */
import assert from 'node:assert/strict'
import { afterEach, describe, it, mock } from 'node:test'
import type { Declaration } from '@sallyport/network'
import { Audit } from '../src/audit/audit.ts'
import { Refusal } from '../src/refusal.ts'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const [SMALL, LARGE] = ['/bank/v1/accounts/A', '/bank/v1/accounts/B']

/** So many reasons for one call that a record has no room for them. */
const talkative = ({ network, policies }: Declaration): Declaration => ({
  network,
  policies: [
    ...policies,
    ...Array.from({ length: 320 }, (_, i) => {
      const id = `${'one-of-very-many-'.repeat(13)}${i}`
      const source = `@id("${id}") permit (principal, action, resource) when { context has input && context.input has accountId && context.input.accountId == "B" };`
      return { id, file: 'test.cedar', line: i + 1, source }
    }),
  ],
})

let world: World
afterEach(async () => {
  mock.restoreAll()
  await world?.close()
})

/** Outcomes of decisions that do not stand in the log. */
function orphans(): readonly string[] {
  const records = world.plane.records()
  const decided = new Set(records.flatMap((one) => (one.kind === 'decision' ? [one.id] : [])))
  return records.flatMap((one) =>
    one.kind === 'outcome' && !decided.has(one.decisionId) ? [one.decisionId] : [],
  )
}

/** Waits until whatever was recorded before has arrived. */
async function settled(): Promise<void> {
  await until(() => world.gateway.stats().feedLag === 0)
}

describe('a call of which there can be no record', () => {
  for (const refuseReadsWithoutAudit of [true, false]) {
    it(`is refused by its own code, and that is recorded in short, where reads ${refuseReadsWithoutAudit ? 'need' : 'could do without'} one`, async () => {
      world = await startWorld(
        { settings: { refuseReadsWithoutAudit } },
        () => undefined,
        talkative,
      )
      const reader = world.agent('reader')
      const { status, body } = await reader.ask({ path: LARGE })
      assert.deepEqual([status, body['code']], [413, 'SP_RECORD_TOO_LARGE'])
      assert.equal(world.bank.seen.length, 0, 'nothing was forwarded')
      const found = (): unknown[] =>
        world.plane
          .records()
          .flatMap((one) =>
            one.kind === 'decision' && one.id === body['decision']
              ? [[one.decision, one.code, one.operation]]
              : [],
          )
      await until(() => found().length > 0)
      assert.deepEqual(found(), [['deny', 'SP_RECORD_TOO_LARGE', 'getAccount']])
      // The log is none the worse for it.
      assert.equal((await reader.ask({ path: SMALL })).status, 200)
      await settled()
      assert.deepEqual(orphans(), [])
    })
  }

  it('has no outcome in the log, where it goes on without because nothing can be sealed', async () => {
    world = await startWorld({ settings: { refuseReadsWithoutAudit: false } })
    const reader = world.agent('reader')
    // Its labels are durable from then on.
    assert.equal((await reader.ask({ path: SMALL })).status, 200)
    mock.method(Audit.prototype, 'seal', () => {
      throw new Refusal('SP_AUDIT_UNAVAILABLE', 'no key can be kept', { status: 503 })
    })
    assert.equal((await reader.ask({ path: SMALL })).status, 200)
    assert.equal(world.bank.seen.length, 2)
    mock.restoreAll()
    assert.equal((await reader.ask({ path: SMALL })).status, 200)
    const outcomes = (): number =>
      world.plane.records().filter(({ kind }) => kind === 'outcome').length
    await until(() => outcomes() >= 2)
    await settled()
    assert.equal(outcomes(), 2)
    assert.deepEqual(orphans(), [])
  })
})
