import { newId } from '@sallyport/base'
import type { Call } from '@sallyport/decide'
import { denied, Refusal } from '../refusal.ts'
import type { Grant, Pipeline, PipelineParts } from './pipeline.ts'
import { isSensitive, Recorder } from './recorder.ts'
import type { Draft, RecorderParts } from './recorder.ts'
import type { Caller, UpstreamRequest } from './types.ts'

type Parts = RecorderParts &
  Pick<PipelineParts, 'clock' | 'stats'> & { readonly pipeline: Pipeline }

/** What is kept of an allowed call for what follows it: neither what was forwarded nor what would make it again. */
export type Followed = Pick<Grant, 'call' | 'mandate'>

export const followed = ({ call, mandate }: Followed): Followed => ({
  call,
  ...(mandate === undefined ? {} : { mandate }),
})

/**
 * What follows an allowed call and is none of its own, e.g. asking how its task goes on: the call is decided again as it stands,
 * with the evidence that it had, from where and for whom this request comes, and that is recorded. It reserves nothing once more.
 */
export class FollowUps {
  readonly #parts: Parts
  readonly #recorder: Recorder

  constructor(parts: Parts) {
    this.#parts = parts
    this.#recorder = new Recorder(parts)
  }

  /**
   * When this resolves, the decision is durable in the log and the request may be forwarded.
   *
   * @param before the call that it follows, of the same caller
   * @param upstream what is forwarded, with the decision's id
   * @throws Refusal
   */
  async authorise(
    before: Followed,
    caller: Caller,
    upstream: (decision: string) => UpstreamRequest,
  ): Promise<Grant> {
    const { pipeline, standing, clock, stats } = this.#parts
    const startedAt = clock.monotonic()
    const id = newId('dec', clock.now())
    const { mandate } = before
    const given = {
      ...{ caller, call: presently(before.call, caller) },
      ...(mandate === undefined ? {} : { mandate }),
    }
    const { enforced, call, session, outcome } = pipeline.still.decide(given)
    const system = enforced.decider.index.findSystem(call.system)
    const operation = system?.operations.find(({ name }) => name === call.operation)
    if (!system || !operation) {
      throw new Refusal('SP_NO_OPERATION', 'there is no such operation', {
        status: 403,
        outcome: 'not-permitted',
      })
    }
    const request = upstream(id)
    const typed = { system, operation, input: before.call.input, upstream: () => request }
    const draft: Draft = {
      ...{ id, caller, typed, enforced, call, session, outcome, mandate },
      upstream: request,
      approval: undefined,
      approvalId: undefined,
      recorded: false,
      isWaiting: false,
    }
    try {
      standing.enforced(isSensitive(draft))
      standing.demandScope(caller, typed)
      if (outcome.decision !== 'allow') throw denied(outcome)
      await this.#recorder.allow(draft)
      // It may have changed while the record was being written; the record of a narrowing then stands after it.
      standing.recheck(caller)
      const now = pipeline.still.demand({ ...given, typed })
      standing.demandCurrent(enforced)
      stats.allowed++
      return {
        ...{ id, caller, typed, call, enforced, startedAt, outcome: now.outcome },
        ...(mandate === undefined ? {} : { mandate }),
        ...(draft.recorded ? {} : { unrecorded: true as const }),
        upstream: request,
        reserved: { settle: () => undefined },
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      error.decision = id
      if (draft.recorded) {
        const end = { status: error.status, bytesOut: 0, released: {}, forwarded: false }
        pipeline.finish(
          { id, startedAt, reserved: { settle: () => undefined } },
          { ...end, result: 'cut' },
        )
      } else await this.#recorder.refusal(draft, error)
      stats.refused++
      throw error
    }
  }
}

/** A call as it is for who asks now: it may come from elsewhere, or through others, than the one that it follows. */
function presently(before: Call, { source, onBehalfOf }: Caller): Call {
  const { source: _source, onBehalfOf: _onBehalfOf, ...call } = before
  return {
    ...call,
    ...(source === undefined ? {} : { source }),
    ...(onBehalfOf === undefined ? {} : { onBehalfOf }),
  }
}
