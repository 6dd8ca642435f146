import { prepareContext } from '@sallyport/cedar'
import type { CedarJson, PreparedContext } from '@sallyport/cedar'
import type { Call, SessionState } from './types.ts'

/** What policies read beside principal, action and resource, as ARCHITECTURE.md types it. */
export interface ContextFacts {
  readonly call: Call
  readonly session: SessionState
  readonly purpose: string
  readonly approvers: readonly string[]
}

/** The context of the call itself. */
export function callContext(facts: ContextFacts): PreparedContext {
  return prepareContext({ ...base(facts), input: facts.call.input })
}

/** The context of a field's treatment. */
export function fieldContext(facts: ContextFacts): PreparedContext {
  const { system, operation } = facts.call
  return prepareContext({ ...base(facts), operation: `${system}.${operation}` })
}

function base({ call, session, purpose, approvers }: ContextFacts): Record<string, CedarJson> {
  const distinct = [...new Set(approvers)]
  return {
    time: timeRecord(call.time),
    session: { labels: session.labels },
    // A fraction of a point counts as the whole one: the careful side.
    risk: Math.ceil(session.risk),
    purpose,
    evidence: { approvals: distinct.length, approvers: distinct },
    ...(call.source === undefined ? {} : { source: ip(call.source) }),
  }
}

/** @param ms milliseconds since the epoch; read in UTC */
function timeRecord(ms: number): Record<string, CedarJson> {
  const at = new Date(ms)
  return {
    epoch: Math.floor(ms / 1000),
    hour: at.getUTCHours(),
    minute: at.getUTCMinutes(),
    // Monday is 1, Sunday 7 (ISO 8601).
    weekday: at.getUTCDay() || 7,
    date: at.toISOString().slice(0, 10),
  }
}

/** Sockets spell an IPv4 peer as IPv4-in-IPv6 and add a zone to link-local addresses; Cedar takes neither. */
function ip(source: string): CedarJson {
  const plain = source.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.)/i, '')
  return { __extn: { fn: 'ip', arg: plain } }
}
