import assert from 'node:assert/strict'
import { afterEach, describe, it, mock } from 'node:test'
import type { AuditRecord } from '@sallyport/wire'
import { Audit } from '../src/audit/audit.ts'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const CALLER = 'spiffe://test.example/agent/reader/i1'

let world: World
afterEach(async () => {
  mock.restoreAll()
  await world.close()
})

const isApplied = (record: AuditRecord): boolean =>
  record.kind === 'event' && record.event === 'quarantine-applied'

/** Quarantines the caller, and waits until that stands in the log. */
async function quarantine(): Promise<void> {
  world.plane.quarantine(CALLER)
  await until(() => world.plane.records().some(isApplied))
}

/** What the log has in the end of a call in whose way `quarantine` came. */
async function logged(isThere: (record: AuditRecord) => boolean): Promise<readonly AuditRecord[]> {
  await world
    .agent('reader')
    .ask({ path: '/bank/v1/accounts/A' })
    .catch(() => undefined)
  await until(() => world.plane.records().some(isThere))
  assert.equal(world.bank.seen.length, 0, 'nothing was forwarded')
  return world.plane.records()
}

describe('a caller who is quarantined while its call is on its way', () => {
  it('has no allow in the log after that, where its record was not written yet', async () => {
    world = await startWorld()
    // oxlint-disable-next-line typescript/unbound-method -- it is called as a method of what it was called on
    const { seal } = Audit.prototype
    let isFirst = true
    mock.method(Audit.prototype, 'seal', function (this: Audit, ...asked: Parameters<typeof seal>) {
      if (!isFirst) return seal.apply(this, asked)
      isFirst = false
      // As where a key is made durable first.
      return quarantine().then(() => seal.apply(this, asked))
    })
    const records = await logged(({ kind }) => kind === 'decision')
    assert.deepEqual(
      records.flatMap((one) => (one.kind === 'decision' ? [[one.decision, one.code]] : [])),
      [['deny', 'SP_QUARANTINED']],
    )
  })

  it('is not let go on, where its record was being written: it is recorded as cut', async () => {
    world = await startWorld()
    // oxlint-disable-next-line typescript/unbound-method -- it is called as a method of what it was called on
    const { append } = Audit.prototype
    mock.method(
      Audit.prototype,
      'append',
      async function (this: Audit, ...[record, why]: Parameters<typeof append>) {
        const index = await append.call(this, record, why)
        if (record.kind === 'decision') await quarantine()
        return index
      },
    )
    const records = await logged(({ kind }) => kind === 'outcome')
    const [allow, applied] = [
      records.findIndex((one) => one.kind === 'decision' && one.decision === 'allow'),
      records.findIndex(isApplied),
    ]
    assert.ok(allow >= 0 && allow < applied)
    const outcomes = records.flatMap((one) => (one.kind === 'outcome' ? [one.result] : []))
    assert.deepEqual(outcomes, ['cut'])
  })
})
