import { setTimeout as sleep } from 'node:timers/promises'

import { systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'

import { RefusedError } from './refused.ts'

/** A call that a limit put off. */
export interface PutOff {
  readonly error: RefusedError
  /** How long the call waits before it is made again, milliseconds. */
  readonly waitMs: number
}

/** Makes calls again that a limit put off, as often as it takes, and never sooner than it said. */
export interface Patience {
  /**
   * Makes a call once its limit has room. What a limit refuses is made again after the wait that it told; only a refusal
   * that tells none, because no wait would help, is the call's end. A call that the gateway refuses was never forwarded, so
   * a write is made once at most.
   *
   * @param limited names the calls that share a limit, e.g. `SYSTEM.OPERATION`: they wait for each other
   * @param onPutOff told of each refusal that is waited out, also of another call before which this one stands in line
   * @throws what the call throws, and the reason of the signal that patience was made with
   */
  run<T>(limited: string, call: () => Promise<T>, onPutOff?: (putOff: PutOff) => void): Promise<T>
}

const LEAST_MS = 50
const MOST_MS = 86_400_000
/** This is added to a wait at random at most, so that agents that were put off together do not return together. */
const JITTER_MS = 500

/** @param options.signal ends every wait */
export function createPatience(
  options: { readonly signal?: AbortSignal; readonly clock?: Clock } = {},
): Patience {
  const gates = new Map<string, Gate>()
  const { signal, clock = systemClock } = options
  return {
    async run(limited, call, onPutOff) {
      const gate = gates.get(limited) ?? new Gate(clock, signal)
      gates.set(limited, gate)
      // Of its own, for a caller may give the same function twice.
      const told = (putOff: PutOff): void => onPutOff?.(putOff)
      try {
        for (;;) {
          await gate.enter()
          const putOff = await attempt(gate, call)
          if ('result' in putOff) return putOff.result
          gate.putOff.add(told)
          gate.close(putOff)
        }
      } finally {
        gate.putOff.delete(told)
      }
    },
  }
}

async function attempt<T>(
  gate: Gate,
  call: () => Promise<T>,
): Promise<{ readonly result: T } | PutOff> {
  try {
    const result = await call()
    gate.leave(true)
    return { result }
  } catch (error) {
    const waitMs = waitOf(error)
    gate.leave(waitMs === undefined)
    if (waitMs === undefined || !(error instanceof RefusedError)) throw error
    return { error, waitMs }
  }
}

/** What a refusal asks to wait, where waiting helps. */
function waitOf(error: unknown): number | undefined {
  if (!(error instanceof RefusedError)) return undefined
  const { outcome, code, retryAfterSeconds } = error
  if (outcome !== 'limited' && code !== 'SP_OVERLOADED') return undefined
  if (retryAfterSeconds === undefined) return undefined
  return Math.min(MOST_MS, Math.max(LEAST_MS, retryAfterSeconds * 1000))
}

/**
 * Where the calls under one limit wait. After a refusal one call at a time tries whether there is room; as long
 * as there is, ever more go side by side, so that a limit that is full is not run into by all at once.
 */
class Gate {
  /** Calls that were put off and are not made yet. */
  readonly putOff = new Set<(putOff: PutOff) => void>()
  readonly #clock: Clock
  readonly #signal: AbortSignal | undefined
  readonly #waiting: (() => void)[] = []
  #closedUntil = -Infinity
  #width = Infinity
  #under = 0

  constructor(clock: Clock, signal: AbortSignal | undefined) {
    this.#clock = clock
    this.#signal = signal
  }

  /** In the order of coming; a call that was put off comes again at the end. */
  async enter(): Promise<void> {
    while (this.#under >= Math.floor(this.#width)) await this.#turn()
    // Taken before the wait: the others stand behind it.
    this.#under++
    try {
      for (;;) {
        this.#signal?.throwIfAborted()
        const left = this.#closedUntil - this.#clock.monotonic()
        if (left <= 0) return
        const wait = left + Math.min(JITTER_MS, left / 4) * Math.random()
        await sleep(wait, undefined, this.#signal ? { signal: this.#signal } : {})
      }
    } catch (error) {
      this.leave(false)
      throw error
    }
  }

  leave(found: boolean): void {
    this.#under--
    // One more for each round that found room, as TCP does (RFC 5681, 3.1): never twice as many at once.
    if (found) this.#width += 1 / this.#width
    // As many as there is room for; who finds none goes back to wait.
    for (const wake of this.#waiting.splice(0, Math.max(1, this.#width - this.#under))) wake()
  }

  close(putOff: PutOff): void {
    const until = this.#clock.monotonic() + putOff.waitMs
    this.#closedUntil = Math.max(this.#closedUntil, until)
    this.#width = 1
    for (const told of this.putOff) told(putOff)
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }
}
