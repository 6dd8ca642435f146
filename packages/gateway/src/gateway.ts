import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex, SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { createTokeniser } from '@sallyport/redact'
import { gatewayId } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { trustedRoots } from '@sallyport/wire'
import type { Target } from '@sallyport/transport'
import type { TrustPins } from '@sallyport/wire'
import { A2aCalls } from './a2a/calls.ts'
import { Cards } from './a2a/cards.ts'
import { Peers } from './a2a/peers.ts'
import { Show } from './a2a/show.ts'
import { tasksOf } from './a2a/tasks.ts'
import { McpSessions } from './adapters/mcp-sessions.ts'
import { Audit } from './audit/audit.ts'
import { Feed } from './audit/feed.ts'
import { secretFile } from './audit/keys.ts'
import { Approvals } from './calls/approvals.ts'
import { FollowUps } from './calls/follow.ts'
import { Limits } from './calls/limits.ts'
import { MandateUses } from './calls/mandate-uses.ts'
import { Mandates } from './calls/mandates.ts'
import { Pipeline } from './calls/pipeline.ts'
import { Standing } from './calls/standing.ts'
import { Doors } from './doors.ts'
import { Drift } from './inventory/drift.ts'
import type { Address } from './edge/listener.ts'
import { Tokens } from './edge/tokens.ts'
import { GrpcCalls } from './grpc/calls.ts'
import { Sessions as GrpcSessions } from './grpc/sessions.ts'
import { GrpcUpstream } from './grpc/upstream.ts'
import { LlmCalls } from './llm/calls.ts'
import { ReadValues } from './llm/read-values.ts'
import { PlaneClient } from './plane/client.ts'
import { establishIdentity } from './plane/enrol.ts'
import { loadPins } from './plane/pins.ts'
import { laterShown } from './plane/later.ts'
import { startRenewal } from './plane/renewal.ts'
import { followPlane } from './plane/stream.ts'
import { HealthDoor } from './health.ts'
import type { NotReady } from './health.ts'
import { EventStreams } from './serve/events.ts'
import { HttpCalls } from './serve/http.ts'
import { McpCalls } from './serve/mcp.ts'
import { ResourceMetadata } from './serve/metadata.ts'
import { OwnCalls } from './serve/own.ts'
import { Requests } from './serve/requests.ts'
import { DEFAULT_SETTINGS } from './settings.ts'
import type { GatewaySettings } from './settings.ts'
import { Bundles, readSeen } from './state/bundles.ts'
import type { Narrowing } from './state/bundles.ts'
import { ForeignTrust } from './state/foreign.ts'
import { Shadow } from './state/shadow.ts'
import { Liveness } from './state/liveness.ts'
import { Sessions } from './state/sessions.ts'
import { newStats } from './stats.ts'
import type { Stats } from './stats.ts'
import { Credentials } from './upstream/credentials.ts'
import type { Towards } from './upstream/destinations.ts'
import { Exchange } from './upstream/exchange.ts'
import { McpUpstream } from './upstream/mcp.ts'
import { UpstreamPools } from './upstream/pools.ts'
import { Programs } from './upstream/programs.ts'

export interface GatewayOptions {
  /** Name of this gateway; its SPIFFE id is `spiffe://TD/gateway/ID`. */
  readonly id: string
  /** Keys, identity, log and what was seen: persistent, and this gateway's alone. */
  readonly dataDir: string
  readonly control: Address
  readonly listen: Address
  /** Where agents that speak PostgreSQL come in; absent means nowhere. */
  readonly listenPostgres?: Address
  /** System name → where agents reach it, of systems whose protocol is not read; absent means nowhere. */
  readonly listenOpaque?: Readonly<Record<string, Address>>
  /** Where enforcement points of somebody else's make ask for decisions; nowhere by default. */
  readonly points?: Target
  /** Where this machine asks how the gateway is (`/live`, `/ready`); nowhere by default. */
  readonly health?: Address
  /** Other gateways of this machine may listen on the same ports: for one that takes over from another. */
  readonly sharePorts?: boolean
  /**
   * Addresses and ranges of balancers in front of `listen`. With it nobody else may connect there, and each connection begins with
   * a frame of the PROXY protocol, version 2.
   */
  readonly proxyFrom?: readonly string[]
  /** On the first start, one of both; kept in `dataDir` from then on. */
  readonly trustPins?: TrustPins
  readonly pinsFile?: string
  /** One-use, to enrol. */
  readonly joinToken?: string
  /** Secret name → value: credentials of external systems. What is not here is asked of the control plane. */
  readonly secrets: Readonly<Record<string, string>>
  /** System name → where it is, if not as declared. */
  readonly upstreams?: Readonly<Record<string, Address>>
  /** Folders and files with keys beside `dataDir`: programs that it runs see none of them. */
  readonly hide?: readonly string[]
  readonly settings?: Partial<GatewaySettings>
  readonly clock?: Clock
}

export interface GatewayStats extends Stats {
  readonly openConnections: number
  readonly openStreams: number
  readonly inFlight: number
  readonly upstreamPools: number
  readonly logSize: number
  /** Records not yet confirmed by the control plane. */
  readonly feedLag: number
  /** Milliseconds since the control plane last confirmed what is enforced; infinite before the first bundle. */
  readonly bundleAgeMs: number
  readonly revision: { readonly epoch: number; readonly n: number } | undefined
}

export interface Gateway {
  readonly address: Address
  readonly postgresAddress: Address | undefined
  readonly pointsAddress: Target | undefined
  readonly opaqueAddresses: Readonly<Record<string, Address>>
  readonly healthAddress: Address | undefined
  readonly spiffeId: string
  stats(): GatewayStats
  /**
   * Takes no new connections, lets calls in flight end, and closes: when they have, or when their time is over. `/ready` says so
   * first.
   */
  drain(): Promise<void>
  close(): Promise<void>
}

/**
 * Starts the data plane: enrols or takes up its identity, follows the control plane, and serves agents once the first
 * bundle is in force.
 *
 * @throws SallyportError `SP_GATEWAY_*`, `SP_CONTROL_*`, `SP_LOG_*`, `SP_SEAL_*`, `SP_LISTEN_FAILED`
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const gateway = new RunningGateway(options)
  try {
    await gateway.start()
    return gateway
  } catch (error) {
    await gateway.close()
    throw error
  }
}

class RunningGateway implements Gateway {
  address: Address
  postgresAddress: Address | undefined
  pointsAddress: Target | undefined
  opaqueAddresses: Readonly<Record<string, Address>> = {}
  healthAddress: Address | undefined
  spiffeId = ''
  readonly #options: GatewayOptions
  readonly #settings: GatewaySettings
  readonly #clock: Clock
  readonly #stats = newStats()
  /** What `close` undoes, last first. */
  readonly #undo: (() => Promise<void> | void)[] = []
  #report: () => Omit<GatewayStats, keyof Stats> = nothingYet
  #closing: Promise<void> | undefined
  #isDraining = false
  #drainDoors: () => void = () => undefined

  constructor(options: GatewayOptions) {
    this.#options = options
    this.#settings = { ...DEFAULT_SETTINGS, ...options.settings }
    this.#clock = options.clock ?? systemClock
    this.address = options.listen
  }

  stats(): GatewayStats {
    return { ...this.#stats, ...this.#report() }
  }

  async drain(): Promise<void> {
    if (!this.#isDraining) {
      this.#isDraining = true
      this.#drainDoors()
    }
    const until = this.#clock.monotonic() + this.#settings.drainMs
    while (this.#report().inFlight > 0 && this.#clock.monotonic() < until && !this.#closing) {
      await new Promise((resolve) => {
        setTimeout(resolve, 20)
      })
    }
    await this.close()
  }

  close(): Promise<void> {
    this.#closing ??= this.#unwind()
    return this.#closing
  }

  async start(): Promise<void> {
    const { id, dataDir, control } = this.#options
    const clock = this.#clock
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    const { pins, offeredRoots } = await loadPins(this.#options)
    const timeoutMs = this.#settings.controlTimeoutMs
    const { joinToken } = this.#options
    const seen = (await readSeen(dataDir))?.roots
    let rootsPem = trustedRoots(seen, pins)
    const roots = (): string => rootsPem
    const holder = await establishIdentity({
      id,
      dataDir,
      control,
      pins,
      roots,
      enrolRoots: trustedRoots(seen, { roots: pins.roots + (offeredRoots ?? '') }),
      joinToken,
      clock,
      timeoutMs,
    })
    const { trustDomain } = pins
    this.spiffeId = gatewayId(trustDomain, id)
    const audit = await Audit.open({ dataDir, trustDomain, id, gateway: this.spiffeId, clock })
    this.#undo.push(() => audit.close())
    const sessions = await Sessions.rebuild(audit.log)
    audit.event('gateway-started', { facts: { size: audit.log.size } })
    const client = new PlaneClient({ target: control, identity: holder, clock, timeoutMs })
    this.#undo.push(() => client.close())
    const feed = await Feed.open({
      dataDir,
      shard: audit.log.origin,
      log: audit.log,
      client,
      onFailure: () => undefined,
    })
    audit.onRecord((logged) => {
      feed.offer(logged)
    })
    audit.onCheckpoint((note) => {
      feed.offerCheckpoint(note)
    })
    const liveness = new Liveness()
    const tasks = tasksOf(this.#settings, clock)
    const towards: Towards = {
      holder,
      clock,
      overrides: this.#options.upstreams ?? {},
      settings: this.#settings,
      refuses: ({ id, serial, root }) =>
        bundles.isQuarantined(id.uri) || bundles.isRevoked(serial) || bundles.isRetired(root),
    }
    const pools = new UpstreamPools(towards)
    this.#undo.push(() => pools.close())
    const grpcSessions = new GrpcSessions(towards)
    this.#undo.push(() => {
      grpcSessions.close()
    })
    const credentials = new Credentials({ client, clock, given: this.#options.secrets })
    const exchange = new Exchange({
      pools,
      clock,
      settings: this.#settings,
      gateway: this.spiffeId,
      credentials,
    })
    const programs = new Programs({
      ...{ audit, clock, settings: this.#settings },
      hide: [dataDir, ...(this.#options.hide ?? [])],
      log: (line) => process.stderr.write(`mcp ${line}\n`),
    })
    const mcpUpstream = new McpUpstream(exchange, this.#settings, programs)
    this.#undo.push(() => {
      mcpUpstream.close()
    })
    const mcpSessions = new McpSessions({
      clock,
      maxPerHolder: this.#settings.maxMcpSessionsPerInstance,
      maxTotal: this.#settings.maxMcpSessions,
      idleMs: this.#settings.mcpSessionIdleMs,
      onEnd: ({ id }) => {
        mcpUpstream.end(id)
      },
    })

    // They are opened after the bundles that cut them; the streams come after those, too.
    const doors = new Doors()
    let streams: EventStreams | undefined
    let mcpCalls: McpCalls | undefined
    const recheck = (): void => {
      streams?.recheck()
      mcpCalls?.recheck()
      doors.recheck()
    }
    const narrow = ({
      quarantined,
      released,
      revoked,
      mandates,
      roots: retired,
    }: Narrowing): void => {
      for (const subject of quarantined) {
        const sockets = doors.cut(subject)
        this.#stats.socketsCut += sockets
        pools.cut(subject)
        pools.cutPeers(({ id: peer }) => peer.uri === subject)
        grpcSessions.cut(subject)
        grpcSessions.cutPeers(({ id: peer }) => peer.uri === subject)
        tasks.cut(subject)
        mcpUpstream.cut(subject)
        mcpSessions.cut(subject)
        audit.event('quarantine-applied', { subject, facts: { sockets } })
      }
      for (const subject of released) audit.event('quarantine-released', { subject })
      for (const id of mandates) audit.event('mandate-revoked', { facts: { id } })
      this.#stats.socketsCut += doors.cutPeers(revoked, retired)
      const isCut = ({ serial, root }: VerifiedSvid): boolean =>
        revoked.includes(serial) || retired.includes(root)
      pools.cutPeers(isCut)
      grpcSessions.cutPeers(isCut)
      for (const root of retired) audit.event('root-retired', { facts: { root } })
      recheck()
    }
    const foreign = new ForeignTrust({
      dataDir,
      clock,
      onChange: (domain, roots, gone) => {
        const subject = `spiffe://${domain}`
        // Whoever was let in under a root that is gone comes again, or does not.
        const sockets = doors.cutPeers([], gone)
        this.#stats.socketsCut += sockets
        const facts = { roots, gone: gone.length, sockets }
        audit.event('foreign-bundle-changed', { subject, facts })
        if (gone.length > 0) recheck()
      },
      onFailure: (domain, code) => {
        audit.boundedEvent('foreign-bundle-refused', { code, subject: `spiffe://${domain}` })
      },
    })
    this.#undo.push(() => {
      foreign.close()
    })
    const shadow = new Shadow({
      clock,
      onEvent: (event, facts) => {
        audit.event(event, facts)
      },
    })
    this.#undo.push(() => {
      shadow.close()
    })
    const drift = new Drift({
      clock,
      reportMs: this.#settings.driftReportMs,
      onEvent: (event, facts) => {
        audit.event(event, facts)
      },
    })
    this.#undo.push(() => {
      drift.close()
    })
    const unheard = clock.onJump?.(({ by }) => {
      audit.event('clock-jumped', { code: 'SP_CLOCK_JUMPED', facts: { by } })
    })
    this.#undo.push(() => unheard?.())
    const showLater = laterShown(client, clock, (code) => {
      audit.boundedEvent('later-bundle-not-shown', { code })
    })
    const bundles = await Bundles.open({
      dataDir,
      pins,
      clock,
      onNarrowing: narrow,
      onRoots: (pem) => {
        rootsPem = pem
        const current = holder.current()
        if (current.rootsPem === pem) return
        holder.replace({ ...current, rootsPem: pem })
        audit.event('roots-replaced', { facts: { roots: sha256Hex(pem) } })
      },
      onRevision: ({ decider }) => {
        foreign.declare(decider.index.network)
        recheck()
      },
      onShadow: (wanted) => {
        shadow.want(wanted)
      },
      onAccepted: ({ epoch, n }) => {
        this.#stats.bundlesAccepted++
        audit.event('bundle-accepted', { facts: { epoch, n } })
      },
      onRefused: (code, detail, newest) => {
        this.#stats.bundlesRefused++
        audit.boundedEvent('bundle-refused', { code, facts: { detail: detail.slice(0, 1000) } })
        showLater(code, newest)
      },
    })
    this.#undo.push(() => bundles.settled())
    const tokens = new Tokens(bundles, clock, trustDomain)
    const standing = new Standing(bundles, clock, trustDomain, tokens, foreign)
    const approvals = new Approvals(client, sessions.used)
    const key = await secretFile(join(dataDir, 'token.key'))
    const readValues = await ReadValues.open({ dataDir, now: () => clock.now() })
    const shared = {
      settings: this.#settings,
      stats: this.#stats,
      clock,
      audit,
      bundles,
      liveness,
      tokeniser: createTokeniser(key.export()),
      readValues,
      drift,
    }
    const mandates = new Mandates({ client, holder, bundles, clock })
    const pipeline = new Pipeline({
      ...shared,
      sessions,
      standing,
      approvals,
      limits: new Limits(client),
      mandates,
      mandateUses: new MandateUses(client),
      shadow,
    })
    const open = new EventStreams({ ...shared, pipeline })
    streams = open
    this.#undo.push(() => {
      open.close()
    })
    const peers = new Peers({
      ...{ ...shared, pipeline, exchange, streams: open, tasks },
      cards: new Cards({ exchange, audit, clock }, this.#settings.a2aCardMs),
      show: new Show(pipeline.answers, tasks, () => clock.now()),
    })
    const followUps = new FollowUps({ ...shared, pipeline, standing, mandates, shadow })
    const mcp = new McpCalls({
      ...{ ...shared, pipeline, followUps },
      ...{ upstream: mcpUpstream, sessions: mcpSessions },
    })
    mcpCalls = mcp
    this.#undo.push(() => {
      mcp.close()
    })
    const requests = new Requests({
      ...shared,
      standing,
      tokens,
      pipeline,
      http: new HttpCalls({ ...shared, pipeline, exchange, streams: open }),
      grpc: new GrpcCalls({
        ...{ ...shared, pipeline, streams: open },
        upstream: new GrpcUpstream({
          ...{ exchange, clock, sessions: grpcSessions, settings: this.#settings },
        }),
      }),
      mcp,
      a2a: new A2aCalls({ ...shared, pipeline, followUps, peers, tasks }),
      llm: new LlmCalls({ ...shared, pipeline, exchange, streams: open, key: key.export() }),
      metadata: new ResourceMetadata(bundles, trustDomain),
      own: new OwnCalls(approvals, sessions, this.spiffeId),
    })

    feed.start()
    this.#undo.push(() => feed.close())
    this.#undo.push(
      startRenewal({
        id,
        dataDir,
        pins,
        roots,
        holder,
        client,
        clock,
        onFailure: (code) => {
          audit.event('renewal-failed', { code })
        },
      }),
    )
    this.#undo.push(
      followPlane({
        client,
        holder,
        clock,
        onBundle: (signed) => bundles.take(signed),
        onHeartbeat: (at) => {
          clock.agree?.(at)
          bundles.heartbeat()
        },
        onFailure: (code) => {
          audit.boundedEvent('control-unreachable', { code })
        },
      }),
    )
    if (this.#options.health) {
      const health = new HealthDoor(() => this.#notReady(standing, audit))
      this.#undo.push(() => health.close())
      this.healthAddress = await health.listen(this.#options.health)
    }
    await this.#firstBundle(bundles)

    this.#undo.push(() => doors.close())
    const pruning = setInterval(() => {
      liveness.prune(clock.now())
    }, 60_000).unref()
    this.#undo.push(() => {
      clearInterval(pruning)
    })
    const at = await doors.open(
      { ...shared, standing, tokens, pipeline, holder, credentials, foreign, requests },
      this.#options,
    )
    this.#drainDoors = () => {
      requests.drain()
      doors.drain()
    }
    this.address = at.address
    this.postgresAddress = at.postgresAddress
    this.pointsAddress = at.pointsAddress
    this.opaqueAddresses = at.opaqueAddresses
    this.#report = () => ({
      openConnections: doors.connections,
      openStreams: open.size,
      inFlight: requests.inFlight,
      upstreamPools: pools.size,
      logSize: audit.log.size,
      feedLag: feed.lag,
      bundleAgeMs: bundles.ageMs,
      revision: bundles.enforced?.revision,
    })
  }

  #notReady(standing: Standing, audit: Audit): readonly NotReady[] {
    const why: NotReady[] = []
    if (standing.lastKnown === undefined) why.push('no-bundle')
    else if (!standing.isFresh) why.push('stale')
    if (audit.failed) why.push('audit')
    if (this.#isDraining || this.#closing) why.push('draining')
    return why
  }

  async #firstBundle(bundles: Bundles): Promise<void> {
    const until = this.#clock.monotonic() + this.#settings.startTimeoutMs
    while (!bundles.enforced) {
      if (this.#clock.monotonic() > until) {
        throw new SallyportError('SP_GATEWAY_NOT_READY', 'no bundle could be taken in time', {
          fix: 'see that the control plane runs and that this gateway pins the right trust root',
        })
      }
      await bundles.settled()
      await new Promise((resolve) => {
        setTimeout(resolve, 20)
      })
    }
  }

  async #unwind(): Promise<void> {
    for (const undo of this.#undo.toReversed()) await undo()
  }
}

const nothingYet = (): Omit<GatewayStats, keyof Stats> => ({
  openConnections: 0,
  openStreams: 0,
  inFlight: 0,
  upstreamPools: 0,
  logSize: 0,
  feedLag: 0,
  bundleAgeMs: Number.POSITIVE_INFINITY,
  revision: undefined,
})
