import { SallyportError } from '@sallyport/base'
import { extendContext, prepareContext, prepareValue } from '@sallyport/cedar'
import type { CedarJson, PreparedContext, PreparedValue } from '@sallyport/cedar'
import { localClock } from '@sallyport/network'
import type { Operation } from '@sallyport/network'
import { cedarInput } from './cedar-input.ts'
import type { Call, SessionState } from './types.ts'

/** What policies read beside principal, action and resource, as ARCHITECTURE.md types it. */
export interface ContextFacts {
  readonly call: Call
  readonly session: SessionState
  readonly purpose: string
  readonly approvers: readonly string[]
  /** Of the network's time zone: `clockOf`. Never left out, for a policy that reads local time would miss it unseen. */
  readonly clock: Clock
}

type Members = Record<string, CedarJson | PreparedValue>

/** What the contexts of one call have in common, converted once, and what it was made of. */
export interface SharedContext {
  readonly context: PreparedContext
  readonly time: PreparedValue
  /** Labels, if nobody can change the list any more, and the record of them. */
  readonly labels: readonly string[] | undefined
  readonly session: PreparedValue
  readonly risk: number
  readonly purpose: string
  readonly evidence: PreparedValue
  readonly source: PreparedValue | undefined
  /** Contexts of fields, by operation: there are as many as are declared. */
  readonly ofFields: Map<string, PreparedContext>
}

/** The last of a caller's: where nothing that policies read of its next call is another, it is that call's too. */
export interface KeptContext {
  last: SharedContext | undefined
}

/** The context of the call itself. @param operation that is called */
export function callContext(
  shared: SharedContext,
  { input }: Call,
  operation: Operation,
): PreparedContext {
  return extendContext(shared.context, { input: cedarInput(operation, input) })
}

/** The context of a field's treatment. @param operation `SYSTEM.OPERATION` */
export function fieldContext(shared: SharedContext, operation: string): PreparedContext {
  let context = shared.ofFields.get(operation)
  if (context === undefined) {
    shared.ofFields.set(operation, (context = extendContext(shared.context, { operation })))
  }
  return context
}

export function sharedContext(
  { call, session: { labels, risk: points }, purpose, approvers, clock }: ContextFacts,
  kept?: KeptContext,
): SharedContext {
  const isPlain =
    call.onBehalfOf === undefined && call.payment === undefined && call.mandate === undefined
  const last = isPlain ? kept?.last : undefined
  const time = clock(call.time)
  const session = last?.labels === labels ? last.session : sessionRecord(labels)
  // A fraction of a point counts as the whole one: the careful side.
  const risk = Math.ceil(points)
  const evidence = evidenceRecord(approvers)
  const source = call.source === undefined ? undefined : ip(call.source)
  if (
    last?.time === time &&
    last.session === session &&
    last.risk === risk &&
    last.purpose === purpose &&
    last.evidence === evidence &&
    last.source === source
  ) {
    return last
  }
  const shared: Members = { time, session, risk, purpose, evidence }
  if (source !== undefined) shared.source = source
  if (call.onBehalfOf !== undefined) {
    const { subject, actors } = call.onBehalfOf
    shared.onBehalfOf = { subject, actors: [...actors] }
  }
  if (call.payment !== undefined) {
    const { amount, currency, creditor, by } = call.payment
    shared.payment = { amount, currency, creditor, by }
  }
  if (call.mandate !== undefined) {
    const { id, delegator, depth, task } = call.mandate
    shared.mandate = { id, delegator, depth, task }
  }
  const made: SharedContext = {
    context: prepareContext(shared),
    time,
    labels: Object.isFrozen(labels) ? labels : undefined,
    session,
    risk,
    purpose,
    evidence,
    source,
    ofFields: new Map(),
  }
  if (isPlain && kept) kept.last = made
  return made
}

/** Sets of labels that are remembered in Cedar's form: most sessions have touched the same few. */
const MAX_SESSIONS = 1024
const sessions = new Map<
  string,
  { readonly labels: readonly string[]; readonly record: PreparedValue }
>()

function sessionRecord(labels: readonly string[]): PreparedValue {
  const key = labels.join()
  const known = sessions.get(key)
  // The key finds it quickly; whether it is the same is not left to what labels may hold.
  if (known?.labels.length === labels.length && known.labels.every((one, i) => one === labels[i])) {
    return known.record
  }
  const record = prepareValue({ labels })
  if (sessions.size >= MAX_SESSIONS) sessions.clear()
  sessions.set(key, { labels: [...labels], record })
  return record
}

const NO_EVIDENCE = prepareValue({ approvals: 0, approvers: [] })

function evidenceRecord(approvers: readonly string[]): PreparedValue {
  if (approvers.length === 0) return NO_EVIDENCE
  const distinct = [...new Set(approvers)]
  return prepareValue({ approvals: distinct.length, approvers: distinct })
}

/** @param ms milliseconds since the epoch */
type Clock = (ms: number) => PreparedValue

/**
 * What policies read as `context.time`: in UTC, and in the network's time zone too where it declares one.
 *
 * @throws SallyportError `SP_NETWORK_RULE` for a time zone that this platform does not know
 */
export function clockOf(timeZone: string | undefined): Clock {
  if (timeZone === undefined) return timeRecord
  const local = localClock(timeZone)
  if (local === undefined) {
    throw new SallyportError('SP_NETWORK_RULE', `there is no time zone \`${timeZone}\` here`, {
      fix: 'use a name of the IANA database that every gateway knows',
    })
  }
  return eachSecond((ms) => ({ ...utcTime(ms), local: { ...local(ms) } }))
}

/** Policies see whole seconds, and a gateway decides thousands of calls in one. */
function eachSecond(make: (ms: number) => Record<string, CedarJson>): Clock {
  let lastSecond = Number.NaN
  let last: PreparedValue | undefined
  return (ms) => {
    const second = Math.floor(ms / 1000)
    if (second === lastSecond && last !== undefined) return last
    last = prepareValue(make(ms))
    lastSecond = second
    return last
  }
}

const timeRecord: Clock = eachSecond(utcTime)

function utcTime(ms: number): Record<string, CedarJson> {
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
