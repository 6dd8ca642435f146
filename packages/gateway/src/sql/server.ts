import { randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { SallyportError } from '@sallyport/base'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { createMtlsServer, tlsFacts } from '@sallyport/transport'
import type { IdentityHolder, MtlsServer, RefusedFacts } from '@sallyport/transport'
import type { Caller } from '../calls/types.ts'
import type { Address } from '../edge/listener.ts'
import { Pace } from '../edge/pace.ts'
import { directSource } from '../edge/source.ts'
import { toRefusal } from '../refusal.ts'
import { ClientWire, protocolError } from './client.ts'
import { SqlRefusal } from './refuse.ts'
import { Session } from './session.ts'
import type { SessionParts } from './session.ts'
import { quoteName, quoteText } from './text/names.ts'
import { beginningOf, isCancel, readCancel, readStart, wantedSettings } from './start.ts'
import { toldRefusal } from './told.ts'
import type { Link } from './upstream/link.ts'
import type { Databases } from './upstream/pool.ts'
import { int32, message } from './wire/frames.ts'
import * as wire from './wire/messages.ts'

export interface SqlServerParts extends Omit<SessionParts, 'pace'> {
  readonly identity: IdentityHolder
  readonly databases: Databases
  readonly onConnected: (svid: VerifiedSvid) => void
  readonly onRefused: (facts: RefusedFacts) => void
  /** Whether an address is one of a declared balancer. */
  readonly isBalancer: (address: string | undefined) => boolean
}

const MAX_START_BYTES = 10_000
const MAX_MESSAGE_BYTES = 1024 * 1024

interface Open {
  readonly session: Session
  readonly link: Link
  readonly secret: Buffer
}

/** Where agents that speak PostgreSQL come in: TLS by request or from the first byte, an SVID on both sides, then the protocol. */
export class SqlServer {
  readonly #parts: SqlServerParts
  readonly #pace: Pace
  readonly #tcp: Server
  /** Clients that asked for TLS in PostgreSQL's own way, and need not name a protocol again. */
  readonly #asked: MtlsServer
  readonly #direct: MtlsServer
  readonly #raw = new Set<Socket>()
  #isDraining = false
  readonly #sessions = new Map<number, Open>()
  readonly #svids = new Map<TLSSocket, VerifiedSvid>()

  constructor(parts: SqlServerParts) {
    this.#parts = parts
    const { settings, clock } = parts
    this.#pace = new Pace(settings.maxCallsPerSecond, settings.maxCallBurst, clock)
    this.#asked = this.#tls(true)
    this.#direct = this.#tls(false)
    this.#tcp = createServer({ noDelay: true }, (socket) => {
      this.#accept(socket)
    })
    this.#tcp.maxConnections = settings.maxConnections
  }

  get connections(): number {
    return this.#sessions.size
  }

  /** @param shared with other gateways of this machine, on the same port */
  listen(at: Address, shared: boolean): Promise<Address> {
    return new Promise((resolve, reject) => {
      this.#tcp.once('error', (cause) => {
        reject(
          new SallyportError('SP_LISTEN_FAILED', 'the server cannot listen', {
            cause,
            detail: cause.message,
          }),
        )
      })
      this.#tcp.listen({ ...at, reusePort: shared }, () => {
        const address = this.#tcp.address()
        if (typeof address === 'string' || !address)
          throw new TypeError('a TCP server has a TCP address')
        resolve({ host: address.address, port: address.port })
      })
    })
  }

  /** Cuts every session of an instance, or of every instance below a subject, and what runs for it. @returns how many */
  cut(subject: string): number {
    this.#parts.databases.cut(subject)
    return this.#asked.sockets.cut(subject) + this.#direct.sockets.cut(subject)
  }

  /** Cuts the sessions that were opened with these certificates, or under these roots, on either side. @returns how many callers */
  cutPeers(serials: readonly string[], roots: readonly string[]): number {
    this.#parts.databases.cutPeers(serials, roots)
    const cut = [...this.#svids].filter(
      ([, { serial, root }]) => serials.includes(serial) || roots.includes(root),
    )
    for (const [socket] of cut) socket.destroy()
    return cut.length
  }

  /** Takes no new connections; sessions that are open go on until `close`. */
  drain(): void {
    this.#isDraining = true
    this.#tcp.close()
  }

  async close(): Promise<void> {
    this.#tcp.close()
    for (const socket of this.#raw) socket.destroy()
    await Promise.all([this.#asked.close(), this.#direct.close()])
  }

  #tls(implied: boolean): MtlsServer {
    const { identity, settings, clock, standing, onRefused } = this.#parts
    const server = createMtlsServer({
      ...{ identity, clock, onRefused, alpn: ['postgresql'], alpnImplied: implied },
      handshakeTimeoutMs: settings.handshakeTimeoutMs,
      accept: (peer) => {
        const open = [this.#asked, this.#direct].reduce(
          (sum, { sockets }) => sum + sockets.of(peer.id.uri).length,
          0,
        )
        if (open >= settings.maxConnectionsPerInstance)
          return 'the instance has too many connections'
        return standing.admits(peer)
      },
      onConnection: (socket, peer) => {
        // A handshake may end after the drain began.
        if (peer && !this.#isDraining) void this.#serve(socket, peer)
        else socket.destroy()
      },
    })
    return server
  }

  /** Reads how a client begins, and nothing after it: what came unprotected together with a request for TLS is nobody's. */
  #accept(socket: Socket): void {
    this.#raw.add(socket)
    socket.once('close', () => this.#raw.delete(socket))
    socket.on('error', () => undefined)
    const timer = setTimeout(() => socket.destroy(), this.#parts.settings.handshakeTimeoutMs)
    const handOver = (to: MtlsServer): void => {
      clearTimeout(timer)
      socket.removeListener('readable', onReadable)
      to.take(socket)
    }
    const onReadable = (): void => {
      // The shortest beginning there is, of a handshake too. Typed as anything by Node; in this mode it is a buffer.
      const request = socket.read(8) as Buffer | null
      if (request === null) return
      if (request.length < 8) {
        socket.destroy()
        return
      }
      const beginning = beginningOf(request, socket.readableLength > 0)
      if (beginning === 'handshake') {
        socket.unshift(request)
        handOver(this.#direct)
        return
      }
      if (beginning === 'none') {
        clearTimeout(timer)
        const { remoteAddress } = socket
        this.#parts.onRefused({
          ...{ code: 'SP_SQL_PROTOCOL', reason: 'the connection does not begin with TLS' },
          ...(remoteAddress === undefined ? {} : { remoteAddress }),
        })
        socket.end(
          toldRefusal(
            new SqlRefusal(
              'SP_SQL_SIGN_IN',
              'sessions are encrypted: use sslmode=verify-ca and a client certificate',
              '28000',
            ),
          ),
        )
        return
      }
      socket.write(beginning === 'ssl' ? 'S' : 'N')
      if (beginning === 'ssl') handOver(this.#asked)
    }
    socket.on('readable', onReadable)
  }

  async #serve(socket: TLSSocket, svid: VerifiedSvid): Promise<void> {
    const { settings, onConnected } = this.#parts
    this.#svids.set(socket, svid)
    socket.once('close', () => this.#svids.delete(socket))
    onConnected(svid)
    const client = new ClientWire(socket, MAX_MESSAGE_BYTES, MAX_START_BYTES)
    const late = setTimeout(() => socket.destroy(), settings.headersTimeoutMs)
    try {
      const first = await client.first()
      clearTimeout(late)
      if (!first) return
      if (isCancel(first)) await this.#cancel(first, svid)
      else await this.#session(client, first, svid)
    } catch (error) {
      const refusal = toRefusal(
        error instanceof RangeError ? protocolError('a message is not one') : error,
      )
      client.write(toldRefusal(refusal))
    } finally {
      clearTimeout(late)
      client.end()
      setTimeout(() => socket.destroy(), 1000).unref()
    }
  }

  async #session(client: ClientWire, first: Buffer, svid: VerifiedSvid): Promise<void> {
    const { databases, standing, pipeline } = this.#parts
    const caller = this.#caller(svid, client.socket)
    let link: Link | undefined
    let clean = false
    let id: number | undefined
    let stop = (): void => undefined
    try {
      const { settings, newest } = readStart(first)
      const { decider } = standing.enforced(false)
      const system = decider.index.findSystem(
        settings.get('database') ?? settings.get('user') ?? '',
      )
      const reachable = decider.index.network.flows.some(
        ({ from, to }) => from === caller.agent && to === system?.name,
      )
      // A token of a person has no way into this protocol.
      if (!system?.postgres || !reachable || system.onBehalfOf !== undefined) {
        throw new SqlRefusal('SP_SQL_SIGN_IN', 'there is no such database for this agent', '3D000')
      }
      if (settings.get('user') !== caller.agent) {
        throw new SqlRefusal(
          'SP_SQL_SIGN_IN',
          'the user is not the agent of the certificate',
          '28000',
        )
      }
      const wanted = wantedSettings(settings, system.postgres.statementTimeoutMs)
      link = await databases.borrow(caller, system, system.postgres)
      await adjust(link, wanted)
      clean = true
      const session = new Session(
        { ...this.#parts, pace: this.#pace },
        caller,
        system,
        client,
        link,
      )
      const secret = randomBytes(4)
      do id = randomInt(1, 2 ** 31 - 1)
      while (this.#sessions.has(id))
      this.#sessions.set(id, { session, link, secret })
      link.onParameter = (name, value) => {
        client.write(wire.parameterStatus(name, value))
      }
      const database = link
      stop = () => client.socket.destroy()
      database.socket.once('close', stop)
      client.socket.once('close', () => {
        // What still runs for somebody who went away is ended with its session.
        if (session.busy) database.destroy()
      })
      client.write(
        ...newest,
        message('R', int32(0)),
        ...statuses(link, caller.agent),
        message('K', int32(id), secret),
        wire.ready('I'),
      )
      await session.serve()
      clean &&= session.clean
    } catch (error) {
      clean = false
      const refusal = toRefusal(error)
      refusal.decision ??= await pipeline.refuseUntyped(caller, refusal, '?')
      throw refusal
    } finally {
      if (id !== undefined) this.#sessions.delete(id)
      if (link) {
        link.socket.removeListener('close', stop)
        await databases.giveBack(link, clean)
      }
    }
  }

  /** Stops what a session runs: asked for with its key, by the very instance that it belongs to. */
  async #cancel(body: Buffer, svid: VerifiedSvid): Promise<void> {
    const key = readCancel(body)
    const open = key && this.#sessions.get(key.session)
    if (!open || !timingSafeEqual(open.secret, key.secret)) return
    const { session, link } = open
    if (session.caller.instance !== svid.id.uri || !session.busy) return
    await this.#parts.databases.cancel(link, session.system)
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

/**
 * Sets what a client asked for at its start, in one round trip.
 *
 * @throws SqlRefusal where the database does not take one of them: the session would not be the one that was asked for
 */
async function adjust(link: Link, wanted: ReadonlyMap<string, string>): Promise<void> {
  if (wanted.size === 0) return
  link.send(
    ...[...wanted].map(([name, value]) =>
      wire.query(`SET ${quoteName(name)} = ${quoteText(value)}`),
    ),
  )
  for (const name of wanted.keys()) {
    const { type } = await link.until('E', 'Z')
    if (type === 'Z') continue
    throw new SqlRefusal('SP_SQL_SIGN_IN', `\`${name}\` cannot be set to this`, '22023')
  }
}

function statuses(link: Link, agent: string): Buffer[] {
  return [...link.parameters].map(([name, value]) =>
    wire.parameterStatus(name, name === 'session_authorization' ? agent : value),
  )
}
