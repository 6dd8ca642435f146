import assert from 'node:assert/strict'
import type { AuditRecord, DecisionRecord } from '@sallyport/wire'
import type { Said } from './clerk.ts'
import type { Executed } from './ledger.ts'

export interface Evidence {
  /** Of the verified log. */
  readonly records: readonly AuditRecord[]
  /** What the services did, by their own account. */
  readonly executed: readonly Executed[]
  /** What the agents were answered. */
  readonly said: readonly Said[]
  /** Quarantines that were acknowledged as applied, or while no gateway ran: by then, in milliseconds since the epoch. */
  readonly quarantined: readonly { readonly instance: string; readonly at: number }[]
}

/** Above `clerk.posts-small`, and above `bounds.no-fortunes`, of `declaration/`. */
const NEEDS_APPROVAL = 4711
const NEVER = 82_193
/** Of the limit `draws`. */
const DRAWS = 150
const MAY_HAPPEN = ['ledger.getEntry', 'ledger.post', 'ledger.draw', 'desk.add_note']

/** What holds of a network at any moment, whatever was killed before. @throws AssertionError */
export function assertInvariants({ records, executed, said, quarantined }: Evidence): void {
  const decisions = new Map<string, DecisionRecord>()
  const usedFor = new Map<string, string>()
  const approvalsUsed = new Map<string, string>()
  const cut = new Set<string>()
  for (const record of records) {
    if (record.kind === 'decision') {
      assert.ok(!decisions.has(record.id), `decision ${record.id} is recorded twice`)
      decisions.set(record.id, record)
      assert.ok(
        record.decision !== 'allow' || !cut.has(record.instance),
        `${record.instance} was allowed ${record.id} after its quarantine was applied`,
      )
    } else if (record.kind === 'approval-used') {
      const before = approvalsUsed.get(record.approvalId)
      assert.equal(before, undefined, `approval ${record.approvalId} was used twice`)
      approvalsUsed.set(record.approvalId, record.decisionId)
      usedFor.set(record.decisionId, record.approvalId)
    } else if (record.kind === 'event' && record.event === 'quarantine-applied') {
      cut.add(record.subject ?? '')
    }
  }

  for (const { decision, status, outcome, kind } of said) {
    if (decision === '') continue
    const record = decisions.get(decision)
    assert.ok(record, `a ${kind} was answered ${status}, but its decision ${decision} is not there`)
    if (status === 200) assert.equal(record.decision, 'allow', decision)
    else if (outcome === 'needs') assert.equal(record.decision, 'needs', decision)
    else if (outcome !== 'refused') assert.equal(record.decision, 'deny', decision)
  }

  const done = new Set<string>()
  const refs = new Set<string>()
  for (const { at, system, operation, ref, amount, instance, decision } of executed) {
    const what = `${system}.${operation}`
    assert.ok(MAY_HAPPEN.includes(what), `${what} reached the service`)
    const record = decisions.get(decision)
    assert.ok(record, `${what} was executed, but its decision ${decision} is not in the log`)
    assert.equal(record.decision, 'allow', decision)
    assert.equal(`${record.system}.${record.operation}`, what)
    assert.equal(record.instance, instance)
    assert.ok(record.at <= at, `${decision} was recorded after it was executed`)
    if (what !== 'ledger.getEntry') {
      assert.ok(!done.has(decision), `${decision} was executed twice`)
      done.add(decision)
      assert.ok(!refs.has(ref), `the write ${ref} was executed twice`)
      refs.add(ref)
    }
    if (operation === 'post') {
      assert.ok(amount <= NEVER, `${amount} was posted`)
      const approved = amount <= NEEDS_APPROVAL || usedFor.has(decision)
      assert.ok(approved, `${amount} was posted without an approval`)
    }
    const late = quarantined.find((one) => one.instance === instance && at > one.at)
    assert.equal(late, undefined, `${instance} reached ${what} ${late ? at - late.at : 0} ms late`)
  }
  const draws = executed.filter(({ operation }) => operation === 'draw').length
  assert.ok(draws <= DRAWS, `${draws} draws were executed, ${DRAWS} are the limit`)
}
