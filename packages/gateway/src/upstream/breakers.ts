import type { Clock } from '@sallyport/base'
import { Refusal } from '../refusal.ts'

interface Breaker {
  failures: number
  /** Until when nobody tries, by the clock that never goes back. */
  openUntil: number
  isTrying: boolean
}

export interface BreakerOptions {
  readonly clock: Clock
  /** Failures in a row after which it opens. */
  readonly after: number
  /** How long it stays open before one call may try. */
  readonly openMs: number
}

/** What is remembered at once; the oldest is forgotten first, which closes it. */
const MAX_KEYS = 4096

/** What a call came to, as far as its upstream is concerned. */
export type Attempt = 'answered' | 'failed' | 'neither'

/**
 * Keeps calls from an upstream that does not answer: after some failures in a row they are refused at once, and after a while one
 * call tries again. That one decides.
 */
export class Breakers {
  readonly #options: BreakerOptions
  readonly #breakers = new Map<string, Breaker>()

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  /**
   * @returns to be called once, with what the call came to
   * @throws Refusal `SP_UPSTREAM_OPEN`
   */
  enter(key: string): (came: Attempt) => void {
    const { clock, openMs } = this.#options
    const breaker = this.#breakers.get(key)
    const isOpen = breaker !== undefined && breaker.openUntil > 0
    const now = isOpen ? clock.monotonic() : 0
    if (isOpen && (now < breaker.openUntil || breaker.isTrying)) {
      const waitMs = Math.max(breaker.openUntil - now, openMs / 2)
      throw new Refusal('SP_UPSTREAM_OPEN', 'the system has not answered for a while', {
        status: 503,
        retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)),
      })
    }
    if (isOpen) breaker.isTrying = true
    return (came) => {
      this.#left(key, came, isOpen)
    }
  }

  /** The breakers of a system, for all its callers and for this one. @throws Refusal `SP_UPSTREAM_OPEN` */
  enterBoth(system: string, caller: string): (ofSystem: Attempt, ofCaller: Attempt) => void {
    // Where nothing failed lately, which is nearly always, no breaker is there to be open or to be closed again.
    if (this.#breakers.size === 0) {
      return (ofSystem, ofCaller) => {
        if (this.#breakers.size === 0 && ofSystem === 'answered' && ofCaller === 'answered') return
        this.#left(system, ofSystem, false)
        this.#left(`${system} ${caller}`, ofCaller, false)
      }
    }
    const leaveSystem = this.enter(system)
    try {
      const leaveCaller = this.enter(`${system} ${caller}`)
      return (ofSystem, ofCaller) => {
        leaveSystem(ofSystem)
        leaveCaller(ofCaller)
      }
    } catch (error) {
      leaveSystem('neither')
      throw error
    }
  }

  #left(key: string, came: Attempt, tried: boolean): void {
    const { clock, after, openMs } = this.#options
    if (came === 'answered') {
      this.#breakers.delete(key)
      return
    }
    let breaker = this.#breakers.get(key)
    // A caller that went away says nothing of the upstream: the next one tries.
    if (tried && breaker) breaker.isTrying = false
    if (came === 'neither') return
    if (!breaker) {
      const oldest = this.#breakers.keys().next().value
      if (this.#breakers.size >= MAX_KEYS && oldest !== undefined) this.#breakers.delete(oldest)
      this.#breakers.set(key, (breaker = { failures: 0, openUntil: 0, isTrying: false }))
    }
    breaker.failures++
    if (tried || breaker.failures >= after) breaker.openUntil = clock.monotonic() + openMs
  }
}
