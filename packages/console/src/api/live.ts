import { useEffect, useSyncExternalStore } from 'react'
import { forgetResources, invalidate } from './resource.ts'
import { loadSession } from './session.ts'
import type { DecisionRecord } from './types.ts'

/** What reaches the page from `GET /api/events`. */
interface RiskEvent {
  readonly instance: string
  readonly score: number
  readonly at: number
}

export interface LiveState {
  readonly connection: 'connecting' | 'live' | 'reconnecting' | 'off'
  /** When the connection last changed. */
  readonly since: number
  /** Newest first, at most 400. */
  readonly decisions: readonly DecisionRecord[]
  /** By instance, oldest first, at most 240 each. */
  readonly risk: Readonly<Record<string, readonly RiskEvent[]>>
}

const KEEP_DECISIONS = 400
const KEEP_RISK = 240
/** Which reads an event makes stale. */
const STALE: Readonly<Record<string, readonly string[]>> = {
  approval: ['/approvals', '/backchannel', '/decisions/'],
  agent: ['/agents', '/operators'],
  quarantine: ['/agents', '/backchannel', '/quarantine', '/incidents', '/network'],
  incident: ['/incidents'],
  revision: ['/network', '/agents', '/health', '/declaration', '/mandates'],
  risk: ['/agents'],
  session: ['/sessions', '/break-glass'],
  alarm: ['/alarms', '/break-glass', '/recoveries', '/sessions', '/incidents'],
}

let state: LiveState = { connection: 'off', since: Date.now(), decisions: [], risk: {} }
const listeners = new Set<() => void>()
let source: EventSource | undefined
let retry: ReturnType<typeof setTimeout> | undefined
let attempts = 0
let wasLive = false
let pending: DecisionRecord[] = []
let flush: ReturnType<typeof setTimeout> | undefined

function set(change: Partial<LiveState>): void {
  state = { ...state, ...change }
  for (const listener of listeners) listener()
}

function connection(next: LiveState['connection']): void {
  if (next !== state.connection) set({ connection: next, since: Date.now() })
}

/** A flood of decisions becomes one render a tenth of a second. */
function queue(record: DecisionRecord): void {
  pending.push(record)
  flush ??= setTimeout(() => {
    flush = undefined
    const known = new Set(state.decisions.map(({ id }) => id))
    // A resumed stream may repeat what the page already has.
    const fresh = pending.filter(({ id }) => !known.has(id)).toReversed()
    pending = []
    if (fresh.length > 0) {
      set({ decisions: [...fresh, ...state.decisions].slice(0, KEEP_DECISIONS) })
    }
  }, 100)
}

function parse(event: MessageEvent<string>): unknown {
  try {
    return JSON.parse(event.data)
  } catch {
    return undefined
  }
}

function open(): void {
  clearTimeout(retry)
  source?.close()
  connection(wasLive ? 'reconnecting' : 'connecting')
  const stream = new EventSource('/api/events')
  source = stream
  stream.addEventListener('open', () => {
    attempts = 0
    // A stream that we open, the first one too, tells only what happens from here on: what was read before it stood
    // may be older. (EventSource resumes by Last-Event-ID by itself; reading once more does no harm then.)
    invalidate('/')
    wasLive = true
    connection('live')
  })
  stream.addEventListener('error', () => {
    connection(wasLive ? 'reconnecting' : 'connecting')
    if (stream.readyState !== EventSource.CLOSED) return
    // The browser gave up (the server answered an error): find out whether the session ended, and try again.
    void loadSession()
    retry = setTimeout(open, Math.min(15_000, 500 * 2 ** attempts++))
  })
  stream.addEventListener('decision', (event) => {
    const record = parse(event)
    // The server sends DecisionRecords under this name; an unreadable one is skipped.
    if (record !== undefined) queue(record as DecisionRecord)
  })
  // The server no longer remembers what we missed.
  stream.addEventListener('reset', () => invalidate('/', 0))
  for (const [type, paths] of Object.entries(STALE)) {
    stream.addEventListener(type, (event: MessageEvent<string>) => {
      for (const path of paths) invalidate(path, type === 'risk' ? 1000 : 150)
      if (type === 'risk') risk(parse(event))
    })
  }
}

function risk(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  // The server sends RiskEvents under this name; members are checked before use.
  const event = value as Partial<RiskEvent>
  const { instance, score, at } = event
  if (instance === undefined || score === undefined || at === undefined) return
  const past = state.risk[instance] ?? []
  set({
    risk: { ...state.risk, [instance]: [...past, { instance, score, at }].slice(-KEEP_RISK) },
  })
}

/** Opens the event stream while the caller, the signed-in part of the tree, is mounted; then forgets what was read. */
export function useLiveStream(): void {
  useEffect(() => {
    open()
    return () => {
      clearTimeout(retry)
      source?.close()
      source = undefined
      wasLive = false
      set({ connection: 'off', since: Date.now(), decisions: [], risk: {} })
      // However the session ended: whoever signs in next may see less.
      forgetResources()
    }
  }, [])
}

/** One part of the live state; the caller renders again only when that part changes. */
export function useLive<T>(select: (state: LiveState) => T): T {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => select(state),
  )
}
