import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex, SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { createTokeniser } from '@sallyport/redact'
import { gatewayId } from '@sallyport/spiffe'
import { trustedRoots } from '@sallyport/wire'
import type { Target } from '@sallyport/transport'
import { tasksOf } from './a2a/tasks.ts'
import { McpSessions } from './adapters/mcp-sessions.ts'
import { Audit } from './audit/audit.ts'
import { Feed } from './audit/feed.ts'
import { secretFile } from './audit/keys.ts'
import { Standing } from './calls/standing.ts'
import { Cutting } from './cutting.ts'
import { Doors } from './doors.ts'
import { Drift } from './inventory/drift.ts'
import type { Address } from './edge/listener.ts'
import { Tokens } from './edge/tokens.ts'
import { Sessions as GrpcSessions } from './grpc/sessions.ts'
import { ReadValues } from './llm/read-values.ts'
import { PlaneClient } from './plane/client.ts'
import { establishIdentity } from './plane/enrol.ts'
import { loadPins } from './plane/pins.ts'
import { laterShown } from './plane/later.ts'
import { startRenewal } from './plane/renewal.ts'
import { followPlane } from './plane/stream.ts'
import { HealthDoor } from './health.ts'
import type { NotReady } from './health.ts'
import { nothingYet } from './options.ts'
import type { Gateway, GatewayOptions, GatewayStats } from './options.ts'
import { createServing } from './serving.ts'
import { DEFAULT_SETTINGS } from './settings.ts'
import type { GatewaySettings } from './settings.ts'
import { Bundles, readSeen } from './state/bundles.ts'
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
import { SigningAhead } from './upstream/signing/ahead.ts'

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
    const signingEvent = (event: string) => (error: unknown) => {
      audit.event(event, { facts: { reason: String(error).slice(0, 200) } })
    }
    const signing = new SigningAhead(signingEvent('signing-thread-ended'), {
      onUnstarted: signingEvent('signing-thread-not-started'),
      clock,
    })
    this.#undo.push(() => signing.close())
    const exchange = new Exchange({
      ...{ pools, clock, credentials, signing, settings: this.#settings },
      gateway: this.spiffeId,
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
    let recheckServing: (() => void) | undefined
    const recheck = (): void => {
      recheckServing?.()
      doors.recheck()
    }
    const cutting = new Cutting({
      ...{ audit, doors, pools, grpcSessions, tasks, mcpUpstream, mcpSessions, recheck },
      stats: this.#stats,
    })
    const foreign = new ForeignTrust({
      dataDir,
      clock,
      onChange: (domain, roots, gone) => {
        cutting.foreign(domain, roots, gone)
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
      onNarrowing: (narrowing) => {
        cutting.narrow(narrowing)
      },
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
    const standing = new Standing(bundles, clock, trustDomain, tokens, foreign, liveness)
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
    const serving = createServing({
      ...{ ...shared, client, holder, sessions, standing, tokens, shadow, tasks, exchange },
      ...{ grpcSessions, mcpUpstream, mcpSessions, trustDomain, key: key.export() },
      spiffeId: this.spiffeId,
    })
    const { pipeline, requests } = serving
    recheckServing = () => {
      serving.recheck()
    }
    this.#undo.push(() => {
      serving.close()
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
      openStreams: serving.openStreams,
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
