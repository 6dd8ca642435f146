import { newId, sha256Hex } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import { project } from '@sallyport/decide'
import type {
  Call,
  Outcome,
  Projected,
  ProjectionPlan,
  ProjectionStream,
  SessionState,
} from '@sallyport/decide'
import type { Tokeniser } from '@sallyport/redact'
import type { OutcomeRecord } from '@sallyport/wire'
import type { Audit } from '../audit/audit.ts'
import { foreignEvidence, Refusal, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { ReadValues } from '../llm/read-values.ts'
import type { Bundles, Enforced } from '../state/bundles.ts'
import type { Shadow } from '../state/shadow.ts'
import type { Sessions, SessionScope } from '../state/sessions.ts'
import type { Stats } from '../stats.ts'
import { parseUpstream } from '../upstream/exchange.ts'
import type { Approvals } from './approvals.ts'
import type { Limits, Reserved } from './limits.ts'
import type { MandateUses } from './mandate-uses.ts'
import type { CallMandate, Mandates } from './mandates.ts'
import { Plans } from './plans.ts'
import { isSensitive, peerFacts, Recorder } from './recorder.ts'
import type { Draft } from './recorder.ts'
import type { Standing } from './standing.ts'
import type { Caller, Decided, TypedCall, UpstreamRequest } from './types.ts'

export interface PipelineParts {
  readonly audit: Audit
  readonly bundles: Bundles
  readonly sessions: Sessions
  readonly standing: Standing
  readonly approvals: Approvals
  readonly limits: Limits
  readonly mandates: Mandates
  readonly mandateUses: MandateUses
  readonly shadow: Shadow
  readonly readValues: Pick<ReadValues, 'noter' | 'unseen' | 'watches'>
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
  readonly clock: Clock
}

/** A call that may be forwarded: decided, counted, recorded. */
export interface Grant {
  /** Decision id. */
  readonly id: string
  readonly caller: Caller
  readonly typed: TypedCall
  readonly call: Call
  readonly upstream: UpstreamRequest
  readonly enforced: Enforced
  readonly outcome: Outcome
  /** That covers the call. */
  readonly mandate?: CallMandate
  readonly reserved: Reserved
  /** By the clock that never goes back. */
  readonly startedAt: number
}

/** What a caller presents beside the call itself. */
export interface Presented {
  /** Id of an approval. */
  readonly approval: string | undefined
  /** A mandate: its id, or the whole chain. */
  readonly mandate: string | undefined
}

export interface Finish {
  readonly status: number
  readonly result: OutcomeRecord['result']
  readonly bytesOut: number
  readonly released: OutcomeRecord['released']
  /** Whether the request reached the upstream, as far as anyone knows. */
  readonly forwarded: boolean
}

const NOTHING_RESERVED: Reserved = { settle: () => undefined }

/** What every call goes through, whatever its protocol: decide, count, record, then let go; and what comes back. */
export class Pipeline {
  readonly #parts: PipelineParts
  readonly #recorder: Recorder
  readonly #plans = new Plans()

  constructor(parts: PipelineParts) {
    this.#parts = parts
    this.#recorder = new Recorder(parts)
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
    const { clock, stats } = this.#parts
    const startedAt = clock.monotonic()
    const id = newId('dec', clock.now())
    const call = this.#call(caller, typed, [])
    const session = this.#session(caller.session, enforced)
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
    }
    try {
      const reserved = await this.#grant(draft, presented)
      stats.allowed++
      const { upstream, outcome, mandate } = draft
      // What comes back over this protocol does not pass `release`.
      if (typed.operation.binding.kind === 'postgres') {
        const { network } = enforced.decider.index
        this.#parts.readValues.unseen(caller.session, network, outcome.maxClass)
      }
      return {
        id,
        caller,
        typed,
        call: draft.call,
        upstream,
        enforced,
        outcome,
        ...(mandate === undefined ? {} : { mandate }),
        reserved,
        startedAt,
      }
    } catch (error) {
      const refusal = toRefusal(error)
      refusal.decision = id
      if (draft.recorded) this.#recordCut(draft, refusal, startedAt)
      else await this.#recorder.refusal(draft, refusal)
      stats.refused++
      throw refusal
    }
  }

  /** How a call would be decided now, without evidence; nothing is recorded, and nothing may be forwarded by it. */
  preview(enforced: Enforced, caller: Caller, typed: TypedCall): Decided {
    const call = this.#call(caller, typed, [])
    const session = this.#session(caller.session, enforced)
    return { call, session, outcome: enforced.decider.decide(call, session) }
  }

  /** Decides a call again as it stands, e.g. for a stream that is still open; nothing is recorded. */
  redecide(grant: Pick<Grant, 'caller' | 'call' | 'mandate'>): {
    enforced: Enforced
    outcome: Outcome
  } {
    const { standing, bundles, clock, mandates } = this.#parts
    const read = standing.enforced(false)
    const call = { ...grant.call, time: clock.now() }
    if (grant.mandate) {
      mandates.check(grant.mandate)
      this.#demandDelegators(grant.mandate, call, read)
    }
    const session = this.#session(grant.caller.session, read, grant.mandate?.scope)
    const outcome = read.decider.decide(call, session)
    standing.recheckToken(grant.caller.token)
    standing.recheckForeign(grant.caller)
    // Stale for what the answer holds.
    if (outcome.maxClass === 'restricted') standing.enforced(true)
    if (bundles.isQuarantined(grant.caller.instance)) throw quarantined()
    return { enforced: read, outcome }
  }

  /**
   * Cuts an upstream's answer down to what may leave. When this resolves, the labels it carries are durable.
   *
   * @throws Refusal `SP_AUDIT_UNAVAILABLE`, `SP_QUARANTINED`
   */
  async release(
    grant: Pick<Grant, 'id' | 'caller' | 'typed' | 'enforced' | 'outcome'>,
    body: JsonValue | undefined,
  ): Promise<Projected> {
    const { tokeniser } = this.#parts
    const { operation } = grant.typed
    const { index } = grant.enforced.decider
    const shown = this.#parts.readValues.noter(grant.caller.session, index.network)
    const projected =
      body === undefined
        ? { value: undefined, released: {}, dropped: [] }
        : project(body, operation.returns, grant.outcome.projection, index, tokeniser, shown)
    if (Object.keys(projected.released).length > 0) await this.commitLabels(grant)
    if (this.#parts.bundles.isQuarantined(grant.caller.instance)) throw quarantined()
    return projected
  }

  /** Whether the whole of an answer must be known before any of it leaves. */
  watches({ enforced, outcome }: Pick<Grant, 'enforced' | 'outcome'>): boolean {
    return this.#parts.readValues.watches(enforced.decider.index.network, outcome.maxClass)
  }

  /**
   * Takes down what an answer shows its caller, for models must not learn more than their vendors may. To be called before any
   * of it leaves.
   *
   * @param body what will leave, where it is whole; without it only that something did is taken down
   */
  takeDown(
    { caller, typed, enforced, outcome }: Pick<Grant, 'caller' | 'typed' | 'enforced' | 'outcome'>,
    body?: Buffer,
  ): void {
    const { readValues, tokeniser } = this.#parts
    const { index } = enforced.decider
    if (!readValues.watches(index.network, outcome.maxClass) || body === undefined) {
      readValues.unseen(caller.session, index.network, outcome.maxClass)
      return
    }
    const shown = readValues.noter(caller.session, index.network)
    const { operation } = typed
    // Once more over what is left: whatever is treated in no way is shown as it is.
    project(parseUpstream(body), operation.returns, outcome.projection, index, tokeniser, shown)
  }

  /** The projection of a granted call's answer, made ready. */
  plan({
    typed,
    enforced,
    outcome,
  }: Pick<Grant, 'typed' | 'enforced' | 'outcome'>): ProjectionPlan {
    const { index } = enforced.decider
    return this.#plans.of(typed.system.name, typed.operation, outcome.projection, index)
  }

  /**
   * To be awaited before anything leaves that a projection handed out: its labels are durable then.
   *
   * @throws Refusal `SP_AUDIT_UNAVAILABLE`, `SP_QUARANTINED`
   */
  async commitReleased(
    grant: Pick<Grant, 'id' | 'caller' | 'outcome'>,
    { hasReleased }: Pick<ProjectionStream, 'hasReleased'>,
  ): Promise<void> {
    if (hasReleased) await this.commitLabels(grant)
    if (this.#parts.bundles.isQuarantined(grant.caller.instance)) throw quarantined()
  }

  /** Makes the labels of an allowed call durable, where the session lacks any. @throws Refusal `SP_AUDIT_UNAVAILABLE` */
  async commitLabels({
    id,
    caller: { session: instance },
    outcome,
  }: Pick<Grant, 'id' | 'caller' | 'outcome'>): Promise<void> {
    const { audit, sessions, clock } = this.#parts
    const now = clock.now()
    const added = sessions.missing(instance, outcome.labels, now)
    if (added.length === 0) return
    await audit.append({ ...audit.base(), kind: 'labels', decisionId: id, instance, added })
    // Only now: a concurrent call that finds the label here must not send before it is durable.
    sessions.add(instance, added, clock.now())
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
      await this.commitLabels(grant)
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

  /** Records how a granted call ended and settles what it reserved. Never throws: the answer has its own way. */
  finish(grant: Pick<Grant, 'id' | 'reserved' | 'startedAt'>, finish: Finish): void {
    const { audit, clock } = this.#parts
    const { forwarded, ...facts } = finish
    grant.reserved.settle(forwarded)
    const durationMs = Math.max(0, clock.monotonic() - grant.startedAt)
    audit
      .append({
        ...audit.base(),
        kind: 'outcome',
        decisionId: grant.id,
        ...facts,
        durationMs: Math.round(durationMs * 1000) / 1000,
      })
      .catch(() => undefined)
  }

  /**
   * Records a refusal of what never became a typed call.
   *
   * @returns the id it is found by
   */
  async refuseUntyped(caller: Caller, refusal: Refusal, system: string): Promise<string> {
    const { audit, bundles, stats } = this.#parts
    const id = newId('dec', this.#parts.clock.now())
    stats.refused++
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
    const session = this.#session(caller.session, enforced)
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

  async #grant(draft: Draft, presented: Presented): Promise<Reserved> {
    const { approvals, standing, mandates } = this.#parts
    const { approval: approvalId } = presented
    const { id, enforced, typed, caller } = draft
    standing.enforced(isSensitive(draft))
    standing.demandScope(caller, typed)
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
    await this.#demandAllow(draft)
    const reserved = await this.#reserve(draft)
    try {
      if (draft.approval) await approvals.use(draft.approval.id, id)
      this.#demandCurrent(enforced)
      const { approval, mandate } = draft
      if (approval !== undefined || mandate !== undefined || draft.outcome.limits.length > 0) {
        // Time has passed: labels and risk may have changed.
        this.#decideAgain(draft)
        await this.#demandAllow(draft)
      }
      standing.enforced(isSensitive(draft))
      await this.#recorder.allow(draft)
      // It may have changed while the record was being written; the record of a narrowing then stands after it.
      standing.recheck(caller)
      if (draft.mandate) mandates.check(draft.mandate)
      this.#demandCurrent(enforced)
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

  /**
   * Each who passed a mandate on must be allowed the very same call: nobody gives what they have not.
   *
   * @throws Refusal `SP_MANDATE_DELEGATOR`
   */
  #demandDelegators({ delegators }: CallMandate, call: Call, enforced: Enforced): void {
    for (const { instance, agent, mandate, scope } of delegators) {
      // Where the delegator would call from, and for whom, nobody knows: what policies ask of that is not met.
      const { source: _source, onBehalfOf: _behalf, mandate: _mandate, ...rest } = call
      const own = { ...rest, instance, agent, ...(mandate === undefined ? {} : { mandate }) }
      const outcome = enforced.decider.decide(own, this.#session(instance, enforced, scope))
      if (outcome.decision === 'allow') continue
      throw new Refusal('SP_MANDATE_DELEGATOR', 'whoever gave the mandate may not do this', {
        status: 403,
        outcome: 'forbidden',
        detail: `${instance}: ${outcome.code}`,
      })
    }
  }

  /**
   * The declaration that a call was typed and decided by must still be the one in force: between a request's first byte and
   * here its caller may have taken all the time it liked.
   */
  #demandCurrent({ decider }: Enforced): void {
    if (this.#parts.bundles.enforced?.decider.digest === decider.digest) return
    throw new Refusal('SP_DECLARATION_CHANGED', 'the declaration changed meanwhile', {
      status: 503,
    })
  }

  #decideAgain(draft: Draft): void {
    const { caller, typed, enforced } = draft
    const call = this.#call(caller, typed, draft.approval?.approvers ?? [])
    draft.call = draft.mandate === undefined ? call : { ...call, mandate: draft.mandate.facts }
    draft.session = this.#session(caller.session, enforced, draft.mandate?.scope)
    draft.outcome = enforced.decider.decide(draft.call, draft.session)
  }

  async #demandAllow(draft: Draft): Promise<void> {
    const { outcome, call, enforced } = draft
    if (outcome.decision === 'allow') {
      if (draft.mandate) this.#demandDelegators(draft.mandate, call, enforced)
      draft.upstream = draft.typed.rewrite?.(draft) ?? draft.upstream
      return
    }
    // An approval covers the call with its mandate or without: it is asked for when that is known.
    if (outcome.needs.some(({ kind }) => kind === 'mandate')) {
      throw new Refusal(outcome.code, 'the call needs a mandate', {
        status: 403,
        outcome: 'needs',
        needs: outcome.needs,
      })
    }
    const [need] = outcome.needs
    if (outcome.decision === 'needs' && need) {
      const { approvals, sessions } = this.#parts
      const approval = await approvals.request(call, need, draft.id, enforced.decider.digest)
      sessions.askedFor(approval, call.instance)
      draft.approvalId = approval
      throw new Refusal(outcome.code, 'the call needs an approval', {
        status: 403,
        outcome: 'needs',
        needs: [{ ...need, approval }],
      })
    }
    throw denied(outcome)
  }

  /** A call that was allowed, recorded, and then stopped before it went out. */
  #recordCut(draft: Draft, refusal: Refusal, startedAt: number): void {
    this.finish(
      { id: draft.id, reserved: NOTHING_RESERVED, startedAt },
      { status: refusal.status, result: 'cut', bytesOut: 0, released: {}, forwarded: false },
    )
  }

  #call(
    caller: Caller,
    { system, operation, input }: TypedCall,
    approvals: readonly string[],
  ): Call {
    return {
      instance: caller.instance,
      agent: caller.agent,
      system: system.name,
      operation: operation.name,
      input,
      time: this.#parts.clock.now(),
      ...(caller.source === undefined ? {} : { source: caller.source }),
      ...(caller.onBehalfOf === undefined ? {} : { onBehalfOf: caller.onBehalfOf }),
      evidence: { approvals },
    }
  }

  #session(
    instance: string,
    { decider, settings }: Enforced,
    scope: SessionScope = {},
  ): SessionState {
    const { sessions, bundles } = this.#parts
    const other = decider.index.findForeignAgent(instance)
    const foreignRisk =
      other &&
      bundles.riskBelow(`spiffe://${other.trustDomain}${other.path.replace(/\*$/, '')}`, settings)
    return {
      labels: sessions.labelsOf(instance, decider.index.network, scope),
      risk: foreignRisk ?? bundles.riskOf(instance, settings),
    }
  }
}

const quarantined = (): Refusal =>
  new Refusal('SP_QUARANTINED', 'the caller is quarantined', {
    status: 403,
    outcome: 'forbidden',
    close: true,
  })

/** What the caller of a denied call is told: how it ended, and nothing of why. */
function denied({ code }: Outcome): Refusal {
  switch (code) {
    case 'SP_DENIED_FORBIDDEN':
      return new Refusal(code, 'the call is forbidden', { status: 403, outcome: 'forbidden' })
    case 'SP_DENIED_POLICY_ERROR':
      return new Refusal(code, 'the call could not be decided', { status: 403, outcome: 'error' })
    default:
      return new Refusal(code, 'the call is not permitted', {
        status: 403,
        outcome: 'not-permitted',
      })
  }
}
