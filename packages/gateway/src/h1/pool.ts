import type { TLSSocket } from 'node:tls'
import type { Connector } from '@sallyport/transport'
import type { AnswerHandler, Connections, SentRequest } from '../upstream/connections.ts'
import { Call, ClientConnection } from './client.ts'
import { Fault } from './fault.ts'
import type { HeadBounds } from './head.ts'

const SWEEP_MS = 250

export interface LeanPoolOptions {
  /** What requests say in `Host`. */
  readonly host: string
  readonly connector: Connector
  /** At most, at once. */
  readonly connections: number
  readonly bounds: HeadBounds
}

/** Keep-alive connections to one server, with our own codec on them. */
export class LeanPool implements Connections {
  readonly #options: LeanPoolOptions
  readonly #open = new Set<ClientConnection>()
  /** The one that was used last is used first: the others may end. */
  readonly #free: ClientConnection[] = []
  readonly #waiting: Call[] = []
  #connecting = 0
  #timer: NodeJS.Timeout | undefined
  #whenEmpty: (() => void)[] = []
  closed = false
  destroyed = false

  constructor(options: LeanPoolOptions) {
    this.#options = options
  }

  dispatch(request: SentRequest, handler: AnswerHandler): void {
    const call = new Call(request, handler)
    if (this.closed || this.destroyed) {
      call.fail(new Fault('given-up'))
      return
    }
    this.#waiting.push(call)
    this.#pump()
  }

  withdraw(handler: AnswerHandler): void {
    const at = this.#waiting.findIndex((call) => call.handler === handler)
    if (at < 0) return
    this.#waiting.splice(at, 1)
    this.#settle()
  }

  /** Lets what is in flight or waits end. */
  close(): Promise<void> {
    this.closed = true
    return this.#emptied()
  }

  destroy(): Promise<void> {
    this.closed = true
    this.destroyed = true
    const reason = new Fault('given-up')
    for (const call of this.#waiting.splice(0)) call.fail(reason)
    for (const connection of this.#open) connection.destroy(reason)
    return this.#emptied()
  }

  #emptied(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenEmpty.push(resolve)
      this.#settle()
    })
  }

  #pump(): void {
    while (this.#waiting.length > 0) {
      const connection = this.#free.pop()
      if (!connection) break
      // There is one.
      const call = this.#waiting.shift()
      if (call) connection.start(call)
    }
    const { connections } = this.#options
    while (
      this.#connecting < this.#waiting.length &&
      this.#open.size + this.#connecting < connections
    ) {
      this.#connect()
    }
  }

  #connect(): void {
    this.#connecting++
    const incoming = new Incoming()
    const connected: Parameters<Connector>[1] = (error, socket) => {
      this.#connecting--
      if (error) this.#waiting.shift()?.fail(error)
      else if (incoming.isEarly) {
        socket.destroy()
        this.#waiting.shift()?.fail(new Fault('unasked'))
      } else this.#connected(socket, incoming)
      this.#pump()
      this.#settle()
    }
    this.#options.connector({}, connected, incoming)
  }

  #connected(socket: TLSSocket, incoming: Incoming): void {
    const { host, bounds } = this.#options
    const connection = new ClientConnection(socket, host, bounds, {
      free: (one) => {
        this.#free.push(one)
        this.#pump()
        this.#settle()
      },
      gone: (one) => {
        this.#open.delete(one)
        const at = this.#free.indexOf(one)
        if (at >= 0) this.#free.splice(at, 1)
        this.#pump()
        this.#settle()
      },
    })
    this.#open.add(connection)
    incoming.connection = connection
    this.#timer ??= setInterval(() => {
      const now = performance.now()
      for (const one of this.#open) one.check(now)
    }, SWEEP_MS).unref()
    if (this.destroyed || socket.destroyed) connection.destroy(new Fault('closed'))
    else this.#free.push(connection)
  }

  /** Connections that nobody will use again end, and with the last of them whoever waits for that. */
  #settle(): void {
    if (this.closed && this.#waiting.length === 0) {
      for (const connection of this.#free.splice(0)) connection.destroy(new Fault('given-up'))
    }
    if (this.#open.size === 0 && this.#connecting === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      if (this.closed) for (const resolve of this.#whenEmpty.splice(0)) resolve()
    }
  }
}

/** What comes on a connection, read into one buffer and copied from there: else Node makes room of its own for each piece. */
class Incoming {
  /** A record of TLS. */
  readonly buffer: Buffer = Buffer.allocUnsafeSlow(16_384)
  connection: ClientConnection | undefined
  /** Something came before anybody could have asked. */
  isEarly = false

  readonly callback = (size: number): boolean => {
    if (this.connection) {
      const bytes = Buffer.allocUnsafe(size)
      this.buffer.copy(bytes, 0, 0, size)
      this.connection.take(bytes)
    } else this.isEarly = true
    return true
  }
}
