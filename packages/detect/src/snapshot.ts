import { HALF_LIFE_SECONDS } from './fusion.ts'
import type { AgentState, InstanceState } from './state.ts'

/** What the version before kept knows nothing of limits. */
type KeptInstance = Omit<InstanceState, 'limited'> & Partial<Pick<InstanceState, 'limited'>>

interface CheckedSnapshot {
  readonly format: 'sallyport-detect/1'
  readonly agents: readonly (readonly [string, AgentState])[]
  readonly instances: readonly (readonly [string, KeptInstance])[]
}

type Shape = 'number' | 'string' | { readonly [key: string]: Shape } | readonly [Shape]

const BASELINE: Shape = { mean: 'number', deviation: 'number', windows: 'number' }
const WINDOW: Shape = { start: 'number', count: 'number', previous: 'number', next: 'number' }
const AGENT: Shape = {
  firstAt: 'number',
  calls: 'number',
  volume: BASELINE,
  records: BASELINE,
  sensitive: BASELINE,
  seen: ['string'],
  judged: 'number',
  denied: 'number',
}
const INSTANCE: Shape = {
  agent: 'string',
  lastAt: 'number',
  volume: WINDOW,
  records: WINDOW,
  sensitive: WINDOW,
  judged: { start: 'number', calls: 'number', denied: 'number', next: 'number' },
  grave: [{ at: 'number', operation: 'string', weight: 'number' }],
}
const LIMITED: Shape = {
  start: 'number',
  refused: 'number',
  impatient: 'number',
  next: 'number',
  waits: ['number'],
}
const EVIDENCE: Shape = { signal: 'string', points: 'number', at: 'number', text: 'string' }

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function fits(value: unknown, shape: Shape): boolean {
  if (shape === 'number') return typeof value === 'number' && Number.isFinite(value)
  if (shape === 'string') return typeof value === 'string'
  if (isShapeList(shape)) {
    return Array.isArray(value) && value.every((item: unknown) => fits(item, shape[0]))
  }
  return isRecord(value) && Object.entries(shape).every(([key, inner]) => fits(value[key], inner))
}

const isShapeList = (shape: Shape): shape is readonly [Shape] => Array.isArray(shape)

const isEvidence = (value: unknown): boolean =>
  fits(value, EVIDENCE) &&
  isRecord(value) &&
  typeof value['signal'] === 'string' &&
  Object.hasOwn(HALF_LIFE_SECONDS, value['signal'])

const entries = (value: unknown, check: (state: unknown) => boolean): boolean =>
  Array.isArray(value) &&
  value.every(
    (entry: unknown) =>
      Array.isArray(entry) && entry.length === 2 && typeof entry[0] === 'string' && check(entry[1]),
  )

/** Whether a value read from disk is a snapshot, member by member: a damaged one must not become NaN risk. */
export function isSnapshot(value: unknown): value is CheckedSnapshot {
  return (
    isRecord(value) &&
    value['format'] === 'sallyport-detect/1' &&
    entries(value['agents'], (state) => fits(state, AGENT)) &&
    entries(
      value['instances'],
      (state) =>
        fits(state, INSTANCE) &&
        isRecord(state) &&
        (state['limited'] === undefined || fits(state['limited'], LIMITED)) &&
        isRecord(state['evidence']) &&
        Object.values(state['evidence']).every(isEvidence),
    )
  )
}
