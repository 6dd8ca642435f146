import type { KeyObject } from 'node:crypto'
import { canonicalJson, errorCode, SallyportError } from '@sallyport/base'
import { createDecider, readInput } from '@sallyport/decide'
import type { Call, Decider, Outcome, SessionState } from '@sallyport/decide'
import type { Declaration } from '@sallyport/network'
import { verifyLog } from '@sallyport/tlog'
import type { Verification } from '@sallyport/tlog'
import { decodeRecord } from '@sallyport/wire'
import type { AuditRecord, DecisionRecord } from '@sallyport/wire'
import { changeBetween } from './change.ts'
import { Recorded } from './recorded.ts'
import { Tally } from './tally.ts'
import type { ReplayReport } from './types.ts'

export interface ReplayOptions {
  /** A gateway's data directory, of a gateway that runs or not; nothing in it is changed. */
  readonly gatewayDir: string
  /** The name of its log. */
  readonly origin: string
  /** The log's public key, got out of band. */
  readonly publicKey: KeyObject
  readonly draft: Declaration
  /** Milliseconds since the epoch; decisions recorded from here … */
  readonly since?: number
  /** … and before here. */
  readonly until?: number
  /** Goes on with a log that does not verify, and says so in the report. */
  readonly allowUnverified?: boolean
}

/**
 * Decides recorded decisions again: by the declaration that decided them, which must give the recorded outcome, and by a draft.
 * Labels, risk, time, source address and approvals are those recorded.
 *
 * @throws SallyportError `SP_LOG_*` for a log that does not verify, `SP_POLICY_NO_KEY`, `SP_SEAL_*`, `SP_CEDAR_*` (the draft)
 */
export async function replay(options: ReplayOptions): Promise<ReplayReport> {
  const { gatewayDir, since = -Infinity, until = Infinity } = options
  const draft = await createDecider({ declaration: options.draft })
  const digests = new Set<string>()
  const approvers = new Map<string, readonly string[]>()
  const inSpan = ({ at }: AuditRecord): boolean => at >= since && at < until
  // Once to verify all of it and learn what is needed, then again to decide: memory does not grow with the log.
  const verified = await scan(options, (bytes) => {
    const digest = DIGEST.exec(bytes.toString('latin1'))?.[1]
    if (digest !== undefined) digests.add(digest)
    if (!bytes.includes('"kind":"approval-used"')) return
    const record = decodeRecord(bytes)
    if (record.kind === 'approval-used') approvers.set(record.decisionId, record.approvers)
  })
  const recorded = await Recorded.open(gatewayDir, digests)
  const tally = new Tally()
  const used = new Set<string>()
  const drafts = new Drafts(draft)
  try {
    await scan(options, (bytes, index) => {
      // A gateway that runs has appended more meanwhile.
      if (index >= verified.records || !bytes.includes('"kind":"decision"')) return
      const record = decodeRecord(bytes)
      if (record.kind !== 'decision' || !inSpan(record)) return
      used.add(record.declarationDigest)
      const read = recorded.read(record, approvers.get(record.id) ?? [])
      if (typeof read === 'string') {
        tally.notReplayed(read, record, index)
        return
      }
      const { decider, call, session } = read
      const before = decider.decide(call, session)
      const why = difference(record, before, decider.stateDigest(call, session))
      if (why !== undefined) {
        // What was not seen as the gateway saw it says nothing about the draft.
        tally.failed(why, record, index)
        return
      }
      const after = drafts.decide(decider, call, session)
      const change = changeBetween(before, after.outcome, after.refusedAs)
      tally.replayed(change, record, index, record.code !== before.code)
    })
  } finally {
    await recorded.close()
  }
  const { origin } = options
  const { ok, statement, records, signed } = verified
  return {
    log: { origin, verified: ok, statement, records, signed },
    recordedUnder: [...used].toSorted(),
    draft: draft.digest,
    ...tally.report(),
  }
}

/** As canonical JSON spells it; a text that only looks like it costs a look for a file that is not there. */
const DIGEST = /"declarationDigest":"([0-9a-f]{64})"/

async function scan(
  { gatewayDir, origin, publicKey, allowUnverified }: ReplayOptions,
  onRecord: (record: Buffer, index: number) => void,
): Promise<Verification> {
  const result = await verifyLog({
    dir: `${gatewayDir}/log`,
    origin,
    publicKey,
    onRecord: (index, bytes) => {
      onRecord(bytes, index)
    },
  })
  // A frame that is being written, beside a gateway that runs: it ends the log, and falsifies nothing before it.
  const { torn } = result
  const [problem] = result.problems
  if (!problem || torn || allowUnverified === true) return torn ? { ...result, ok: true } : result
  throw new SallyportError(problem.code, problem.message, {
    fix: 'find out what changed the log: `sallyport audit verify`; `--allow-unverified` replays what can be read all the same',
  })
}

/** Decides by the draft, whose operations may be typed otherwise than those recorded. */
class Drafts {
  readonly #draft: Decider
  /** Whether the draft types an operation as the recorded declaration does. */
  readonly #same = new Map<string, boolean>()

  constructor(draft: Decider) {
    this.#draft = draft
  }

  decide(recorded: Decider, call: Call, session: SessionState): Drafted {
    const { system, operation } = call
    const key = `${recorded.digest} ${system}.${operation}`
    const wanted = this.#draft.index.findOperation(system, operation)
    let same = this.#same.get(key)
    if (same === undefined) {
      const given = recorded.index.findOperation(system, operation)
      same = canonicalJson(given?.input ?? null) === canonicalJson(wanted?.input ?? null)
      this.#same.set(key, same)
    }
    if (same || !wanted) return { outcome: this.#draft.decide(call, session) }
    try {
      const input = readInput(wanted.input, call.input)
      return { outcome: this.#draft.decide({ ...call, input }, session) }
    } catch (error) {
      // A gateway refuses what its declaration does not type, before any policy is asked.
      return { outcome: REFUSED, refusedAs: errorCode(error) }
    }
  }
}

interface Drafted {
  readonly outcome: Outcome
  /** The code that the draft refuses the input with, so that policies are not asked. */
  readonly refusedAs?: string
}

const REFUSED: Outcome = {
  ...{ decision: 'deny', code: 'SP_DENIED_NOT_PERMITTED', reasons: [], errors: [], needs: [] },
  ...{ projection: {}, limits: [], labels: [], maxClass: 'public' },
}

/** What policy can end with; any other code is of something else that stopped the call. */
const BY_POLICY: ReadonlySet<string> = new Set([
  'SP_ALLOWED',
  'SP_DENIED_FORBIDDEN',
  'SP_DENIED_NOT_PERMITTED',
  'SP_DENIED_PARTIAL',
  'SP_DENIED_POLICY_ERROR',
  'SP_NEEDS_APPROVAL',
  'SP_NEEDS_MANDATE',
  'SP_NO_FLOW',
])

/** In what the outcome is not the recorded one; undefined where it is. */
function difference(
  record: DecisionRecord,
  outcome: Outcome,
  stateDigest: string,
): string | undefined {
  const own = BY_POLICY.has(record.code)
  if (own && (record.decision !== outcome.decision || record.code !== outcome.code)) {
    return `recorded ${record.decision} (${record.code}), replayed ${outcome.decision} (${outcome.code})`
  }
  const sameErrors =
    record.errors.length === outcome.errors.length &&
    record.errors.every(({ policyId }, i) => policyId === outcome.errors[i]?.policyId)
  if (!sameErrors || canonicalJson(record.reasons) !== canonicalJson(outcome.reasons)) {
    return `recorded by ${list(record.reasons)}, replayed by ${list(outcome.reasons)}`
  }
  if (canonicalJson(record.needs) !== canonicalJson(outcome.needs)) return 'other approvals needed'
  return record.stateDigest === stateDigest ? undefined : 'the state that it read is another one'
}

const list = (ids: readonly string[]): string => ids.join(', ') || 'no policy'
