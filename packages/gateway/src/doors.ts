import type { VerifiedSvid } from '@sallyport/spiffe'
import type { RefusedFacts, Target } from '@sallyport/transport'
import type { Audit } from './audit/audit.ts'
import { Listener } from './edge/listener.ts'
import type { Address } from './edge/listener.ts'
import { balancers } from './edge/proxy-protocol.ts'
import type { Drift } from './inventory/drift.ts'
import { plain } from './inventory/plain.ts'
import { OpaqueServers } from './opaque/server.ts'
import type { OpaqueParts } from './opaque/server.ts'
import { PointChecks } from './points/checks.ts'
import type { PointParts } from './points/checks.ts'
import { PointListener } from './points/listener.ts'
import type { Requests } from './serve/requests.ts'
import { Databases, SqlCalls, SqlServer } from './sql/index.ts'
import type { Bundles } from './state/bundles.ts'
import type { ForeignTrust } from './state/foreign.ts'
import type { Liveness } from './state/liveness.ts'
import type { Stats } from './stats.ts'
import type { Credentials } from './upstream/credentials.ts'

export interface DoorsParts extends Omit<PointParts, 'enter'> {
  readonly audit: Audit
  readonly bundles: Bundles
  readonly credentials: Credentials
  readonly drift: Drift
  readonly foreign: ForeignTrust
  readonly liveness: Liveness
  readonly readValues: OpaqueParts['readValues']
  readonly requests: Requests
  readonly stats: Stats
  readonly tokeniser: ConstructorParameters<typeof SqlCalls>[0]['tokeniser']
}

/** Where callers come in; what is not given stays shut. */
export interface DoorsAt {
  readonly listen: Address
  readonly listenPostgres?: Address
  /** System name → where agents reach it, of systems whose protocol is not read. */
  readonly listenOpaque?: Readonly<Record<string, Address>>
  readonly points?: Target
  /** Other gateways of this machine may listen on the same ports. */
  readonly sharePorts?: boolean
  /** Balancers in front of the port for agents that speak HTTP. */
  readonly proxyFrom?: readonly string[]
  /** System name → where it is, if not as declared. */
  readonly upstreams?: Readonly<Record<string, Address>>
}

/** Every way in: for agents, for agents that speak PostgreSQL, and for enforcement points of somebody else's make. */
export class Doors {
  #agents: Listener | undefined
  #databases: Databases | undefined
  #postgres: SqlServer | undefined
  #points: PointListener | undefined
  #opaque: OpaqueServers | undefined

  /** Of agents, by HTTP. */
  get connections(): number {
    return this.#agents?.connections ?? 0
  }

  /** Cuts every connection of an instance, or of every instance below a subject. @returns how many */
  cut(subject: string): number {
    const doors = [this.#agents, this.#postgres, this.#points, this.#opaque]
    return doors.reduce((sum, door) => sum + (door?.cut(subject) ?? 0), 0)
  }

  /** Cuts the connections of agents that were opened with these certificates, or under these roots. @returns how many */
  cutPeers(serials: readonly string[], roots: readonly string[]): number {
    const agents = this.#agents
    const sockets = agents ? agents.cutSerials(serials) + agents.cutRoots(roots) : 0
    const doors = [this.#postgres, this.#opaque]
    return doors.reduce((sum, door) => sum + (door?.cutPeers(serials, roots) ?? 0), sockets)
  }

  /** Decides anew what stays open once it is let in, and cuts what no longer holds. */
  recheck(): void {
    this.#opaque?.recheck()
  }

  /**
   * Opens them. Whatever was opened before one fails is closed by `close`.
   *
   * @returns where they are
   * @throws SallyportError `SP_LISTEN_FAILED`
   */
  async open(
    parts: DoorsParts,
    at: DoorsAt,
  ): Promise<{
    readonly address: Address
    readonly postgresAddress: Address | undefined
    readonly pointsAddress: Target | undefined
    readonly opaqueAddresses: Readonly<Record<string, Address>>
  }> {
    const shared = at.sharePorts ?? false
    const watched = { ...parts, ...watch(parts), isBalancer: balancers(at.proxyFrom ?? []) }
    this.#agents = agentsDoor(watched, at.proxyFrom)
    const address = await this.#agents.listen(at.listen, shared)
    let postgresAddress: Address | undefined
    if (at.listenPostgres !== undefined) {
      this.#databases = databasesOf(parts, at.upstreams ?? {})
      this.#postgres = new SqlServer({
        ...{ ...watched, databases: this.#databases },
        calls: new SqlCalls(parts),
      })
      postgresAddress = await this.#postgres.listen(at.listenPostgres, shared)
    }
    let pointsAddress: Target | undefined
    if (at.points) {
      const enter = (session: string): (() => void) => parts.requests.enter(session)
      const checks = new PointChecks({ ...parts, enter })
      this.#points = new PointListener({ ...watched, checks })
      pointsAddress = await this.#points.listen(at.points, shared)
    }
    let opaqueAddresses: Readonly<Record<string, Address>> = {}
    if (at.listenOpaque) {
      const enter = (session: string): (() => void) => parts.requests.enter(session)
      this.#opaque = new OpaqueServers({ ...watched, overrides: at.upstreams ?? {}, enter })
      opaqueAddresses = await this.#opaque.listen(at.listenOpaque, shared)
    }
    return { address, postgresAddress, pointsAddress, opaqueAddresses }
  }

  /** Lets nobody new in, and whoever is in go. */
  drain(): void {
    for (const door of [this.#agents, this.#postgres, this.#points, this.#opaque]) {
      door?.drain()
    }
  }

  async close(): Promise<void> {
    await this.#opaque?.close()
    await this.#points?.close()
    await this.#postgres?.close()
    this.#databases?.close()
    await this.#agents?.close()
  }
}

interface Watch {
  readonly identity: DoorsParts['holder']
  onConnected(svid: VerifiedSvid): void
  onRefused(facts: RefusedFacts): void
}

/** Who comes in and who does not, counted and told. */
function watch({ audit, clock, drift, holder, liveness, stats }: DoorsParts): Watch {
  return {
    identity: holder,
    onConnected: (svid) => {
      stats.connections++
      liveness.saw(svid, clock.now())
    },
    onRefused: (refused) => {
      const { code, reason, spiffeId, serial, remoteAddress } = refused
      stats.handshakesRefused++
      drift.refused(refused)
      audit.boundedEvent('handshake-refused', {
        code,
        ...(spiffeId === undefined ? {} : { subject: spiffeId }),
        facts: {
          reason: reason.slice(0, 300),
          ...(serial === undefined ? {} : { serial }),
          ...(remoteAddress === undefined ? {} : { remoteAddress }),
        },
      })
    },
  }
}

function agentsDoor(parts: DoorsParts & Watch, proxyFrom: DoorsAt['proxyFrom']): Listener {
  const { audit, drift, foreign, requests, standing, stats } = parts
  const nameOf = (svid: VerifiedSvid): string => {
    try {
      return standing.check(svid).agent
    } catch {
      return svid.id.uri
    }
  }
  return new Listener({
    ...parts,
    ...(proxyFrom === undefined ? {} : { proxyFrom }),
    foreign: () => foreign.bundles(),
    admits: (svid) => standing.admits(svid),
    onRequest: (req, res, gone) => {
      void requests.handle(req, res, gone)
    },
    onElsewhere: (svid, authority) => {
      drift.saw({ kind: 'destination', name: plain.host(authority) }, nameOf(svid))
    },
    onMalformed: (svid, code) => {
      stats.refused++
      audit.boundedEvent('request-malformed', {
        code: 'SP_REQUEST_HEADER',
        ...(svid ? { subject: svid.id.uri } : {}),
        facts: { parser: code.slice(0, 64) },
      })
    },
  })
}

function databasesOf(
  { bundles, clock, credentials, holder, settings }: DoorsParts,
  overrides: Readonly<Record<string, Address>>,
): Databases {
  return new Databases({
    ...{ holder, credentials, settings, clock, overrides },
    refuses: ({ id, serial, root }) =>
      bundles.isQuarantined(id.uri) || bundles.isRevoked(serial) || bundles.isRetired(root),
  })
}
