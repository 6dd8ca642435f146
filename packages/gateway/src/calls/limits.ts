import { setTimeout as sleep } from 'node:timers/promises'
import { tenThousandths } from '@sallyport/base'
import type { Limit } from '@sallyport/network'
import type { PlaneClient } from '../plane/client.ts'
import { Refusal } from '../refusal.ts'
import type { Caller, TypedCall } from './types.ts'

/** Reservations held for one call. */
export interface Reserved {
  /**
   * @param commit whether the call went out; what did not is given back
   * @param took what it took in the end, by the name of the input that a limit sums; nothing said means what was reserved
   */
  settle(commit: boolean, took?: Readonly<Record<string, number>>): void
}

const SETTLE_ATTEMPTS = 3

/** Counts calls at the control plane, where every gateway's are counted. */
export class Limits {
  readonly #client: PlaneClient

  constructor(client: PlaneClient) {
    this.#client = client
  }

  /**
   * Reserves a call under every limit it falls under, or under none.
   *
   * @throws Refusal `SP_LIMIT_REACHED` (429), `SP_LIMIT_UNAVAILABLE` (503) where it cannot be counted
   */
  async reserve(
    limits: readonly Limit[],
    caller: Caller,
    typed: Pick<TypedCall, 'operation' | 'input'>,
    decisionId: string,
  ): Promise<Reserved> {
    const results = await Promise.allSettled(
      limits.map(async (limit) =>
        this.#reserve({
          limitId: limit.id,
          instance: caller.instance,
          agent: caller.agent,
          amount: limit.maxSum ? amountOf(typed, limit.maxSum.input) : 0,
          decisionId,
        }),
      ),
    )
    const ids = results.flatMap((result, i) =>
      result.status === 'fulfilled' ? [{ id: result.value, sums: limits[i]?.maxSum?.input }] : [],
    )
    const reserved: Reserved = {
      settle: (commit, took = {}) => {
        for (const { id, sums } of ids) {
          void this.#settle(id, commit, sums === undefined ? undefined : took[sums])
        }
      },
    }
    const failure = results.find((result) => result.status === 'rejected')
    if (failure) {
      reserved.settle(false)
      throw failure.reason
    }
    return reserved
  }

  /** @returns the reservation's id */
  async #reserve(body: Readonly<Record<string, string | number>>): Promise<string> {
    let answer
    try {
      answer = await this.#client.request({ method: 'POST', path: '/v1/limits/reserve', body })
    } catch (cause) {
      throw unavailable(cause)
    }
    const { granted, reservationId, retryAfterSeconds } = answer.body
    if (granted === true && typeof reservationId === 'string') return reservationId
    if (granted !== false) throw unavailable(undefined)
    throw new Refusal('SP_LIMIT_REACHED', 'a limit is reached', {
      status: 429,
      outcome: 'limited',
      detail: `limit ${String(body['limitId'])}`,
      ...(typeof retryAfterSeconds === 'number' ? { retryAfterSeconds } : {}),
    })
  }

  /** What is never settled stays counted: the safe side. */
  async #settle(reservationId: string, commit: boolean, amount?: number): Promise<void> {
    for (let attempt = 1; attempt <= SETTLE_ATTEMPTS; attempt++) {
      try {
        await this.#client.request({
          method: 'POST',
          path: '/v1/limits/settle',
          body: { reservationId, commit, ...(commit && amount !== undefined ? { amount } : {}) },
          also: [404, 409],
        })
        return
      } catch {
        await sleep(200 * attempt, undefined, { ref: false })
      }
    }
  }
}

/** What a limit sums must be there and must not take anything back. Decimals are counted in ten-thousandths: `sumScale` of network. */
function amountOf(
  { operation, input }: Pick<TypedCall, 'operation' | 'input'>,
  name: string,
): number {
  const given = input[name]
  if (given === undefined) return 0
  const isDecimal = operation.input.members[name]?.schema.type === 'decimal'
  const value = isDecimal && typeof given === 'number' ? tenThousandths(given) : given
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new Refusal('SP_INPUT_VALUE', 'an amount that a limit counts is negative', { status: 400 })
}

function unavailable(cause: unknown): Refusal {
  return new Refusal('SP_LIMIT_UNAVAILABLE', 'the call cannot be counted', { status: 503, cause })
}
