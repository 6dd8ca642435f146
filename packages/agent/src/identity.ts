import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { csrFor } from '@sallyport/spiffe'
import type { IdentityHolder, Target } from '@sallyport/transport'

import { readIssued } from './issued.ts'
import { callPlane } from './plane.ts'
import type { JsonObject } from './refused.ts'
import type { Roots } from './roots.ts'
import { unusable } from './unusable.ts'

export interface IdentityOptions {
  readonly holder: IdentityHolder
  readonly spiffeId: string
  readonly planeTarget: Target
  readonly roots: Roots
  readonly onRotationError?: (error: unknown) => void
  readonly clock?: Clock
}

/** Renewal starts at half of what is left, give or take this share, so that many instances do not come at once. */
const JITTER = 0.1
const FIRST_RETRY_MS = 200
const MAX_RETRY_MS = 10_000

/** The identity of this process, and what keeps it fresh. */
export class Identity {
  readonly holder: IdentityHolder
  readonly spiffeId: string
  readonly #options: IdentityOptions
  readonly #clock: Clock
  /** Kept until its renewal succeeds, so that a renewal whose answer was lost is asked for again with the same key. */
  #pending: KeyObject | undefined
  #timer: NodeJS.Timeout | undefined
  #running = false
  #failures = 0

  constructor(options: IdentityOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.holder = options.holder
    this.spiffeId = options.spiffeId
  }

  /** Renews from now on, each time at half-life, with retries until the SVID expires. */
  startRotation(): void {
    if (this.#running) return
    this.#running = true
    this.#schedule(this.#halfLife())
  }

  /** Ends renewal; the SVID stays valid until it expires. */
  stop(): void {
    this.#running = false
    clearTimeout(this.#timer)
  }

  /**
   * Renews once, now. The holder changes only when the new identity is verified.
   *
   * @throws RefusedError, SallyportError as `enrol`
   */
  async renew(): Promise<void> {
    this.#pending ??= generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    const key = this.#pending
    const answer = await callPlane(this.holder, this.#options.planeTarget, 'POST', '/v1/renew', {
      csr: csrFor(key),
    })
    const { material, spiffeId } = readIssued(answer, key, this.#options.roots, this.#clock.now())
    if (spiffeId !== this.spiffeId) throw unusable('a renewal for another id')
    this.#pending = undefined
    this.holder.replace(material)
  }

  /**
   * One call to the control plane with this identity.
   *
   * @throws RefusedError, SallyportError as `callPlane`
   */
  ask(method: 'GET' | 'POST', path: string, body?: JsonObject): Promise<JsonObject> {
    return callPlane(this.holder, this.#options.planeTarget, method, path, body)
  }

  #halfLife(): number {
    const left = this.holder.current().notAfter - this.#clock.now()
    return Math.max(0, left * (0.5 + JITTER * (2 * Math.random() - 1)))
  }

  #schedule(delay: number): void {
    if (!this.#running) return
    this.#timer = setTimeout(() => void this.#turn(), delay)
    // A program that has nothing else to do may end.
    this.#timer.unref()
  }

  async #turn(): Promise<void> {
    try {
      await this.renew()
      this.#failures = 0
      this.#schedule(this.#halfLife())
    } catch (error) {
      const left = this.holder.current().notAfter - this.#clock.now()
      this.#options.onRotationError?.(error)
      // Past its end an SVID renews nothing: only a new enrolment helps.
      if (left <= 0) {
        this.stop()
        return
      }
      const backoff = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures++, left / 4)
      this.#schedule(backoff * (1 + JITTER * Math.random()))
    }
  }
}
