import type { VerifiedSvid } from '@sallyport/spiffe'
import type { Tasks } from './a2a/tasks.ts'
import type { McpSessions } from './adapters/mcp-sessions.ts'
import type { Audit } from './audit/audit.ts'
import type { Doors } from './doors.ts'
import type { Sessions as GrpcSessions } from './grpc/sessions.ts'
import type { Narrowing } from './state/bundles.ts'
import type { Stats } from './stats.ts'
import type { McpUpstream } from './upstream/mcp.ts'
import type { UpstreamPools } from './upstream/pools.ts'

export interface CuttingParts {
  readonly audit: Audit
  readonly doors: Doors
  readonly pools: UpstreamPools
  readonly grpcSessions: GrpcSessions
  readonly tasks: Tasks
  readonly mcpUpstream: McpUpstream
  readonly mcpSessions: McpSessions
  readonly stats: Stats
  /** Decides anew what stays open once it is let in. */
  readonly recheck: () => void
}

/** What a narrowing ends at once, wherever it is open: no connection outlives what it was let in by. */
export class Cutting {
  readonly #parts: CuttingParts

  constructor(parts: CuttingParts) {
    this.#parts = parts
  }

  /** Whoever is quarantined, revoked, or stands under a root that was retired. */
  narrow({ quarantined, released, revoked, mandates, roots }: Narrowing): void {
    const { audit, doors, pools, grpcSessions, stats, recheck } = this.#parts
    for (const subject of quarantined) this.#cut(subject)
    for (const subject of released) audit.event('quarantine-released', { subject })
    for (const id of mandates) audit.event('mandate-revoked', { facts: { id } })
    stats.socketsCut += doors.cutPeers(revoked, roots)
    const isCut = ({ serial, root }: VerifiedSvid): boolean =>
      revoked.includes(serial) || roots.includes(root)
    pools.cutPeers(isCut)
    grpcSessions.cutPeers(isCut)
    for (const root of roots) audit.event('root-retired', { facts: { root } })
    recheck()
  }

  /**
   * Another trust domain's bundle has changed. Whoever was let in under a root that is gone comes again, or does not.
   *
   * @param roots how many it has now
   * @param gone fingerprints of those that it had
   */
  foreign(domain: string, roots: number, gone: readonly string[]): void {
    const { audit, doors, stats, recheck } = this.#parts
    const sockets = doors.cutPeers([], gone)
    stats.socketsCut += sockets
    const facts = { roots, gone: gone.length, sockets }
    audit.event('foreign-bundle-changed', { subject: `spiffe://${domain}`, facts })
    if (gone.length > 0) recheck()
  }

  #cut(subject: string): void {
    const { audit, doors, pools, grpcSessions, tasks, mcpUpstream, mcpSessions, stats } =
      this.#parts
    const sockets = doors.cut(subject)
    stats.socketsCut += sockets
    pools.cut(subject)
    pools.cutPeers(({ id }) => id.uri === subject)
    grpcSessions.cut(subject)
    grpcSessions.cutPeers(({ id }) => id.uri === subject)
    tasks.cut(subject)
    mcpUpstream.cut(subject)
    mcpSessions.cut(subject)
    audit.event('quarantine-applied', { subject, facts: { sockets } })
  }
}
