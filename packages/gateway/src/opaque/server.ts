import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '@sallyport/base'
import type { Operation, System } from '@sallyport/network'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { createMtlsServer, tlsFacts } from '@sallyport/transport'
import type { IdentityHolder, MtlsServer, RefusedFacts } from '@sallyport/transport'
import type { Audit } from '../audit/audit.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import type { Standing } from '../calls/standing.ts'
import type { Caller } from '../calls/types.ts'
import type { Address } from '../edge/listener.ts'
import { directSource } from '../edge/source.ts'
import type { ReadValues } from '../llm/read-values.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import { callFailed } from '../serve/failed.ts'
import { noOperation } from '../serve/http.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Bundles } from '../state/bundles.ts'
import type { Stats } from '../stats.ts'
import { Flow } from './flow.ts'
import { ALPN, connectOpaque } from './upstream.ts'

export interface OpaqueParts {
  readonly identity: IdentityHolder
  readonly audit: Pick<Audit, 'append' | 'base' | 'event'>
  readonly bundles: Bundles
  readonly pipeline: Pipeline
  readonly readValues: Pick<ReadValues, 'unseen'>
  readonly standing: Standing
  /** Whether an address is one of a declared balancer. */
  readonly isBalancer: (address: string | undefined) => boolean
  readonly settings: GatewaySettings
  readonly stats: Stats
  readonly clock: Clock
  readonly overrides: Readonly<Record<string, Address>>
  readonly enter: (session: string) => () => void
  readonly onConnected: (svid: VerifiedSvid) => void
  onRefused(facts: RefusedFacts): void
}

/** Where agents reach systems whose protocol is not read, at a port for each: who connects, for how long and with how many bytes. */
export class OpaqueServers {
  readonly #parts: OpaqueParts
  readonly #servers = new Map<string, MtlsServer>()
  readonly #flows = new Set<Flow>()
  readonly #callers = new Map<TLSSocket, VerifiedSvid>()
  /** Open connections to services of the network. */
  readonly #services = new Map<TLSSocket, VerifiedSvid>()
  readonly #timer: NodeJS.Timeout
  #isDraining = false

  constructor(parts: OpaqueParts) {
    this.#parts = parts
    this.#timer = setInterval(() => {
      this.recheck()
    }, parts.settings.streamRecheckMs).unref()
  }

  get size(): number {
    return this.#flows.size
  }

  /** @param shared with other gateways of this machine @returns where they are @throws SallyportError `SP_LISTEN_FAILED` */
  async listen(
    at: Readonly<Record<string, Address>>,
    shared: boolean,
  ): Promise<Record<string, Address>> {
    const addresses: [string, Address][] = []
    for (const [system, address] of Object.entries(at)) {
      const server = this.#server(system)
      this.#servers.set(system, server)
      const bound = await server.listen(address, shared)
      if (typeof bound === 'string') throw new TypeError('a TCP listener has a TCP address')
      addresses.push([system, { host: bound.address, port: bound.port }])
    }
    return Object.fromEntries(addresses)
  }

  /** Cuts what is open for an instance, or for every instance below a subject, and to a service of that name. @returns how many */
  cut(subject: string): number {
    for (const flow of this.#flows) {
      const { instance } = flow.grant.caller
      if (instance === subject || instance.startsWith(`${subject}/`)) flow.cut('SP_QUARANTINED')
    }
    for (const [socket, { id }] of this.#services) if (id.uri === subject) socket.destroy()
    let count = 0
    for (const server of this.#servers.values()) count += server.sockets.cut(subject)
    return count
  }

  /** Cuts what was opened with these certificates, or under these roots, on either side. @returns how many callers */
  cutPeers(serials: readonly string[], roots: readonly string[]): number {
    const isCut = ({ serial, root }: VerifiedSvid): boolean =>
      serials.includes(serial) || roots.includes(root)
    for (const [socket, peer] of this.#services) if (isCut(peer)) socket.destroy()
    let count = 0
    for (const [socket, peer] of this.#callers) {
      if (!isCut(peer)) continue
      socket.destroy()
      count++
    }
    return count
  }

  /** Decides what is open again, and cuts what no longer holds. */
  recheck(): void {
    for (const flow of this.#flows) this.#recheck(flow)
  }

  #recheck(flow: Flow): void {
    try {
      this.#parts.pipeline.still.demand(flow.grant)
    } catch (error) {
      flow.cut(toRefusal(error).code)
    }
  }

  /** Takes no new connections; flows that are open go on until `close`. */
  drain(): void {
    this.#isDraining = true
    for (const server of this.#servers.values()) server.stopListening()
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    for (const flow of this.#flows) flow.cut('SP_GATEWAY_CLOSING')
    await Promise.all([...this.#servers.values()].map((server) => server.close()))
  }

  #server(name: string): MtlsServer {
    const { identity, clock, settings, standing } = this.#parts
    const server = createMtlsServer({
      ...{ identity, clock, alpn: [ALPN], alpnImplied: true, halfOpen: true },
      handshakeTimeoutMs: settings.handshakeTimeoutMs,
      maxConnections: settings.maxConnections,
      accept: (peer) =>
        server.sockets.of(peer.id.uri).length >= settings.maxConnectionsPerInstance
          ? 'the instance has too many connections'
          : standing.admits(peer),
      onRefused: (facts) => {
        this.#parts.onRefused(facts)
      },
      onConnection: (socket, peer) => {
        // A handshake may end after the drain began.
        if (peer && !this.#isDraining) void this.#serve(name, socket, peer)
        else socket.destroy()
      },
    })
    return server
  }

  /** Serves one connection to its end. Never rejects: there is no protocol to tell anything in. */
  async #serve(name: string, socket: TLSSocket, svid: VerifiedSvid): Promise<void> {
    const { pipeline, enter, onConnected } = this.#parts
    // Not a byte is taken before the call is decided and that is recorded.
    socket.pause()
    this.#callers.set(socket, svid)
    socket.once('close', () => this.#callers.delete(socket))
    onConnected(svid)
    const gone = new AbortController()
    socket.once('close', () => {
      gone.abort()
    })
    let caller: Caller | undefined
    try {
      caller = this.#caller(svid, socket)
      const leave = enter(caller.session)
      try {
        await this.#relay(caller, name, socket, gone.signal)
      } finally {
        leave()
      }
    } catch (error) {
      const refusal = toRefusal(error)
      if (refusal.decision !== undefined) return
      if (caller) await pipeline.refuseUntyped(caller, refusal, name).catch(() => undefined)
      else pipeline.refuseStranger(svid.id.uri, refusal)
    } finally {
      socket.destroy()
    }
  }

  async #relay(
    caller: Caller,
    name: string,
    socket: TLSSocket,
    signal: AbortSignal,
  ): Promise<void> {
    const { pipeline, standing, audit, stats, readValues } = this.#parts
    const enforced = standing.enforced(false)
    const system = enforced.decider.index.findSystem(name)
    const operation = system?.operations.find(({ binding }) => binding.kind === 'opaque')
    if (!system?.opaque || !operation) throw noOperation()
    const { opaque } = system
    const grant = await this.#authorise(caller, enforced, system, operation)
    let upstream: Socket | undefined
    try {
      upstream = await this.#connect(system)
      if (signal.aborted)
        throw new Refusal('SP_UPSTREAM_FAILED', 'the caller is gone', { status: 499 })
      if (system.upstream.kind === 'plain') await this.#sayUnauthenticated(grant, upstream)
      // What comes back may hold anything.
      const { network } = enforced.decider.index
      readValues.unseen(caller.session, network, opaque.holds)
      const labels = [...new Set([...grant.outcome.labels, ...opaque.answerTags])].toSorted()
      await pipeline.answers.commitLabels({ ...grant, outcome: { ...grant.outcome, labels } })
    } catch (error) {
      upstream?.destroy()
      throw callFailed(this.#parts, grant, error, signal)
    }
    stats.streamsOpened++
    const flow = new Flow(grant, { caller: socket, upstream }, opaque, (code) => {
      stats.streamsCut++
      audit.event('stream-cut', {
        ...{ code, subject: caller.instance },
        facts: { decision: grant.id },
      })
    })
    this.#flows.add(flow)
    // It may have changed while the connection was made.
    this.#recheck(flow)
    await flow.ended
    this.#flows.delete(flow)
    pipeline.finish(grant, flow.finish)
  }

  #authorise(
    caller: Caller,
    enforced: Grant['enforced'],
    system: System,
    operation: Operation,
  ): Promise<Grant> {
    const path = `/${system.name}`
    const upstream = (): Grant['upstream'] => ({ method: 'CONNECT', path, body: undefined })
    return this.#parts.pipeline.authorise(
      enforced,
      caller,
      { system, operation, input: {}, upstream },
      { approval: undefined, mandate: undefined },
    )
  }

  async #connect(system: System): Promise<Socket> {
    const { identity, settings, bundles, overrides } = this.#parts
    return connectOpaque({
      ...{ holder: identity, system, timeoutMs: settings.upstreamConnectTimeoutMs },
      override: Object.hasOwn(overrides, system.name) ? overrides[system.name] : undefined,
      refuses: ({ id, serial, root }) =>
        bundles.isQuarantined(id.uri) || bundles.isRevoked(serial) || bundles.isRetired(root),
      onPeer: (socket, peer) => {
        this.#services.set(socket, peer)
        socket.once('close', () => this.#services.delete(socket))
      },
    })
  }

  /** Stands in the log before a byte goes there: by its address alone was it known. @throws Refusal `SP_AUDIT_UNAVAILABLE` */
  async #sayUnauthenticated(grant: Grant, upstream: Socket): Promise<void> {
    const { audit } = this.#parts
    const { remoteAddress = '', remotePort = 0 } = upstream
    await audit.append({
      ...audit.base(),
      kind: 'event',
      event: 'upstream-unauthenticated',
      subject: grant.caller.instance,
      facts: {
        decision: grant.id,
        system: grant.call.system,
        address: remoteAddress,
        port: remotePort,
      },
    })
  }

  #caller(svid: VerifiedSvid, socket: TLSSocket): Caller {
    const { instance, agent } = this.#parts.standing.check(svid)
    const { group } = tlsFacts(socket)
    const source = directSource(socket.remoteAddress, this.#parts.isBalancer)
    return {
      // Agents of other trust domains do not come in here.
      ...{ instance, agent, svid, session: instance },
      ...(group === undefined ? {} : { group }),
      ...(source === undefined ? {} : { source }),
    }
  }
}
