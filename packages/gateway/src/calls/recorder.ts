import { errorCode } from '@sallyport/base'
import type { Call, Outcome, SessionState } from '@sallyport/decide'
import type { DecisionRecord, SealedValue } from '@sallyport/wire'
import type { Audit } from '../audit/audit.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Enforced } from '../state/bundles.ts'
import type { Shadow } from '../state/shadow.ts'
import { hashOf } from '../upstream/request-hash.ts'
import type { VerifiedApproval } from './approvals.ts'
import type { CallMandate, Mandates } from './mandates.ts'
import type { Standing } from './standing.ts'
import type { Caller, TypedCall, UpstreamRequest } from './types.ts'

export interface RecorderParts {
  readonly audit: Audit
  readonly settings: GatewaySettings
  readonly standing: Standing
  readonly shadow: Pick<Shadow, 'compare'>
  readonly mandates: Pick<Mandates, 'check'>
}

/** The state of one decision on its way. */
export interface Draft {
  readonly id: string
  readonly caller: Caller
  readonly typed: TypedCall
  upstream: UpstreamRequest
  readonly enforced: Enforced
  call: Call
  session: SessionState
  outcome: Outcome
  approval: VerifiedApproval | undefined
  approvalId: string | undefined
  mandate: CallMandate | undefined
  /** Its record stands in the log, or takes its place there: from here on only an outcome can follow. */
  recorded: boolean
  /** Its record is being written. */
  isWaiting: boolean
}

/** Writes decisions into the log. */
export class Recorder {
  readonly #parts: RecorderParts
  /** Calls of this turn whose records are being written. */
  #going: Draft[] = []

  constructor(parts: RecorderParts) {
    this.#parts = parts
  }

  /**
   * Records an allow and, with it, the approval it rests on; durable when this resolves.
   *
   * @throws Refusal as `Audit.append`, or what the caller's standing has become meanwhile
   */
  async allow(draft: Draft): Promise<void> {
    try {
      await this.begin(draft)
    } catch (error) {
      if (!this.spares(draft, error)) throw error
    } finally {
      draft.isWaiting = false
    }
  }

  /**
   * The same without a promise of its own: `draft.isWaiting` is to be unset when this has settled.
   *
   * @throws Refusal as `allow`, at once or later; `SP_AUDIT_UNAVAILABLE` also where that `spares` the call
   */
  begin(draft: Draft): Promise<unknown> {
    const sealing = this.#seal(draft)
    return sealing instanceof Promise
      ? sealing.then((sealed) => this.#append(draft, sealed))
      : this.#append(draft, sealing)
  }

  #append(draft: Draft, sealed: SealedInput): Promise<unknown> {
    const { audit, standing, mandates } = this.#parts
    const { id, approval, caller, mandate } = draft
    // INVARIANT: no await between this check and the append: no allow stands in the log after a quarantine of its caller.
    standing.recheck(caller)
    if (mandate) mandates.check(mandate)
    const record = this.#record(draft, draft.outcome.code, sealed)
    let durable: Promise<unknown>
    if (approval) {
      const { id: used, approvers, statements } = approval
      durable = audit.appendAll([
        record,
        {
          ...audit.base(),
          kind: 'approval-used',
          decisionId: id,
          approvalId: used,
          approvers,
          statements,
        },
      ])
    } else durable = audit.append(record)
    draft.recorded = true
    if (draft.typed.meanwhile) this.#soon(draft)
    return durable
  }

  /**
   * Whether a call that could not be recorded goes on: a read of nothing restricted may, where the settings say so. Its record does not stand in
   * the log then, and nothing else about it may.
   */
  spares(draft: Draft, error: unknown): boolean {
    draft.recorded = false
    return (
      !this.#parts.settings.refuseReadsWithoutAudit &&
      !isSensitive(draft) &&
      error instanceof Refusal &&
      error.code === 'SP_AUDIT_UNAVAILABLE'
    )
  }

  /** After the turn in which the log hands its records to the disk: what calls make ready then costs no time that anybody waits for. */
  #soon(draft: Draft): void {
    draft.isWaiting = true
    if (this.#going.push(draft) === 1) setImmediate(this.#prepare)
  }

  readonly #prepare = (): void => {
    const going = this.#going
    this.#going = []
    // Where the log failed at once, nothing is made ready behind what comes of that.
    for (const draft of going) if (draft.isWaiting) prepare(draft)
  }

  /** Records a refusal with its sealed why. Never throws. */
  async refusal(draft: Draft, refusal: Refusal): Promise<void> {
    const { audit } = this.#parts
    try {
      const { decision } = draft.outcome
      const explanation =
        decision === 'allow'
          ? { summary: refusal.message, detail: refusal.detail, code: refusal.code }
          : draft.enforced.decider.explain(draft.call, draft.session)
      const sealed = await this.#seal(draft)
      const why = await audit.seal(subjectOf(draft), explanation, `${draft.id}/why`)
      const record = this.#record(draft, refusal.code, { ...sealed, why })
      await audit
        .append(record, explanation)
        .catch((error: unknown) =>
          errorCode(error) === 'SP_RECORD_TOO_LARGE'
            ? audit.append(shortened(record), explanation)
            : Promise.reject(error),
        )
    } catch (error) {
      // It is refused either way.
      audit.event('refusal-unrecorded', {
        code: errorCode(error),
        subject: draft.caller.instance,
        facts: { id: draft.id, refusal: refusal.code },
      })
    }
  }

  #record(
    draft: Draft,
    code: string,
    sealed: Pick<DecisionRecord, 'input' | 'payment' | 'why'>,
  ): DecisionRecord {
    const { id, call, session, outcome, enforced, caller, approvalId, upstream } = draft
    const { instance, agent, system, operation } = call
    // What policy would have allowed or let be approved, and something else stopped, e.g. a limit, is a refusal.
    const decision = code === outcome.code ? outcome.decision : 'deny'
    // Compared where policy had the last word. It comes too late to change anything: what is recorded here stands.
    const shadow =
      code === outcome.code
        ? this.#parts.shadow.compare(call, session, outcome, enforced.decider.digest)
        : undefined
    const { at, gateway, v } = this.#parts.audit.base()
    // In the order of their names, which the canonical form has: it is written for every call.
    const record: { [K in keyof DecisionRecord]: DecisionRecord[K] | undefined } = {
      agent,
      approvalId,
      approvers: call.evidence.approvals.length === 0 ? undefined : call.evidence.approvals,
      at,
      code,
      decidedAt: call.time,
      decision,
      declarationDigest: enforced.decider.digest,
      errors: errorsOf(outcome),
      gateway,
      id,
      input: sealed.input,
      instance,
      kind: 'decision',
      labels: session.labels,
      mandate: draft.mandate?.record,
      needs: outcome.needs,
      onBehalfOf: call.onBehalfOf,
      operation,
      payment: sealed.payment,
      peer: peerFacts(caller),
      pep: caller.point,
      reasons: outcome.reasons,
      requestHash: hashOf(upstream),
      revision: enforced.revision,
      risk: session.risk,
      shadow,
      stateDigest: enforced.decider.stateDigest(call, session),
      system,
      trace: caller.trace?.ids,
      v,
      why: sealed.why,
    }
    // What is undefined is left out where it is written, as it is where it is absent.
    return record as DecisionRecord
  }

  /** What policies read of a call that may be personal. */
  #seal(draft: Draft): SealedInput | Promise<SealedInput> {
    const { id, call } = draft
    const input = this.#parts.audit.seal(subjectOf(draft), call.input, `${id}/input`)
    return call.payment === undefined && !(input instanceof Promise)
      ? { input }
      : this.#sealAll(draft, input)
  }

  async #sealAll(draft: Draft, input: SealedValue | Promise<SealedValue>): Promise<SealedInput> {
    const { id, call } = draft
    const sealed = { input: await input }
    if (call.payment === undefined) return sealed
    const { audit } = this.#parts
    return { ...sealed, payment: await audit.seal(subjectOf(draft), call.payment, `${id}/payment`) }
  }
}

/** What is left of a record that is too large: that it was refused, and of whom, by what. `requestHash` commits to the rest. */
function shortened(record: DecisionRecord): DecisionRecord {
  const { input: _input, payment: _payment, why: _why, ...rest } = record
  return { ...rest, reasons: record.reasons.slice(0, 16), errors: record.errors.slice(0, 4) }
}

type SealedInput = Pick<DecisionRecord, 'input' | 'payment'>

function prepare(draft: Draft): void {
  try {
    draft.typed.meanwhile?.(draft)
  } catch {
    // Forwarding makes what is not there, and says what stops it.
  }
}

/** Writes, and whatever may return restricted data whole. */
export const isSensitive = ({
  typed,
  outcome,
}: Pick<Draft, 'outcome'> & { readonly typed: Pick<TypedCall, 'operation'> }): boolean =>
  typed.operation.kind === 'write' || outcome.maxClass === 'restricted'

/** Whose key seals the input: the person or account that the operation names, else the agent's. */
function subjectOf({ typed, call }: Draft): string {
  const { subject } = typed.operation
  const value = subject === undefined ? undefined : call.input[subject]
  return typeof value === 'string' || typeof value === 'number'
    ? `subject:${String(value)}`
    : `agent:${call.agent}`
}

const NO_ERRORS: DecisionRecord['errors'] = []

function errorsOf({ errors }: Outcome): DecisionRecord['errors'] {
  return errors.length === 0
    ? NO_ERRORS
    : errors.map(({ policyId, message }) => ({ message: clip(message), policyId }))
}

const clip = (text: string): string => text.slice(0, 1000).toWellFormed()

/** What the log keeps of a caller's connection. */
export function peerFacts({ svid, group, source }: Caller): DecisionRecord['peer'] {
  const { serial } = svid
  if (source === undefined) return group === undefined ? { serial } : { group, serial }
  return group === undefined ? { serial, source } : { group, serial, source }
}
