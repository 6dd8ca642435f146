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

export interface InstanceState {
  readonly agent: string
  lastAt: number
  readonly volume: Window
  readonly records: Window
  readonly sensitive: Window
  /** Calls and denials of the current minute. */
  readonly judged: { start: number; calls: number; denied: number; next: number }
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
    grave: [],
    evidence: {},
  }
}
