import type { Clock, JsonValue } from '@sallyport/base'
import { project } from '@sallyport/decide'
import type { Projected, ProjectionPlan, ProjectionStream } from '@sallyport/decide'
import type { DataClass } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import type { Audit } from '../audit/audit.ts'
import type { Drift } from '../inventory/drift.ts'
import type { ReadValues } from '../llm/read-values.ts'
import { quarantined } from '../refusal.ts'
import type { Bundles } from '../state/bundles.ts'
import type { Sessions } from '../state/sessions.ts'
import { parseUpstream } from '../upstream/exchange.ts'
import type { Grant } from './pipeline.ts'
import { Plans } from './plans.ts'
import type { Caller, TypedCall } from './types.ts'

export interface AnswerParts {
  readonly audit: Audit
  readonly bundles: Bundles
  readonly sessions: Sessions
  readonly readValues: Pick<ReadValues, 'noter' | 'unseen' | 'watches'>
  readonly tokeniser: Tokeniser
  readonly drift: Pick<Drift, 'saw' | 'fields'>
  readonly clock: Clock
}

/** Which operation it is an answer to. */
interface Named {
  readonly typed: Pick<TypedCall, 'system' | 'operation'>
}

/** Takes down what an answer shows. */
export interface Taker {
  /** Absent where no value has to be: then `unseen` is to be told of all of them. */
  readonly take: ReturnType<ReadValues['noter']> | undefined
  /** Values of a class up to this leave, and are not taken down. */
  unseen(highest: DataClass): void
}

/** What comes back of granted calls: cut down to what may leave, with the labels it carries. */
export class Answers {
  readonly #parts: AnswerParts
  readonly #plans = new Plans()

  constructor(parts: AnswerParts) {
    this.#parts = parts
  }

  /**
   * Cuts an upstream's answer down to what may leave. When this resolves, the labels it carries are durable.
   *
   * @throws Refusal `SP_AUDIT_UNAVAILABLE`, `SP_QUARANTINED`
   */
  async release(
    grant: Pick<Grant, 'id' | 'caller' | 'enforced' | 'outcome'> & Named,
    body: JsonValue | undefined,
  ): Promise<Projected> {
    const { tokeniser } = this.#parts
    const { operation } = grant.typed
    const { index } = grant.enforced.decider
    const shown = this.#parts.readValues.noter(grant.caller.session, index.network)
    const projected =
      body === undefined
        ? { value: undefined, released: {}, dropped: [], strangers: [] }
        : project(body, operation.returns, grant.outcome.projection, index, tokeniser, shown)
    this.noteStrangers(grant, projected)
    if (Object.keys(projected.released).length > 0) await this.commitLabels(grant)
    this.#demandReader(grant.caller)
    return projected
  }

  /** Members of an answer that no schema declares, for the inventory. */
  noteStrangers(
    { caller, typed }: Pick<Grant, 'caller'> & Named,
    { strangers }: Pick<Projected, 'strangers'>,
  ): void {
    if (strangers.length === 0) return
    const at = { system: typed.system.name, operation: typed.operation.name }
    this.#parts.drift.fields(at, strangers, caller.agent)
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

  /**
   * For adapters that know which values an answer shows as they are: each is to be taken down before it leaves.
   *
   * @param highest class of them all
   */
  taker({ caller, enforced }: Pick<Grant, 'caller' | 'enforced'>, highest: DataClass): Taker {
    const { readValues } = this.#parts
    const { network } = enforced.decider.index
    const unseen = (upTo: DataClass): void => {
      readValues.unseen(caller.session, network, upTo)
    }
    return readValues.watches(network, highest)
      ? { take: readValues.noter(caller.session, network), unseen }
      : { take: undefined, unseen }
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
   * @returns undefined where there is nothing to wait for
   * @throws Refusal `SP_AUDIT_UNAVAILABLE`, `SP_QUARANTINED`, at once or later
   */
  commitReleased(
    grant: Pick<Grant, 'id' | 'caller' | 'outcome'>,
    { hasReleased }: Pick<ProjectionStream, 'hasReleased'>,
  ): Promise<void> | undefined {
    const committing = hasReleased ? this.commitLabels(grant) : undefined
    if (committing) return this.#afterwards(committing, grant.caller)
    this.#demandReader(grant.caller)
    return undefined
  }

  /**
   * Makes the labels of an allowed call durable, where the session lacks any.
   *
   * @returns undefined where it lacks none
   * @throws Refusal `SP_AUDIT_UNAVAILABLE`, later
   */
  commitLabels({
    id,
    caller: { session },
    outcome,
  }: Pick<Grant, 'id' | 'caller' | 'outcome'>): Promise<void> | undefined {
    const { sessions, clock } = this.#parts
    const added = sessions.missing(session, outcome.labels, clock.now())
    return added.length === 0 ? undefined : this.#commit(id, session, added)
  }

  async #commit(id: string, instance: string, added: readonly string[]): Promise<void> {
    const { audit, sessions, clock } = this.#parts
    await audit.append({ ...audit.base(), kind: 'labels', decisionId: id, instance, added })
    // Only now: a concurrent call that finds the label here must not send before it is durable.
    sessions.add(instance, added, clock.now())
  }

  async #afterwards(committing: Promise<void>, caller: Caller): Promise<void> {
    await committing
    this.#demandReader(caller)
  }

  #demandReader({ instance }: Caller): void {
    if (this.#parts.bundles.isQuarantined(instance)) throw quarantined()
  }
}
