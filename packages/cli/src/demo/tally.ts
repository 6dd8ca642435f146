import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { verifyLog } from '@sallyport/tlog'
import { decodeRecord } from '@sallyport/wire'
import type { AuditRecord } from '@sallyport/wire'

/** What the audit log proves of a run. Everything counted here was read from records that verified. */
export interface Tally {
  readonly records: number
  readonly verified: boolean
  readonly statement: string
  readonly calls: number
  readonly decisions: { readonly allow: number; readonly deny: number; readonly needs: number }
  /** Of the attacker's instance, from the start of the attack. */
  readonly attacker: {
    readonly refused: number
    readonly allowed: number
    /** Records with a field of class confidential or above that left whole. */
    readonly sensitiveRecords: number
    /** Records of any form that left, pseudonymous ones included. */
    readonly recordsRead: number
    /** Milliseconds since the epoch at which the gateway applied the quarantine. */
    readonly containedAt: number | null
    /** Allowed decisions that stand after it in the log. */
    readonly callsAfterContainment: number
  }
}

interface Attacker {
  readonly instance: string
  /** Milliseconds since the epoch. */
  readonly since: number
}

/** Verifies a stopped gateway's log and counts what is in it. */
export async function tally(gatewayDir: string, attacker: Attacker | undefined): Promise<Tally> {
  const decisions = { allow: 0, deny: 0, needs: 0 }
  const byAttacker = new Set<string>()
  let refused = 0
  let allowed = 0
  let sensitiveRecords = 0
  let recordsRead = 0
  let containedAt: number | null = null
  let callsAfterContainment = 0
  const count = (record: AuditRecord): void => {
    if (record.kind === 'decision') {
      decisions[record.decision]++
      if (!attacker || record.instance !== attacker.instance || record.at < attacker.since) return
      if (record.decision === 'allow') {
        allowed++
        byAttacker.add(record.id)
        if (containedAt !== null) callsAfterContainment++
      } else refused++
    } else if (record.kind === 'outcome' && byAttacker.has(record.decisionId)) {
      for (const { records, maxWholeClass } of Object.values(record.released)) {
        recordsRead += records
        if (maxWholeClass === 'restricted') sensitiveRecords += records
      }
    } else if (
      record.kind === 'event' &&
      record.event === 'quarantine-applied' &&
      attacker !== undefined &&
      (record.subject === attacker.instance || attacker.instance.startsWith(`${record.subject}/`))
    ) {
      containedAt ??= record.at
    }
  }
  const logDir = join(gatewayDir, 'log')
  const result = await verifyLog({
    dir: logDir,
    origin: readFileSync(join(logDir, 'origin'), 'utf8').trim(),
    publicKey: createPublicKey(readFileSync(join(gatewayDir, 'log.pub'))),
    onRecord: (_, bytes) => count(decodeRecord(bytes)),
  })
  return {
    records: result.records,
    verified: result.ok,
    statement: result.statement,
    calls: decisions.allow + decisions.deny + decisions.needs,
    decisions,
    attacker: {
      refused,
      allowed,
      sensitiveRecords,
      recordsRead,
      containedAt,
      callsAfterContainment,
    },
  }
}
