import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Network } from '@sallyport/network'
import { learn, threshold } from './baseline.ts'
import type { Baseline } from './baseline.ts'
import { betaBinomialTail } from './betaBinomial.ts'
import { fuse, weight } from './fusion.ts'
import { refusedBy } from './refused.ts'
import { newAgentState, newInstanceState, newLimited } from './state.ts'
import type { AgentState, InstanceState, Window } from './state.ts'
import { isSnapshot } from './snapshot.ts'
import { surfaceOf } from './surface.ts'
import type {
  Detector,
  DetectorSnapshot,
  Floors,
  Observation,
  Risk,
  Signal,
  SignalName,
} from './types.ts'

export interface DetectorOptions {
  readonly network: Network
  readonly clock: Clock
  readonly floors?: Partial<Floors>
  /** Instances remembered at once; beyond it the least risky are forgotten (default 4,096). */
  readonly maxInstances?: number
}

const FLOORS: Floors = { callsPerSecond: 40, recordsPerSecond: 4000, sensitiveReadsPerMinute: 240 }
const WINDOW_MS = 10_000
const MINUTE_MS = 60_000
const WARM_UP_MS = 10 * MINUTE_MS
const WARM_UP_CALLS = 200
const GRAVE_WINDOW_MS = 30_000
const MAX_SLOTS = 24
/** A little less than the least wait that a limit tells, one second, for what passes between two clocks. */
const LEAST_WAIT_MS = 900
/** Calls of one agent that may be under way when a limit is reached, and are refused before it can know. */
const IN_FLIGHT = 64
/** Refused calls that may wait side by side to be made once more. */
const WAITING = 16
/** The name under which every undeclared agent is kept, so that invented names cost no memory. */
const UNDECLARED = '(undeclared)'

/**
 * The detector: baselines per agent, evidence and risk per instance. Deterministic given the observations and the
 * clock; memory is bounded by the declaration and `maxInstances`, whatever ids it is fed.
 */
export function createDetector(options: DetectorOptions): Detector {
  return new BaselineDetector(options)
}

class BaselineDetector implements Detector {
  readonly #clock: Clock
  readonly #surface: ReturnType<typeof surfaceOf>
  readonly #floors: Floors
  readonly #maxInstances: number
  readonly #agents = new Map<string, AgentState>()
  readonly #instances = new Map<string, InstanceState>()

  constructor(options: DetectorOptions) {
    this.#clock = options.clock
    this.#surface = surfaceOf(options.network)
    this.#floors = { ...FLOORS, ...options.floors }
    this.#maxInstances = options.maxInstances ?? 4096
  }

  observe(event: Observation): readonly Signal[] {
    const now = this.#clock.now()
    const name = this.#surface.agents.has(event.agent) ? event.agent : UNDECLARED
    const id = event.instance.slice(0, 512)
    const known = this.#instances.get(id)
    // A time from the future would silence the windows until it is reached; one from the past is counted as the latest.
    const given = Number.isFinite(event.at) ? Math.min(event.at, now) : now
    const at = Math.max(given, known?.lastAt ?? 0)
    const agent = this.#agents.get(name) ?? newAgentState(at)
    this.#agents.set(name, agent)
    const instance = known ?? newInstanceState(name, at)
    if (!known) this.#admit(id, instance, at)
    instance.lastAt = at
    agent.calls++

    const signals: Signal[] = []
    const raise = (
      signal: SignalName,
      slot: string,
      points: number,
      text: string,
      hard = false,
    ): void => {
      signals.push({ signal, instance: id, agent: name, at, points, text, hard })
      addEvidence(instance, slot, { signal, points, at, text })
    }
    this.#volume(agent, instance, event, at, raise)
    const declared = this.#reach(agent, event, name, at, raise)
    const by = event.decision === 'deny' ? refusedBy(event.code, declared) : undefined
    if (by === 'limit') this.#limited(instance, event, at, raise)
    if (by === undefined || by === 'policy') {
      this.#denials(agent, instance, event, at, raise)
      this.#graveAttempts(instance, event, at, raise)
    }
    return signals
  }

  risk(instance: string, now: number): Risk {
    const state = this.#instances.get(instance.slice(0, 512))
    return state ? fuse(Object.values(state.evidence), now) : { score: 0, reasons: [] }
  }

  snapshot(): DetectorSnapshot {
    return structuredClone({
      format: 'sallyport-detect/1' as const,
      agents: [...this.#agents],
      instances: [...this.#instances],
    })
  }

  restore(snapshot: unknown): void {
    if (!isSnapshot(snapshot)) {
      throw new SallyportError('SP_DETECT_SNAPSHOT', 'the detector snapshot is malformed', {
        fix: 'Start without it; baselines are learned anew.',
      })
    }
    const copy = structuredClone(snapshot)
    this.#agents.clear()
    this.#instances.clear()
    for (const [name, state] of copy.agents) {
      if (this.#surface.agents.has(name) || name === UNDECLARED) this.#agents.set(name, state)
    }
    for (const [id, state] of copy.instances.slice(0, this.#maxInstances)) {
      this.#instances.set(id, { ...state, limited: state.limited ?? newLimited(state.lastAt) })
    }
  }

  /** Forgets the least risky tenth when full: cycling through ids cannot wash evidence away. */
  #admit(id: string, instance: InstanceState, at: number): void {
    if (this.#instances.size >= this.#maxInstances) {
      const ranked = [...this.#instances]
        .map(([key, state]) => ({
          key,
          lastAt: state.lastAt,
          score: fuse(Object.values(state.evidence), at).score,
        }))
        .sort((a, b) => a.score - b.score || a.lastAt - b.lastAt)
      for (const { key } of ranked.slice(0, Math.ceil(this.#maxInstances / 10))) {
        this.#instances.delete(key)
      }
    }
    this.#instances.set(id, instance)
  }

  #volume(
    agent: AgentState,
    instance: InstanceState,
    event: Observation,
    at: number,
    raise: Raise,
  ): void {
    const floors = this.#floors
    const counted: readonly Counted[] = [
      {
        signal: 'volume',
        window: instance.volume,
        baseline: agent.volume,
        ms: WINDOW_MS,
        floor: floors.callsPerSecond * (WINDOW_MS / 1000),
        add: 1,
        what: 'calls',
        most: 60,
      },
      {
        signal: 'records',
        window: instance.records,
        baseline: agent.records,
        ms: WINDOW_MS,
        floor: floors.recordsPerSecond * (WINDOW_MS / 1000),
        add: positive(event.records),
        what: 'records read',
        most: 55,
      },
      {
        signal: 'sensitive-reads',
        window: instance.sensitive,
        baseline: agent.sensitive,
        ms: MINUTE_MS,
        floor: floors.sensitiveReadsPerMinute,
        add: event.maxWholeClass === 'restricted' ? Math.max(1, positive(event.records)) : 0,
        what: 'restricted values read whole',
        most: 70,
      },
    ]
    for (const item of counted) {
      const { window, baseline } = item
      roll(window, baseline, item.ms, at)
      window.count += item.add
      const limit = threshold(baseline, item.floor)
      // A sliding estimate: a burst that straddles two windows counts in full.
      const left = 1 - (at - window.start) / item.ms
      const count = Math.round(window.count + window.previous * left)
      if (item.add === 0 || count <= Math.max(limit, window.next)) continue
      const excess = count / limit
      const points = Math.min(item.most, 20 + 20 * Math.log2(excess))
      // Next at half as much again, so that a flood yields a handful of signals rather than one a call.
      window.next = count * 1.5
      const usual = baseline.windows === 0 ? 'no window finished yet' : baseline.mean.toFixed(1)
      raise(
        item.signal,
        item.signal,
        points,
        `${count} ${item.what} in ${item.ms / 1000} s, above ${Math.round(limit)} (usual for the agent: ${usual})`,
      )
    }
  }

  /** @returns whether a flow leads the agent to the operation */
  #reach(agent: AgentState, event: Observation, name: string, at: number, raise: Raise): boolean {
    const key = `${event.system}.${event.operation}`
    const declared = this.#surface.operations.has(key)
    if (!this.#surface.reach.get(name)?.has(key)) {
      const what = declared ? `\`${key}\`` : 'an operation that is not declared'
      raise(
        'outside-flow',
        `outside:${declared ? key : '?'}`,
        30,
        `tried ${what}, outside its flows`,
      )
      return false
    }
    if (agent.seen.includes(key)) return true
    agent.seen.push(key)
    if (at - agent.firstAt < WARM_UP_MS || agent.calls < WARM_UP_CALLS) return true
    raise(
      'novelty',
      `novelty:${key}`,
      12,
      `first call of \`${key}\` by this agent since it is watched`,
    )
    return true
  }

  /**
   * What a limit refused. The limit itself holds the caller back, and busy days reach limits: by itself that is worth a
   * remark. Whoever is told to wait and waits is refused once a wait; a flood is refused again and again within it, which
   * weighs as much as a run of denials does.
   */
  #limited(instance: InstanceState, event: Observation, at: number, raise: Raise): void {
    const { limited } = instance
    if (at - limited.start >= MINUTE_MS) {
      Object.assign(limited, { start: at, refused: 0, impatient: 0, next: IN_FLIGHT })
    }
    const operation = `${event.system}.${event.operation}`
    limited.refused++
    if (limited.refused === 1) {
      raise('over-limit', 'over-limit', 10, `a limit holds \`${operation}\` back`)
    }
    const due = limited.waits[0]
    if (due !== undefined && due <= at) limited.waits.shift()
    else limited.impatient++
    if (limited.waits.length < WAITING) limited.waits.push(at + LEAST_WAIT_MS)
    const { impatient } = limited
    if (impatient <= limited.next) return
    limited.next = impatient * 1.5
    raise(
      'over-limit',
      'over-limit',
      Math.min(75, 40 + 20 * Math.log2(impatient / IN_FLIGHT)),
      `${impatient} calls within a minute that a limit had told to wait, the last \`${operation}\``,
    )
  }

  #denials(
    agent: AgentState,
    instance: InstanceState,
    event: Observation,
    at: number,
    raise: Raise,
  ): void {
    const minute = instance.judged
    if (at - minute.start >= MINUTE_MS) {
      // A minute that alarmed is not learned: an attack must not become the agent's normal.
      if (minute.next === 0) {
        agent.judged += minute.calls
        agent.denied += minute.denied
      }
      if (agent.judged > 10_000) {
        agent.judged /= 2
        agent.denied /= 2
      }
      Object.assign(minute, { start: at, calls: 0, denied: 0, next: 0 })
    }
    minute.calls++
    if (event.decision !== 'deny') return
    minute.denied++
    if (minute.denied < Math.max(3, minute.next)) return
    // Prior: one call in a hundred denied, worth fifty calls of experience.
    const tail = betaBinomialTail(
      Math.min(minute.denied, 200),
      minute.calls,
      0.5 + agent.denied,
      49.5 + Math.max(0, agent.judged - agent.denied),
    )
    if (tail > 1e-3) return
    minute.next = minute.denied * 1.5
    const points = Math.min(75, 15 * Math.log2(minute.denied))
    raise(
      'denials',
      'denials',
      points,
      `${minute.denied} of ${minute.calls} calls denied within a minute`,
    )
  }

  #graveAttempts(instance: InstanceState, event: Observation, at: number, raise: Raise): void {
    if (event.decision !== 'deny') return
    const operation = `${event.system}.${event.operation}`
    const why = this.#surface.grave.get(operation)
    if (why === undefined) return
    const recent = instance.grave
    // Where no flow leads, no sound agent has business; what policy refuses it may have misjudged.
    recent.push({ at, operation, weight: event.code === 'SP_NO_FLOW' ? 2 : 1 })
    while (recent.length > 8 || at - (recent[0]?.at ?? at) > GRAVE_WINDOW_MS) recent.shift()
    const different = new Set(recent.map((attempt) => attempt.operation)).size
    const weight = recent.reduce((sum, attempt) => sum + attempt.weight, 0)
    if (weight < 3 && different < 2) return
    raise(
      'forbidden-burst',
      'forbidden-burst',
      95,
      `${recent.length} forbidden attempts within ${GRAVE_WINDOW_MS / 1000} s, the last at ${why} (\`${operation}\`)`,
      true,
    )
  }
}

type Raise = (
  signal: SignalName,
  slot: string,
  points: number,
  text: string,
  hard?: boolean,
) => void

interface Counted {
  readonly signal: 'volume' | 'records' | 'sensitive-reads'
  readonly window: Window
  readonly baseline: Baseline
  readonly ms: number
  readonly floor: number
  readonly add: number
  readonly what: string
  /** Most points that this signal alone can give. */
  readonly most: number
}

const positive = (count: number): number => (Number.isFinite(count) && count > 0 ? count : 0)

/** Closes finished windows into the baseline; a long silence counts as at most six empty ones. */
function roll(window: Window, baseline: Baseline, ms: number, at: number): void {
  const passed = Math.floor((at - window.start) / ms)
  if (passed <= 0) return
  learn(baseline, window.count)
  for (let i = 1; i < Math.min(passed, 7); i++) learn(baseline, 0)
  window.start += passed * ms
  window.previous = passed === 1 ? window.count : 0
  window.count = 0
  window.next *= passed === 1 ? 0.5 : 0
}

/** Keeps the strongest standing evidence of a slot; more evidence never lowers the risk. */
function addEvidence(
  instance: InstanceState,
  slot: string,
  evidence: InstanceState['evidence'][string],
): void {
  const slots = instance.evidence
  const key = slot in slots || Object.keys(slots).length < MAX_SLOTS ? slot : evidence.signal
  const old = slots[key]
  if (!old || weight(evidence, evidence.at) >= weight(old, evidence.at)) slots[key] = evidence
}
