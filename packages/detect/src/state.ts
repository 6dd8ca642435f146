import { newBaseline } from './baseline.ts'
import type { Baseline } from './baseline.ts'
import type { Evidence } from './fusion.ts'

/** Shared by every instance of an agent: a restarted instance is not a stranger. */
export interface AgentState {
  firstAt: number
  calls: number
  readonly volume: Baseline
  readonly records: Baseline
  readonly sensitive: Baseline
  /** `SYSTEM.OPERATION` seen, of declared ones only, hence bounded. */
  readonly seen: string[]
  /** Calls and denials of finished windows, halved at 10,000 so that the rate stays current. */
  judged: number
  denied: number
}

/** One counting window of an instance. */
export interface Window {
  start: number
  count: number
  /** The count of the window before, which slides out as this one fills. */
  previous: number
  /** The count at which the next signal of this window is due. */
  next: number
}

/** What limits refused in the current minute. */
export interface Limited {
  start: number
  refused: number
  /** Refused again before the wait that an earlier refusal had told was over. */
  impatient: number
  /** The count of impatient calls at which the next signal is due. */
  next: number
  /** Of refused calls not made again yet: when each may be, oldest first. */
  readonly waits: number[]
}

export interface InstanceState {
  readonly agent: string
  lastAt: number
  readonly volume: Window
  readonly records: Window
  readonly sensitive: Window
  /** Calls and denials of the current minute. */
  readonly judged: { start: number; calls: number; denied: number; next: number }
  readonly limited: Limited
  /** Times and operations of the latest grave attempts that were denied. */
  readonly grave: { at: number; operation: string; weight: number }[]
  /** Slot → evidence. */
  readonly evidence: Record<string, Evidence>
}

export function newAgentState(at: number): AgentState {
  return {
    firstAt: at,
    calls: 0,
    volume: newBaseline(),
    records: newBaseline(),
    sensitive: newBaseline(),
    seen: [],
    judged: 0,
    denied: 0,
  }
}

export function newInstanceState(agent: string, at: number): InstanceState {
  const window = (): Window => ({ start: at, count: 0, previous: 0, next: 0 })
  return {
    agent,
    lastAt: at,
    volume: window(),
    records: window(),
    sensitive: window(),
    judged: { start: at, calls: 0, denied: 0, next: 0 },
    limited: newLimited(at),
    grave: [],
    evidence: {},
  }
}

export function newLimited(at: number): Limited {
  // So that the first refusal begins a minute of its own.
  return { start: at - 60_000, refused: 0, impatient: 0, next: 0, waits: [] }
}
