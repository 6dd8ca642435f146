import type { JsonValue } from '@sallyport/base'
import type { LabelledItems } from '@sallyport/network'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { sendJson } from '../edge/answer.ts'
import type { Exchange, UpstreamAnswer } from '../upstream/exchange.ts'
import type { RequestContext } from './context.ts'

export interface LabelledParts {
  readonly pipeline: Pipeline
  readonly exchange: Exchange
}

type Members = Readonly<Record<string, JsonValue>>

/**
 * Answers whose items say by a label what their value is. Each value is projected as a field of that name; of an item whose value
 * may not leave, nothing does.
 */
export class LabelledAnswers {
  readonly #parts: LabelledParts

  constructor(parts: LabelledParts) {
    this.#parts = parts
  }

  /** @throws Refusal where nothing has left yet */
  async serve(
    { res }: RequestContext,
    grant: Grant,
    answer: UpstreamAnswer,
    labelled: LabelledItems,
  ): Promise<void> {
    const { pipeline, exchange } = this.#parts
    const { status } = answer
    const whole = await exchange.json(answer)
    const projected = await pipeline.answers.release(
      grant,
      whole === undefined ? undefined : asRecords(whole, labelled),
    )
    if (res.destroyed) {
      const nothing = { bytesOut: 0, released: {}, forwarded: true }
      pipeline.finish(grant, { ...nothing, status, result: 'aborted' })
      return
    }
    const body =
      whole === undefined
        ? undefined
        : Buffer.from(JSON.stringify(asItems(projected.value ?? {}, labelled)))
    const { released } = projected
    const bytesOut = body?.length ?? 0
    pipeline.finish(grant, { status, result: 'completed', bytesOut, released, forwarded: true })
    sendJson(res, { status, body, decision: grant.id })
  }
}

/**
 * The value of each item as a record with the one member that its label names: what it can be projected as.
 *
 * @internal
 */
export function asRecords(body: JsonValue, { items, label, value }: LabelledItems): JsonValue {
  return eachAt(body, items.split('.'), (item) => {
    const { [label]: name, [value]: given, ...rest } = item
    if (typeof name !== 'string' || given === undefined) return undefined
    return { ...rest, [label]: name, [value]: Object.fromEntries([[name, given]]) }
  })
}

/**
 * The other way round, of what is left.
 *
 * @internal
 */
export function asItems(body: JsonValue, { items, value }: LabelledItems): JsonValue {
  return eachAt(body, items.split('.'), (item) => {
    const { [value]: record, ...rest } = item
    const left = isMembers(record) ? Object.values(record) : []
    const [one] = left
    return one === undefined ? undefined : { ...rest, [value]: one }
  })
}

const isMembers = (value: JsonValue | undefined): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A copy in which each object at a path is another, or left out. */
function eachAt(
  value: JsonValue,
  [step, ...rest]: readonly string[],
  change: (item: Members) => JsonValue | undefined,
): JsonValue {
  if (step === undefined || !isMembers(value)) return value
  const name = step.replace('[]', '')
  const inner = Object.hasOwn(value, name) ? value[name] : undefined
  if (inner === undefined) return value
  const into = (one: JsonValue): JsonValue | undefined => {
    if (rest.length > 0) return eachAt(one, rest, change)
    return isMembers(one) ? change(one) : undefined
  }
  // What is no list where one is declared is dropped by the projection.
  const changed = Array.isArray(inner)
    ? inner.map(into).filter((one) => one !== undefined)
    : step === name
      ? into(inner)
      : inner
  const others = Object.entries(value).filter(([other]) => other !== name)
  return Object.fromEntries(changed === undefined ? others : [...others, [name, changed]])
}
