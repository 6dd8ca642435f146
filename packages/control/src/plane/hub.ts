import type { ServerResponse } from 'node:http'
import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { compareRevision } from '@sallyport/wire'
import type { FeedItem, Revision } from '@sallyport/wire'
import type { ApprovalView } from '../domain/approvals.ts'
import type { GatewayHealth } from '../domain/health.ts'
import type { Publisher } from '../domain/publisher.ts'

const HEARTBEAT_MS = 1000
const MAX_BUFFERED = 8 << 20
const APPLIED_MS = 250
/** How long a gateway may take to record a revision and to send that record. */
const FRESH_MS = 2000
/** How many revisions back the moment of signing is remembered, to tell a gateway's lag. */
const REMEMBERED = 200

/** The live side of the plane: streams to gateways, and what they said they have applied. */
export interface Hub {
  /**
   * Checks that the current bundle may be handed out: a gateway takes one as a sign that nothing newer is known, which
   * nobody here can say while the store is away.
   *
   * @throws SallyportError `SP_STORE_UNAVAILABLE`
   */
  vouch(): void
  /** Takes over the response as an NDJSON stream, beginning with the current bundle. @throws as `vouch` */
  open(gateway: string, response: ServerResponse): void
  pushApproval(approval: ApprovalView): void
  /** Notes a sign of life, and the revision it names. */
  note(gateway: string, revision?: Revision): void
  /** Finds applied revisions in a batch of a gateway's log. */
  noteItems(gateway: string, items: readonly FeedItem[]): void
  /**
   * Resolves when every gateway that is connected and known to report has applied `revision`.
   *
   * @param since `clock.monotonic()` of the act
   * @returns milliseconds since then; undefined where none reports, or one did not within 250 ms
   */
  applied(revision: Revision, since: number): Promise<number | undefined>
  /** Resolves at the next revision, or after `ms`. */
  nextRevision(ms: number, signal: AbortSignal): Promise<void>
  /** Ends the streams of a gateway that was cut off. */
  drop(gateway: string): void
  /**
   * Whether each of these gateways is connected and its log has come in past the revision in force, or that one is fresh: what
   * it recorded before is known here then.
   */
  caughtUp(gateways: readonly string[]): boolean
  health(): readonly GatewayHealth[]
  close(): void
}

interface Known {
  readonly streams: Set<ServerResponse>
  /** When it connected last: what was signed before that was no delay of its own. */
  since: number
  revision: Revision | undefined
  lastSeen: number
  lagMs: number | null
}

/** @param alive whether the store answers: without it there are neither heartbeats nor bundles, so that gateways count staleness from then */
export function createHub(deps: {
  readonly publisher: Publisher
  readonly clock: Clock
  readonly alive: () => boolean
}): Hub {
  const { publisher, clock, alive } = deps
  const gateways = new Map<string, Known>()
  const waiters = new Set<() => void>()
  const signedAt = new Map<string, number>()
  const behind = new WeakSet<ServerResponse>()
  let line = ''
  let lineOf: unknown

  const bundleLine = (): string => {
    const current = publisher.current()
    if (lineOf !== current) {
      lineOf = current
      line = `${JSON.stringify({ type: 'bundle', ...current })}\n`
    }
    return line
  }
  const known = (gateway: string): Known => {
    let entry = gateways.get(gateway)
    if (!entry) {
      entry = { streams: new Set(), since: 0, revision: undefined, lastSeen: 0, lagMs: null }
      gateways.set(gateway, entry)
    }
    entry.lastSeen = clock.now()
    return entry
  }
  const streams = (): ServerResponse[] => [...gateways.values()].flatMap((g) => [...g.streams])
  const sendBundle = (response: ServerResponse): void => {
    // A slow reader gets the newest when it has caught up, not every one in between.
    if (response.writableNeedDrain) behind.add(response)
    else response.write(bundleLine())
  }
  const wake = (): void => {
    for (const waiter of waiters) waiter()
  }
  const note = (gateway: string, revision?: Revision): void => {
    const entry = known(gateway)
    if (!revision || (entry.revision && compareRevision(revision, entry.revision) <= 0)) return
    entry.revision = revision
    const at = signedAt.get(keyOf(revision))
    entry.lagMs =
      at === undefined ? null : Math.round(clock.monotonic() - Math.max(at, entry.since))
    wake()
  }

  const unsubscribe = publisher.onChange(({ bundle }) => {
    signedAt.set(keyOf(bundle.revision), clock.monotonic())
    const oldest = signedAt.keys().next()
    if (signedAt.size > REMEMBERED && !oldest.done) signedAt.delete(oldest.value)
    for (const response of streams()) sendBundle(response)
    wake()
  })
  const heartbeat = setInterval(() => {
    if (!alive()) return
    const beat = `${JSON.stringify({ type: 'heartbeat', at: clock.now() })}\n`
    for (const response of streams()) {
      if (response.writableLength > MAX_BUFFERED) response.destroy()
      else response.write(beat)
    }
  }, HEARTBEAT_MS)
  heartbeat.unref()

  const reporting = (): Known[] =>
    [...gateways.values()].filter((g) => g.streams.size > 0 && g.revision !== undefined)

  const vouch = (): void => {
    if (alive()) return
    throw new SallyportError('SP_STORE_UNAVAILABLE', 'the database cannot be reached', {
      fix: 'wait until the database is back',
    })
  }

  return {
    vouch,
    open(gateway, response) {
      vouch()
      const entry = known(gateway)
      if (entry.streams.size === 0) entry.since = clock.monotonic()
      entry.streams.add(response)
      response.once('close', () => entry.streams.delete(response))
      response.on('drain', () => {
        if (behind.delete(response)) sendBundle(response)
      })
      response.writeHead(200, {
        'content-type': 'application/x-ndjson',
        'cache-control': 'no-store',
      })
      response.write(bundleLine())
    },
    pushApproval({ id, status, instance, statements }) {
      const text = `${JSON.stringify({ type: 'approval', approval: { id, status, instance, signed: statements } })}\n`
      for (const response of streams()) response.write(text)
    },
    note,
    noteItems(gateway, items) {
      for (const { record } of items) {
        if (record.kind === 'decision') note(gateway, record.revision)
        else if (record.kind === 'event') note(gateway, revisionIn(record.facts))
      }
    },
    async applied(revision, since) {
      const all = (): boolean =>
        reporting().every((g) => g.revision && compareRevision(g.revision, revision) >= 0)
      if (reporting().length === 0) return undefined
      const until = since + APPLIED_MS
      while (!all()) {
        const left = until - clock.monotonic()
        if (left <= 0) return undefined
        await waitFor(waiters, left)
      }
      return Math.round(clock.monotonic() - since)
    },
    nextRevision: (ms, signal) => waitFor(waiters, ms, signal),
    drop(gateway) {
      for (const response of gateways.get(gateway)?.streams ?? []) response.destroy()
    },
    caughtUp(ids) {
      const { revision } = publisher.current().bundle
      const at = signedAt.get(keyOf(revision))
      const fresh = at !== undefined && clock.monotonic() - at < FRESH_MS
      return ids.every((id) => {
        const entry = gateways.get(id)
        if (!entry || entry.streams.size === 0 || !entry.revision) return false
        return fresh || compareRevision(entry.revision, revision) >= 0
      })
    },
    health: () =>
      [...gateways].map(([id, { revision, lastSeen, lagMs, streams: open }]) => ({
        id,
        revision: revision ?? null,
        connected: open.size > 0,
        lastSeen,
        lagMs,
      })),
    close() {
      clearInterval(heartbeat)
      unsubscribe()
      for (const response of streams()) response.destroy()
      wake()
    },
  }
}

const keyOf = ({ epoch, n }: Revision): string => `${epoch}.${n}`

function revisionIn(facts: Readonly<Record<string, unknown>>): Revision | undefined {
  const { epoch, n } = facts
  return typeof epoch === 'number' && typeof n === 'number' ? { epoch, n } : undefined
}

async function waitFor(waiters: Set<() => void>, ms: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  waiters.add(resolve)
  signal?.addEventListener('abort', () => resolve(), { once: true })
  try {
    await promise
  } finally {
    clearTimeout(timer)
    waiters.delete(resolve)
  }
}
