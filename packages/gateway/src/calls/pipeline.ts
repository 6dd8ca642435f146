import { newId, sha256Hex } from '@sallyport/base'
import type { OutcomeRecord } from '@sallyport/wire'
import type { Audit } from '../audit/audit.ts'
import { denied, foreignEvidence, quarantined, Refusal, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Enforced } from '../state/bundles.ts'
import type { Shadow } from '../state/shadow.ts'
import type { Stats } from '../stats.ts'
import { Answers } from './answers.ts'
import type { AnswerParts } from './answers.ts'
import type { Approvals } from './approvals.ts'
import { Facts } from './facts.ts'
import type { Finish, Grant, Presented } from './grant.ts'
import type { Limits, Reserved } from './limits.ts'
import type { MandateUses } from './mandate-uses.ts'
import type { Mandates } from './mandates.ts'
import { isSensitive, peerFacts, Recorder } from './recorder.ts'
import type { Draft } from './recorder.ts'
import type { Standing } from './standing.ts'
import { Still } from './still.ts'
import type { Caller, Decided, TypedCall } from './types.ts'

export type { Finish, Grant, Presented } from './grant.ts'

export interface PipelineParts extends AnswerParts {
  readonly standing: Standing
  readonly approvals: Approvals
  readonly limits: Limits
  readonly mandates: Mandates
  readonly mandateUses: MandateUses
  readonly shadow: Shadow
  readonly settings: GatewaySettings
  readonly stats: Stats
}

const isAllowed = ({ outcome }: Draft): boolean => outcome.decision === 'allow'

const NOTHING_RESERVED: Reserved = { settle: () => undefined }
const NO_APPROVALS: readonly string[] = Object.freeze([])

/** Whether a call is allowed by policy alone, with nothing to be looked at, to be counted, or to be used up. */
const isPlain = ({ outcome }: Draft, { approval, mandate }: Presented): boolean =>
  outcome.decision === 'allow' &&
  outcome.limits.length === 0 &&
  approval === undefined &&
  mandate === undefined

/** Whoever approves a call approves of these bytes, and of no others. */
const unbound = (): Refusal =>
  new Refusal('SP_REQUEST_DIGEST', 'an approval is for one body: `content-digest` must say which', {
    status: 400,
  })

/** What every call goes through, whatever its protocol: decide, count, record, then let go; and what comes back. */
export class Pipeline {
  readonly answers: Answers
  /** For calls that do not go out as soon as they are granted, or that last. */
  readonly still: Still
  readonly #parts: PipelineParts
  readonly #facts: Facts
  readonly #recorder: Recorder

  constructor(parts: PipelineParts) {
    this.#parts = parts
    this.answers = new Answers(parts)
    this.#facts = new Facts(parts.sessions, parts.bundles, parts.clock)
    this.#recorder = new Recorder(parts)
    this.still = new Still(parts, this.#facts)
  }

  /**
   * Decides a typed call. When this resolves, the decision is durable in the log and the call may be forwarded.
   *
   * @param enforced what the call was typed by
   * @throws Refusal with the id of the decision, which is durable too
   */
  async authorise(
    enforced: Enforced,
    caller: Caller,
    typed: TypedCall,
    presented: Presented,
  ): Promise<Grant> {
    const { clock, stats, standing, mandates } = this.#parts
    const startedAt = clock.monotonic()
    const id = newId('dec', clock.now())
    const call = this.#facts.call(caller, typed, NO_APPROVALS)
    const session = this.#facts.session(caller.session, enforced)
    const draft: Draft = {
      id,
      caller,
      typed,
      enforced,
      call,
      session,
      upstream: typed.upstream(id),
      outcome: enforced.decider.decide(call, session),
      approval: undefined,
      approvalId: undefined,
      mandate: undefined,
      recorded: false,
      isWaiting: false,
    }
    let reserved = NOTHING_RESERVED
    try {
      standing.enforced(isSensitive(draft))
      standing.demandScope(caller, typed)
      // Nearly every call is allowed as it stands: then nothing is waited for before its record.
      if (isPlain(draft, presented)) {
        this.#confirm(draft)
        standing.demandCurrent(enforced)
      } else {
        reserved = await this.#grant(draft, presented)
        standing.enforced(isSensitive(draft))
      }
      try {
        await this.#recorder.begin(draft)
      } catch (error) {
        if (!this.#recorder.spares(draft, error)) throw error
      } finally {
        draft.isWaiting = false
      }
      // It may have changed while the record was being written; the record of a narrowing then stands after it.
      standing.recheck(caller)
      if (draft.mandate) mandates.check(draft.mandate)
      standing.demandCurrent(enforced)
    } catch (error) {
      reserved.settle(false)
      const refusal = toRefusal(error)
      refusal.decision = id
      if (draft.recorded) this.#recordCut(draft, refusal, startedAt)
      else await this.#recorder.refusal(draft, refusal)
      stats.refused++
      throw refusal
    }
    stats.allowed++
    const { call: decided, upstream, outcome, mandate } = draft
    const grant: Grant = {
      id,
      caller,
      typed,
      call: decided,
      upstream,
      enforced,
      outcome,
      reserved,
      startedAt,
    }
    if (!draft.recorded) return { ...grant, unrecorded: true, ...(mandate && { mandate }) }
    return mandate === undefined ? grant : { ...grant, mandate }
  }

  /** How a call would be decided now, without evidence; nothing is recorded, and nothing may be forwarded by it. */
  preview(enforced: Enforced, caller: Caller, typed: TypedCall): Decided {
    const call = this.#facts.call(caller, typed, NO_APPROVALS)
    const session = this.#facts.session(caller.session, enforced)
    return { call, session, outcome: enforced.decider.decide(call, session) }
  }

  /**
   * Lets somebody else forward a granted call. When this resolves, the labels of its whole answer are durable, its caller is known to
   * have read what nobody took down, and it counts as made: how it ends, nobody here will know.
   *
   * @throws Refusal `SP_AUDIT_UNAVAILABLE`, `SP_QUARANTINED`
   */
  async handOver(grant: Grant): Promise<void> {
    try {
      // What its answer shows, nobody here sees.
      const { caller, enforced, outcome } = grant
      const { network } = enforced.decider.index
      this.#parts.readValues.unseen(caller.session, network, outcome.maxClass)
      await this.answers.commitLabels(grant)
      if (this.#parts.bundles.isQuarantined(grant.caller.instance)) throw quarantined()
    } catch (error) {
      const refusal = toRefusal(error)
      refusal.decision = grant.id
      const end = { status: refusal.status, bytesOut: 0, released: {}, forwarded: false }
      this.finish(grant, { ...end, result: 'cut' })
      throw refusal
    }
    grant.reserved.settle(true)
  }

  /** For what is said of a call beside its records. */
  get audit(): Audit {
    return this.#parts.audit
  }

  /** Records how a granted call ended and settles what it reserved. Never throws: the answer has its own way. */
  finish(
    grant: Pick<Grant, 'id' | 'reserved' | 'startedAt' | 'body' | 'unrecorded'>,
    finish: Finish,
  ): void {
    const { audit, clock } = this.#parts
    grant.reserved.settle(finish.forwarded)
    // INVARIANT: no outcome stands in the log whose decision does not.
    if (grant.unrecorded) return
    const durationMs = Math.max(0, clock.monotonic() - grant.startedAt)
    const { at, gateway, v } = audit.base()
    // In the order of their names, which the canonical form has: it is written for every call.
    const record: { [K in keyof OutcomeRecord]: OutcomeRecord[K] | undefined } = {
      answerSha256: finish.answerSha256,
      at,
      bodySha256: grant.body?.sha256,
      bytesIn: grant.body?.bytes ?? finish.bytesIn,
      bytesOut: finish.bytesOut,
      decisionId: grant.id,
      durationMs: Math.round(durationMs * 1000) / 1000,
      gateway,
      kind: 'outcome',
      released: finish.released,
      result: finish.result,
      status: finish.status,
      v,
    }
    // What is undefined is left out where it is written, as it is where it is absent.
    audit.appendSoon(record as OutcomeRecord)
  }

  /**
   * Records a refusal of what never became a typed call.
   *
   * @returns the id it is found by
   */
  async refuseUntyped(caller: Caller, refusal: Refusal, system: string): Promise<string> {
    const { audit, bundles, stats, drift } = this.#parts
    const id = newId('dec', this.#parts.clock.now())
    stats.refused++
    if (refusal.strange) {
      drift.saw({ system: system === '?' ? '' : system, ...refusal.strange }, caller.agent)
    }
    const { enforced } = bundles
    const { detail } = refusal
    if (refusal.code !== 'SP_NO_OPERATION' || !enforced) {
      audit.boundedEvent('request-refused', {
        code: refusal.code,
        subject: caller.instance,
        facts: { id, ...(detail === undefined ? {} : { detail: detail.slice(0, 1000) }) },
      })
      return id
    }
    const session = this.#facts.session(caller.session, enforced)
    await audit.append({
      ...audit.base(),
      kind: 'decision',
      id,
      instance: caller.instance,
      agent: caller.agent,
      system,
      operation: '?',
      decision: 'deny',
      code: refusal.code,
      reasons: [],
      errors: [],
      needs: [],
      revision: enforced.revision,
      declarationDigest: enforced.decider.digest,
      stateDigest: sha256Hex(''),
      labels: session.labels,
      risk: session.risk,
      requestHash: sha256Hex(''),
      peer: peerFacts(caller),
      ...(caller.trace === undefined ? {} : { trace: caller.trace.ids }),
    })
    return id
  }

  /**
   * Records a refusal of whoever is no caller: their identity has ended, or is none of an agent.
   *
   * @param subject the SPIFFE id that the certificate names
   * @returns the id it is found by; empty where strangers come so fast that only their number is recorded
   */
  refuseStranger(subject: string | undefined, refusal: Refusal): string {
    const { audit, clock } = this.#parts
    const id = newId('dec', clock.now())
    const { code } = refusal
    const about = subject === undefined ? {} : { subject }
    return audit.boundedEvent('request-refused', { code, ...about, facts: { id } }) ? id : ''
  }

  /** What is presented, asked for, or counted, before the record. @returns what was reserved: to be settled, whatever comes of it */
  async #grant(draft: Draft, presented: Presented): Promise<Reserved> {
    const { approvals, standing, mandates } = this.#parts
    const { approval: approvalId } = presented
    const { id, enforced, typed, caller } = draft
    if (presented.mandate !== undefined && caller.agent.includes('@')) throw foreignEvidence()
    if (presented.mandate !== undefined) {
      draft.mandate = await mandates.present(presented.mandate, caller, typed, enforced)
      this.#decideAgain(draft)
    }
    if (draft.outcome.decision === 'needs' && approvalId !== undefined) {
      draft.approvalId = approvalId
      const { operators, decider } = enforced
      const owner = decider.index.findAgent(caller.agent)?.owner
      const { call } = draft
      draft.approval = await approvals.verify(approvalId, call, operators, decider.digest, owner)
      this.#decideAgain(draft)
    }
    if (!isAllowed(draft)) throw await this.#refusalOf(draft)
    this.#confirm(draft)
    const counts = draft.outcome.limits.length > 0 || draft.mandate !== undefined
    const reserved = counts ? await this.#reserve(draft) : NOTHING_RESERVED
    try {
      if (draft.approval) await approvals.use(draft.approval.id, id)
      standing.demandCurrent(enforced)
      const { approval, mandate } = draft
      if (approval !== undefined || mandate !== undefined || draft.outcome.limits.length > 0) {
        // Time has passed: labels and risk may have changed.
        this.#decideAgain(draft)
        if (!isAllowed(draft)) throw await this.#refusalOf(draft)
        this.#confirm(draft)
      }
      return reserved
    } catch (error) {
      reserved.settle(false)
      throw error
    }
  }

  /** Reserves a call under every limit, and of every hop of its mandate, or under none. */
  async #reserve({ id, outcome, caller, typed, mandate }: Draft): Promise<Reserved> {
    const { limits, mandateUses } = this.#parts
    let reserved = NOTHING_RESERVED
    if (outcome.limits.length > 0) {
      reserved = await limits.reserve(outcome.limits, caller, typed, id)
    }
    if (!mandate) return reserved
    try {
      const used = await mandateUses.reserve(mandate, id)
      return {
        settle: (commit, took) => {
          reserved.settle(commit, took)
          used.settle(commit)
        },
      }
    } catch (error) {
      reserved.settle(false)
      throw error
    }
  }

  #decideAgain(draft: Draft): void {
    const { caller, typed, enforced } = draft
    const call = this.#facts.call(caller, typed, draft.approval?.approvers ?? NO_APPROVALS)
    draft.call = draft.mandate === undefined ? call : { ...call, mandate: draft.mandate.facts }
    draft.session = this.#facts.session(caller.session, enforced, draft.mandate?.scope)
    draft.outcome = enforced.decider.decide(draft.call, draft.session)
  }

  /** What policy allows, whoever passed its mandate on must be allowed too. @throws Refusal `SP_MANDATE_DELEGATOR`, or as `rewrite` */
  #confirm(draft: Draft): void {
    const { mandate, call, enforced } = draft
    if (mandate) this.#facts.demandDelegators(mandate, call, enforced)
    draft.upstream = draft.typed.rewrite?.(draft) ?? draft.upstream
  }

  /** Of what policy does not allow; where an approval is all that is missing, it is asked for. */
  async #refusalOf(draft: Draft): Promise<Refusal> {
    const { outcome, call, enforced } = draft
    // An approval covers the call with its mandate or without: it is asked for when that is known.
    if (outcome.needs.some(({ kind }) => kind === 'mandate')) {
      return new Refusal(outcome.code, 'the call needs a mandate', {
        status: 403,
        outcome: 'needs',
        needs: outcome.needs,
      })
    }
    const [need] = outcome.needs
    if (outcome.decision === 'needs' && need) {
      const { raw } = draft.upstream
      if (raw && raw.sha256 === undefined) throw unbound()
      const { approvals, sessions } = this.#parts
      const approval = await approvals.request(call, need, draft.id, enforced.decider.digest)
      sessions.askedFor(approval, call.instance)
      draft.approvalId = approval
      return new Refusal(outcome.code, 'the call needs an approval', {
        status: 403,
        outcome: 'needs',
        needs: [{ ...need, approval }],
      })
    }
    return denied(outcome)
  }

  /** A call that was allowed, recorded, and then stopped before it went out. */
  #recordCut(draft: Draft, refusal: Refusal, startedAt: number): void {
    this.finish(
      { id: draft.id, reserved: NOTHING_RESERVED, startedAt },
      { status: refusal.status, result: 'cut', bytesOut: 0, released: {}, forwarded: false },
    )
  }
}
