import { performance } from 'node:perf_hooks'

/** Time as the product reads it; tests pass their own. */
export interface Clock {
  /** Wall-clock milliseconds since the Unix epoch. */
  now(): number
  /** Milliseconds that never go back, from an arbitrary start: what leases are judged by. */
  monotonic(): number
  /** Told the time by a trusted peer, e.g. the control plane: where the machine's own clock agrees, it is right again after a jump. */
  agree?(at: number): void
  /** Calls `listener` once a jump. @returns the function that ends it */
  onJump?(listener: (jump: ClockJump) => void): () => void
}

/** A wall clock that was set by more than a second or two while the process ran. */
interface ClockJump {
  /** Milliseconds that it went ahead; negative where it went back. */
  readonly by: number
}

export type SteadyClock = Required<Clock>

/** Below it, clocks are being disciplined, not set. */
const JUMP_MS = 2000
/** How far a peer's clock may be from one that is right. */
const AGREE_MS = 5000
/** A clock that stayed ahead for so long was set right, or the machine slept. */
const SETTLED_MS = 10 * 60_000

/**
 * A wall clock by which nothing that has expired is ever valid again: where the machine's clock goes back, time goes on from
 * where it was; where it goes ahead, so does time, and comes back with it. So a wrong clock can end certificates and leases
 * early, which shows, and never late, which would not.
 *
 * @param source the machine's clocks; `monotonic` must never go back
 */
export function createSteadyClock(source: Pick<Clock, 'now' | 'monotonic'>): SteadyClock {
  const listeners = new Set<(jump: ClockJump) => void>()
  /** What the wall clock says while it is right, less `monotonic`. */
  let offset = source.now() - source.monotonic()
  let ahead: { readonly offset: number; readonly since: number } | undefined
  let told = 0

  const judge = (by: number, monotonic: number): void => {
    if (by > JUMP_MS) {
      if (!ahead || Math.abs(by + offset - ahead.offset) > JUMP_MS) {
        ahead = { offset: by + offset, since: monotonic }
      } else if (monotonic - ahead.since > SETTLED_MS) {
        offset = ahead.offset
        ahead = undefined
      }
    } else ahead = undefined
    if (Math.abs(by - told) <= JUMP_MS) return
    const jumped = by - told
    // First: whoever is told asks what time it is.
    told = by
    for (const listener of listeners) listener({ by: jumped })
  }

  return {
    monotonic: () => source.monotonic(),
    now() {
      const monotonic = source.monotonic()
      const wall = source.now()
      const steady = monotonic + offset
      const by = wall - steady
      if (by > JUMP_MS || by < -JUMP_MS || told !== 0) judge(by, monotonic)
      return by > 0 ? wall : Math.round(steady)
    },
    agree(at) {
      const wall = source.now()
      // Also where it is behind: two that agree are right, and only a jump that neither saw was not.
      if (!(Math.abs(wall - at) <= AGREE_MS)) return
      offset = wall - source.monotonic()
      ahead = undefined
      told = 0
    },
    onJump(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

export const systemClock: SteadyClock = createSteadyClock({
  now: () => Date.now(),
  monotonic: () => performance.now(),
})
