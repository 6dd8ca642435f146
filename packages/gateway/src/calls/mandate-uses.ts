import { setTimeout as sleep } from 'node:timers/promises'
import type { PlaneClient } from '../plane/client.ts'
import { Refusal } from '../refusal.ts'
import type { Reserved } from './limits.ts'
import type { CallMandate } from './mandates.ts'

const SETTLE_ATTEMPTS = 3

/** Counts what calls take of mandates at the control plane, where every gateway's are counted. */
export class MandateUses {
  readonly #client: PlaneClient

  constructor(client: PlaneClient) {
    this.#client = client
  }

  /**
   * Reserves one use, and the call's amount, of every hop or of none.
   *
   * @throws Refusal `SP_MANDATE_USED`, `SP_MANDATE_REVOKED`, `SP_MANDATE_UNAVAILABLE`
   */
  async reserve({ mandate, uses }: CallMandate, decisionId: string): Promise<Reserved> {
    const hops = mandate.hops.map((hop, index) => ({
      id: mandate.chain[index],
      uses: hop.uses,
      issuedAt: hop.issuedAt,
      expiresAt: hop.expiresAt,
      ...uses[index],
    }))
    let answer
    try {
      answer = await this.#client.request({
        method: 'POST',
        path: '/v1/mandates/reserve',
        body: { decisionId, hops },
      })
    } catch (cause) {
      throw unavailable(cause)
    }
    const { granted, revoked } = answer.body
    if (granted === true) {
      return { settle: (commit) => void this.#settle(decisionId, commit) }
    }
    if (revoked === true) {
      throw new Refusal('SP_MANDATE_REVOKED', 'the mandate was revoked', { status: 403 })
    }
    if (granted !== false) throw unavailable(undefined)
    throw new Refusal('SP_MANDATE_USED', 'the mandate is used up', {
      status: 403,
      outcome: 'limited',
    })
  }

  /** What is never settled stays counted: the safe side. */
  async #settle(decisionId: string, commit: boolean): Promise<void> {
    for (let attempt = 1; attempt <= SETTLE_ATTEMPTS; attempt++) {
      try {
        await this.#client.request({
          method: 'POST',
          path: '/v1/mandates/settle',
          body: { decisionId, commit },
          also: [404, 409],
        })
        return
      } catch {
        await sleep(200 * attempt, undefined, { ref: false })
      }
    }
  }
}

const unavailable = (cause: unknown): Refusal =>
  new Refusal('SP_MANDATE_UNAVAILABLE', 'the use of the mandate cannot be counted', {
    status: 503,
    cause,
  })
