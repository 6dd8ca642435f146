import type { Readable } from 'node:stream'
import { errors } from 'undici'
import type { Client, Dispatcher } from 'undici'
import type {
  AnswerControl,
  AnswerHandler,
  AnswerHeaders,
  Connections,
  SentRequest,
} from './connections.ts'

/**
 * Connections of undici's, one request at a time on each. undici has a pool of its own, which asks all of them at each request whether
 * they are free, and again as each ends, because any of them could have several under way.
 */
export class ClientPool implements Connections {
  readonly #open: () => Client
  readonly #most: number
  /** Each with one connection, which it makes anew whenever that ended. */
  readonly #clients: Client[] = []
  /** The one that was used last is used first: the connections of the others may end. */
  readonly #free: Client[] = []
  readonly #waiting: Sent[] = []
  #whenSent: (() => void)[] = []
  closed = false
  destroyed = false

  /** @param most connections, at once */
  constructor(open: () => Client, most: number) {
    this.#open = open
    this.#most = most
  }

  dispatch(request: SentRequest, handler: AnswerHandler): void {
    if (this.destroyed) handler.onResponseError(NOTHING_SENT, new errors.ClientDestroyedError())
    else if (this.closed) handler.onResponseError(NOTHING_SENT, new errors.ClientClosedError())
    else {
      this.#waiting.push(new Sent(request, handler, this.#over))
      this.#pump()
    }
  }

  withdraw(handler: AnswerHandler): void {
    const at = this.#waiting.findIndex((sent) => sent.isFor(handler))
    if (at < 0) return
    this.#waiting.splice(at, 1)
    this.#settle()
  }

  /** Lets what is in flight or waits end. */
  async close(): Promise<void> {
    this.closed = true
    if (this.#waiting.length > 0) {
      await new Promise<void>((resolve) => {
        this.#whenSent.push(resolve)
      })
    }
    await Promise.all(this.#clients.map((client) => client.close()))
  }

  async destroy(): Promise<void> {
    this.closed = true
    this.destroyed = true
    const reason = new errors.ClientDestroyedError()
    for (const sent of this.#waiting.splice(0)) sent.onResponseError(NOTHING_SENT, reason)
    this.#settle()
    await Promise.all(this.#clients.map((client) => client.destroy(reason)))
  }

  readonly #pump = (): void => {
    while (this.#waiting.length > 0) {
      const client = this.#free.pop() ?? this.#another()
      if (!client) break
      this.#waiting.shift()?.on(client)
    }
    this.#settle()
  }

  #another(): Client | undefined {
    if (this.#clients.length >= this.#most) return undefined
    const client = this.#open()
    this.#clients.push(client)
    return client
  }

  readonly #over = (client: Client): void => {
    this.#free.push(client)
    // A client takes nothing while it tells what failed, and looks at what came behind an answer before it sends anything more.
    if (this.#waiting.length > 0) setImmediate(this.#pump)
  }

  #settle(): void {
    if (this.#whenSent.length === 0 || this.#waiting.length > 0) return
    for (const resolve of this.#whenSent.splice(0)) resolve()
  }
}

/** It takes the length of what it cannot measure from the header, and ends a connection on which it was no truth. */
function forUndici(request: SentRequest): Dispatcher.DispatchOptions {
  const { body } = request
  // Nearly every request goes as it is.
  if (body === null || body instanceof Uint8Array) return request as WholeRequest
  const headers = { ...request.headers, 'content-length': String(body.size) }
  // undici takes whatever can be iterated; its types name streams alone.
  return { ...request, headers, body: body as unknown as Readable }
}

type WholeRequest = SentRequest & { readonly body: Buffer | null }

const NOTHING_SENT: AnswerControl = {
  abort: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
}

/** A request, from when it is asked for to the end of its answer. */
class Sent implements AnswerHandler {
  readonly #request: SentRequest
  readonly #handler: AnswerHandler
  readonly #over: (client: Client) => void
  #client: Client | undefined

  /** @param over is called once, as soon as the client can take the next request */
  constructor(request: SentRequest, handler: AnswerHandler, over: (client: Client) => void) {
    this.#request = request
    this.#handler = handler
    this.#over = over
  }

  isFor(handler: AnswerHandler): boolean {
    return this.#handler === handler
  }

  on(client: Client): void {
    this.#client = client
    client.dispatch(forUndici(this.#request), this)
  }

  onRequestStart(control: AnswerControl): void {
    this.#handler.onRequestStart(control)
  }

  onResponseStart(control: AnswerControl, status: number, headers: AnswerHeaders): void {
    this.#handler.onResponseStart(control, status, headers)
  }

  onResponseData(control: AnswerControl, chunk: Buffer): void {
    this.#handler.onResponseData(control, chunk)
  }

  onResponseEnd(control: AnswerControl): void {
    this.#end()
    this.#handler.onResponseEnd(control)
  }

  onResponseError(control: AnswerControl, error: Error): void {
    this.#end()
    this.#handler.onResponseError(control, error)
  }

  #end(): void {
    const client = this.#client
    this.#client = undefined
    if (client) this.#over(client)
  }
}
