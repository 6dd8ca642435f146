import type { TLSSocket } from 'node:tls'
import { Roster } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { System } from '@sallyport/network'
import { certificateOf, peerOf, sourceOf, tlsFacts } from '@sallyport/transport'
import type { Pipeline } from '../calls/pipeline.ts'
import type { Standing } from '../calls/standing.ts'
import type { Caller } from '../calls/types.ts'
import { sendProblem } from '../edge/answer.ts'
import { canonicalise } from '../edge/canonical.ts'
import type { Ending } from '../edge/ending.ts'
import { H2Response } from '../edge/h2-message.ts'
import { demandNoExpectation } from '../edge/headers.ts'
import type { EdgeRequest, EdgeResponse } from '../edge/message.ts'
import { Pace } from '../edge/pace.ts'
import { realAddress } from '../edge/source.ts'
import { agentOf, Share } from '../edge/share.ts'
import type { Tokens } from '../edge/tokens.ts'
import { plain } from '../inventory/plain.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Enforced } from '../state/bundles.ts'
import type { Liveness } from '../state/liveness.ts'
import type { Stats } from '../stats.ts'
import type { GrpcCalls } from '../grpc/calls.ts'
import { isGrpc, speaksGrpc } from '../grpc/head.ts'
import { sendGrpcRefusal } from '../grpc/status.ts'
import type { BareContext, RequestContext } from './context.ts'
import type { HttpCalls } from './http.ts'
import { noOperation } from './http.ts'
import type { LlmCalls } from '../llm/calls.ts'
import { sendVendorError } from '../llm/errors.ts'
import type { A2aCalls } from '../a2a/calls.ts'
import type { McpCalls } from './mcp.ts'
import type { ResourceMetadata } from './metadata.ts'
import type { OwnCalls } from './own.ts'

export interface RequestParts {
  readonly standing: Standing
  readonly tokens: Tokens
  readonly pipeline: Pipeline
  readonly http: HttpCalls
  readonly grpc: GrpcCalls
  readonly mcp: McpCalls
  readonly a2a: A2aCalls
  readonly llm: LlmCalls
  readonly own: OwnCalls
  readonly metadata: ResourceMetadata
  readonly liveness: Liveness
  readonly settings: GatewaySettings
  readonly stats: Stats
  readonly clock: Clock
}

/** How far a request has come: a refusal names the system. */
interface Reached {
  system: string
}

/** The calls of one session that are in flight. */
interface Seat {
  readonly session: string
  /** Whose share they count against. */
  readonly agent: string
  taken: number
}

/** Sessions that are remembered without a call in flight: the busy ones come back at once. */
const MAX_SEATS = 1024

const OWN = '.sallyport'
const WELL_KNOWN = '.well-known'

/** Takes each request from its connection to the adapter that serves it, and answers what is refused on the way. */
export class Requests {
  readonly #parts: RequestParts
  readonly #seats = new Map<string, Seat>()
  readonly #pace: Pace
  readonly #share: Share
  readonly #answers = new Roster<EdgeResponse>()
  #isDraining = false

  constructor(parts: RequestParts) {
    this.#parts = parts
    const { maxCallsPerSecond, maxCallBurst } = parts.settings
    this.#share = new Share(parts.settings.maxInFlight)
    this.#pace = new Pace(maxCallsPerSecond, maxCallBurst, parts.clock)
  }

  get inFlight(): number {
    return this.#share.total
  }

  /** From now on each connection ends with its next answer, or with the one that it waits for. */
  drain(): void {
    this.#isDraining = true
    for (const res of this.#answers) res.shouldKeepAlive = false
  }

  /** Serves one request, to its end or its refusal. Never rejects. */
  async handle(req: EdgeRequest, res: EdgeResponse, signal: Ending): Promise<void> {
    this.#parts.stats.requests++
    const reached: Reached = { system: '?' }
    let caller: Caller | undefined
    try {
      caller = this.#caller(req.socket)
      const seat = this.#enter(caller.session)
      const place = this.#answers.add(res)
      try {
        // A certificate that has a successor is let go in peace.
        if (this.#isDraining || this.#parts.liveness.hasNewer(caller.svid)) {
          res.shouldKeepAlive = false
        }
        const request = canonicalise(req)
        const { trace } = request.headers
        // Of this request, where what stands before it is of the connection.
        if (trace !== undefined) caller = { ...caller, trace }
        const bare: BareContext = { req, res, request, caller, signal }
        await this.#serve(bare, reached)
      } finally {
        this.#answers.remove(place)
        this.#leave(seat)
      }
    } catch (error) {
      await this.#refuse(req, res, caller, toRefusal(error), reached.system)
    }
  }

  /** @throws Refusal at once or later */
  #serve(bare: BareContext, reached: Reached): Promise<void> | void {
    let enforced: Enforced
    try {
      enforced = this.#parts.standing.enforced(false)
    } catch (error) {
      return this.#refuseStale(bare, reached, toRefusal(error))
    }
    const { req, res, request, caller, signal } = bare
    return this.#dispatch({ req, res, request, caller, signal, enforced }, reached)
  }

  async #refuseStale(bare: BareContext, reached: Reached, refusal: Refusal): Promise<void> {
    const { standing, mcp, a2a } = this.#parts
    // What is too old to decide by still tells which protocol the caller speaks.
    const [name = ''] = bare.request.target.segments
    const system = standing.lastKnown?.decider.index.findSystem(name)
    if (system) reached.system = name
    if (system?.protocol === 'mcp') await mcp.refuse(bare, system, refusal)
    else if (system?.protocol === 'a2a') await a2a.refuse(bare, system, refusal)
    else throw refusal
  }

  #dispatch(context: RequestContext, reached: Reached): Promise<void> | void {
    const { request, enforced } = context
    const [name = ''] = request.target.segments
    const ofGrpc = isGrpc(request)
    const system = ofGrpc
      ? this.#parts.grpc.systemOf(context, enforced)
      : enforced.decider.index.findSystem(name)
    if (system) reached.system = system.name
    const accepted = this.#withToken(context, system)
    if (accepted === context.caller) return this.#toAdapter(context, system, ofGrpc)
    return this.#whenAccepted(context, accepted, system, ofGrpc)
  }

  async #whenAccepted(
    context: RequestContext,
    accepted: Promise<Caller> | Caller,
    system: System | undefined,
    ofGrpc: boolean,
  ): Promise<void> {
    await this.#toAdapter({ ...context, caller: await accepted }, system, ofGrpc)
  }

  /** @throws Refusal at once or later */
  #toAdapter(
    context: RequestContext,
    system: System | undefined,
    ofGrpc: boolean,
  ): Promise<void> | void {
    const { target, headers } = context.request
    const { segments } = target
    if (ofGrpc || system?.protocol !== 'http') demandNoExpectation(headers)
    if (ofGrpc) {
      const admits = (): boolean => this.#pace.admits(context.caller.session)
      return this.#parts.grpc.serve(context, system, admits)
    }
    // With a slash at its end a path is another one; only API descriptions have such.
    if (segments.at(-1) === '' && system?.protocol !== 'http') {
      throw new Refusal('SP_REQUEST_TARGET', 'the request target is not in canonical form', {
        status: 400,
        detail: 'a slash at the end',
      })
    }
    const [name = ''] = segments
    if (name === OWN) return this.#parts.own.serve(context)
    if (name === WELL_KNOWN) return this.#parts.metadata.serve(context)
    if (!system) throw noOperation({ kind: 'destination', name: plain.tool(name) })
    // These have doors of their own.
    const { protocol } = system
    if (protocol === 'postgres' || protocol === 'opaque' || protocol === 'grpc') throw noOperation()
    if (system.protocol === 'mcp') return this.#parts.mcp.serve(context, system)
    if (system.protocol === 'a2a') return this.#parts.a2a.serve(context, system)
    if (system.protocol === 'llm') return this.#parts.llm.serve(context, system)
    return this.#parts.http.serve(context, system)
  }

  #caller(socket: EdgeRequest['socket']): Caller {
    const svid = peerOf(socket)
    if (!svid) {
      throw new Refusal('SP_NOT_AN_AGENT', 'only agents of this network may call', {
        status: 401,
        close: true,
      })
    }
    const { instance, agent } = this.#parts.standing.check(svid)
    // What a connection proves of its caller is the same as long as it lasts; whether it still counts was asked again.
    let caller = callers.get(socket)
    if (caller?.svid !== svid || caller.agent !== agent) {
      // Another trust domain names its instances as it likes: a new name must not make a new session.
      const session = agent.includes('@') ? agent : instance
      callers.set(socket, (caller = { instance, agent, session, svid, ...factsOf(socket) }))
    }
    return caller
  }

  /** Before anything is answered: a token that is bad refuses whatever it came with. */
  #withToken(
    { req, request, caller }: BareContext,
    system: System | undefined,
  ): Promise<Caller> | Caller {
    const { tokens } = this.#parts
    if (!tokens.concern(request.headers, system)) return caller
    return tokens.accept({ request, caller, system, certificate: () => certificateOf(req.socket) })
  }

  /**
   * Counts a call in.
   *
   * @param session the instance, or an agent of another trust domain, whose instances count together
   * @returns counts it out
   * @throws Refusal `SP_OVERLOADED`
   */
  enter(session: string): () => void {
    const seat = this.#enter(session)
    return () => {
      this.#leave(seat)
    }
  }

  #enter(session: string): Seat {
    const seat = this.#seats.get(session) ?? { session, agent: agentOf(session), taken: 0 }
    if (
      seat.taken >= this.#parts.settings.maxInFlightPerInstance ||
      !this.#share.take(seat.agent)
    ) {
      throw new Refusal('SP_OVERLOADED', 'too many calls are in flight', {
        status: 503,
        retryAfterSeconds: 1,
      })
    }
    if (!this.#pace.admits(session)) {
      this.#share.giveBack(seat.agent)
      throw new Refusal('SP_OVERLOADED', 'calls come too fast', {
        status: 429,
        retryAfterSeconds: 1,
      })
    }
    if (seat.taken++ === 0) this.#seats.set(session, seat)
    return seat
  }

  #leave(seat: Seat): void {
    this.#share.giveBack(seat.agent)
    if (--seat.taken === 0 && this.#seats.size > MAX_SEATS) this.#seats.delete(seat.session)
  }

  async #refuse(
    req: EdgeRequest,
    res: EdgeResponse,
    caller: Caller | undefined,
    refusal: Refusal,
    system: string,
  ): Promise<void> {
    const { pipeline, stats } = this.#parts
    let decision = refusal.decision ?? ''
    if (caller && decision === '') {
      try {
        decision = await pipeline.refuseUntyped(caller, refusal, system)
      } catch (error) {
        this.#tell(req, res, toRefusal(error), '', system)
        return
      }
    } else if (!caller) {
      stats.refused++
      // Not who they say they are, or not any more: the log has what the certificate says.
      decision = pipeline.refuseStranger(peerOf(req.socket)?.id.uri, refusal)
    }
    // A body that nobody read is not waited for; of HTTP/2, the stream alone ends.
    if (!req.complete && req.httpVersion === '1.1') res.shouldKeepAlive = false
    this.#tell(req, res, refusal, decision, system)
  }

  /** In the words of the protocol that the caller speaks. */
  #tell(
    req: EdgeRequest,
    res: EdgeResponse,
    refusal: Refusal,
    decision: string,
    system: string,
  ): void {
    if (res instanceof H2Response && speaksGrpc(req)) {
      sendGrpcRefusal(res, refusal, decision)
      return
    }
    const { standing } = this.#parts
    const dialect = standing.lastKnown?.decider.index.findSystem(system)?.llm?.dialect
    if (dialect === undefined) sendProblem(res, refusal, decision)
    else sendVendorError(res, dialect, refusal, decision)
  }
}

/** Who calls by a connection, as long as it lasts. Whether their certificate still counts is no such thing. */
const callers = new WeakMap<EdgeRequest['socket'], Caller>()

function factsOf(socket: EdgeRequest['socket']): Pick<Caller, 'group' | 'source'> {
  // Every socket with a verified peer is one of TLS.
  const { group } = tlsFacts(socket as TLSSocket)
  const source = realAddress(sourceOf(socket))
  return { ...(group === undefined ? {} : { group }), ...(source === undefined ? {} : { source }) }
}
