import { prepareContext, prepareValue } from '@sallyport/cedar'
import type { CedarJson, PreparedContext, PreparedValue } from '@sallyport/cedar'
import type { Call, SessionState } from './types.ts'

/** What policies read beside principal, action and resource, as ARCHITECTURE.md types it. */
export interface ContextFacts {
  readonly call: Call
  readonly session: SessionState
  readonly purpose: string
  readonly approvers: readonly string[]
}

type Members = Record<string, CedarJson | PreparedValue>

/** What the contexts of one call have in common, converted once. */
export type SharedContext = Readonly<Members>

/** The context of the call itself. */
export function callContext(shared: SharedContext, { input }: Call): PreparedContext {
  return prepareContext({ ...shared, input })
}

/** The context of a field's treatment. @param operation `SYSTEM.OPERATION` */
export function fieldContext(shared: SharedContext, operation: string): PreparedContext {
  return prepareContext({ ...shared, operation })
}

export function sharedContext({ call, session, purpose, approvers }: ContextFacts): SharedContext {
  const shared: Members = {
    time: timeRecord(call.time),
    session: prepareValue({ labels: session.labels }),
    // A fraction of a point counts as the whole one: the careful side.
    risk: Math.ceil(session.risk),
    purpose,
    evidence: evidenceRecord(approvers),
  }
  if (call.source !== undefined) shared.source = ip(call.source)
  return shared
}

const NO_EVIDENCE = prepareValue({ approvals: 0, approvers: [] })

function evidenceRecord(approvers: readonly string[]): PreparedValue {
  if (approvers.length === 0) return NO_EVIDENCE
  const distinct = [...new Set(approvers)]
  return prepareValue({ approvals: distinct.length, approvers: distinct })
}

let lastSecond = Number.NaN
let lastTime: PreparedValue | undefined

/** @param ms milliseconds since the epoch; read in UTC */
function timeRecord(ms: number): PreparedValue {
  const second = Math.floor(ms / 1000)
  // Policies see whole seconds, and a gateway decides thousands of calls in one.
  if (second === lastSecond && lastTime !== undefined) return lastTime
  const at = new Date(ms)
  lastTime = prepareValue({
    epoch: second,
    hour: at.getUTCHours(),
    minute: at.getUTCMinutes(),
    // Monday is 1, Sunday 7 (ISO 8601).
    weekday: at.getUTCDay() || 7,
    date: at.toISOString().slice(0, 10),
  })
  lastSecond = second
  return lastTime
}

/** Source addresses that are remembered in Cedar's form. */
const MAX_SOURCES = 4096
const sources = new Map<string, PreparedValue>()

/** Sockets spell an IPv4 peer as IPv4-in-IPv6 and add a zone to link-local addresses; Cedar takes neither. */
function ip(source: string): PreparedValue {
  let value = sources.get(source)
  if (value === undefined) {
    const plain = source.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.)/i, '')
    value = prepareValue({ __extn: { fn: 'ip', arg: plain } })
    if (sources.size >= MAX_SOURCES) sources.clear()
    sources.set(source, value)
  }
  return value
}
