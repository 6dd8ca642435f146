import { setTimeout as sleep } from 'node:timers/promises'
import type { JsonValue } from '@sallyport/base'
import type { System } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import type { UpstreamRequest } from '../calls/types.ts'
import { EventReader } from '../edge/sse.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import { parseUpstream, unusable, upstreamRefusal } from './exchange.ts'
import type { Exchange, UpstreamAnswer } from './exchange.ts'
import type { Aside, McpAsk, McpAsker, McpCall, McpLink } from './mcp.ts'
import { Patience, tooLate } from './patience.ts'

type Message = { readonly [key: string]: JsonValue }

const ACCEPT = 'application/json, text/event-stream'
const EVENTS = 'text/event-stream'
/** A stream that broke off is taken up again so often, after so long at most. */
const MAX_RESUMED = 16
const MAX_RETRY_MS = 30_000
const RETRY_MS = 1000
/** How long a stream may go on after it gave its answer. */
const LINGER_MS = 1000
/** Events of one call, or of one stream that is of none, that say nothing we asked for. */
const MAX_ASIDE = 10_000

/** What a stream came to. */
interface Read {
  readonly message: Message | undefined
  /** The last event's, by which it could be taken up. */
  readonly lastId: string | undefined
  readonly retryMs: number | undefined
}

/** What one call may cost, over all the streams that its answer comes by. */
interface Limits {
  readonly spent: { bytes: number; asides: number }
  readonly patience: Patience
}

/** Streamable HTTP (MCP 2025-11-25, basic/transports). */
export class McpHttp implements McpLink {
  readonly #exchange: Exchange
  readonly #settings: GatewaySettings
  #id: string | undefined
  #version: string | undefined
  /** Once it ended: on whose behalf the server is told, if it is told. */
  #ended: { readonly by: McpAsker | undefined } | undefined

  constructor(exchange: Exchange, settings: GatewaySettings) {
    this.#exchange = exchange
    this.#settings = settings
  }

  agree(version: string): void {
    this.#version = version
  }

  async request(call: McpCall, id: string): Promise<Message | undefined> {
    let answer = await this.#post(call, call.request, call.repeatable)
    if (answer.status === 404 && this.#id !== undefined) {
      answer.body.destroy()
      return undefined
    }
    if (id === 'init') {
      this.#id = answer.mcpSession
      // Only now is there a session of the server's to be ended.
      if (this.#ended) {
        answer.body.destroy()
        this.#tell(this.#ended.by)
        throw unusable('nobody waits for it')
      }
    }
    const limits: Limits = {
      spent: { bytes: 0, asides: 0 },
      patience: new Patience(this.#settings, call.isWaiting),
    }
    for (let resumed = 0; ; resumed++) {
      if (answer.status !== 200) {
        answer.body.destroy()
        throw upstreamRefusal(answer)
      }
      if (answer.contentType !== EVENTS) {
        return answerTo(await this.#exchange.json(answer), id)
      }
      const { message, lastId, retryMs } = await this.#events(answer, call, { ...limits, id })
      if (message) return answerTo(message, id)
      // It closed the stream to be asked again for the rest (MCP 2025-11-25, SEP-1699).
      if (lastId === undefined || resumed >= MAX_RESUMED) throw unusable('its stream has no answer')
      await sleep(Math.min(retryMs ?? RETRY_MS, MAX_RETRY_MS), undefined, { signal: call.signal })
      try {
        answer = await this.#get(call, lastId)
      } catch (cause) {
        // The request itself went out: whatever stopped this one must not be told as something that was never sent.
        throw unusable('its stream could not be taken up again', cause)
      }
    }
  }

  async send(ask: McpAsk, message: Message): Promise<void> {
    const request = {
      method: 'POST',
      path: mcpPath(ask.system),
      body: Buffer.from(JSON.stringify(message)),
    }
    const answer = await this.#post(ask, request, false)
    answer.body.destroy()
    if (answer.status > 299) throw upstreamRefusal(answer)
  }

  async listen(ask: McpAsk, aside: Aside, heard: () => void): Promise<void> {
    let lastId: string | undefined
    for (let resumed = 0; resumed <= MAX_RESUMED && !ask.signal.aborted; resumed++) {
      const answer = await this.#get(ask, lastId)
      if (answer.status !== 200 || answer.contentType !== EVENTS) {
        answer.body.destroy()
        return
      }
      heard()
      const read = await this.#events(answer, { aside, signal: ask.signal })
      lastId = read.lastId ?? lastId
      await sleep(Math.min(read.retryMs ?? RETRY_MS, MAX_RETRY_MS), undefined, {
        signal: ask.signal,
        ref: false,
      })
    }
  }

  end(by: McpAsker | undefined): void {
    this.#ended ??= { by }
    this.#tell(by)
  }

  #tell(by: McpAsker | undefined): void {
    if (!by || this.#id === undefined) return
    const request = { method: 'DELETE', path: mcpPath(by.system), body: undefined }
    const own = { ...by, signal: AbortSignal.timeout(this.#settings.upstreamTimeoutMs) }
    this.#post(own, request, true)
      .then(({ body }) => body.destroy())
      // It is over for us in any case.
      .catch(() => undefined)
  }

  #post(ask: McpAsk, request: UpstreamRequest, repeatable: boolean): Promise<UpstreamAnswer> {
    return this.#exchange.send({
      ...ask,
      request,
      repeatable,
      accept: ACCEPT,
      headers: this.#headers(),
      idleMs: this.#settings.maxStreamMs,
    })
  }

  #get(ask: McpAsk, lastId: string | undefined): Promise<UpstreamAnswer> {
    return this.#exchange.send({
      ...ask,
      request: { method: 'GET', path: mcpPath(ask.system), body: undefined },
      repeatable: true,
      accept: EVENTS,
      headers: { ...this.#headers(), ...(lastId === undefined ? {} : { 'last-event-id': lastId }) },
      idleMs: this.#settings.maxStreamMs,
    })
  }

  #headers(): Record<string, string> {
    return {
      ...(this.#version === undefined ? {} : { 'mcp-protocol-version': this.#version }),
      ...(this.#id === undefined ? {} : { 'mcp-session-id': this.#id }),
    }
  }

  /**
   * Reads a stream to the response of a call, or to its end; whatever else comes is given to `aside`, and no more is read before that
   * was handled.
   */
  async #events(
    answer: UpstreamAnswer,
    { aside, signal }: Pick<McpCall, 'aside' | 'signal'>,
    call?: Limits & { readonly id: string },
  ): Promise<Read> {
    const { maxResponseBytes, maxEventBytes } = this.#settings
    const reader = new EventReader(call === undefined ? maxEventBytes : maxResponseBytes)
    const { body } = answer
    const spent = call?.spent ?? { bytes: 0, asides: 0 }
    call?.patience.start(() => {
      body.destroy(new Error('the answer took too long'))
    })
    const give = (): void => {
      body.destroy()
    }
    signal.addEventListener('abort', give)
    const read = (message?: Message): Read => ({
      message,
      lastId: reader.lastId,
      retryMs: reader.retryMs,
    })
    try {
      for (;;) {
        const bytes = (await body.next()).value
        if (bytes === undefined) return read()
        spent.bytes += bytes.length
        if (call && spent.bytes > maxResponseBytes) throw unusable('it is too large')
        for (const data of reader.push(bytes)) {
          if (data === '') continue
          const message = parseUpstream(data)
          if (!isObject(message)) throw unusable('it is no JSON-RPC message')
          if (call && message['id'] === call.id && message['method'] === undefined) {
            void linger(answer)
            return read(message)
          }
          if (++spent.asides > MAX_ASIDE) throw unusable('it says too much')
          call?.patience.refresh()
          await aside(message)
        }
      }
    } catch (error) {
      body.destroy()
      if (error instanceof Refusal) throw error
      // That is no stream that broke off: asked again, it would only take as long again.
      if (call?.patience.isOver) throw tooLate()
      // A stream that broke off can be taken up where it said how.
      if (reader.lastId !== undefined && !signal.aborted && !(error instanceof RangeError)) {
        return read()
      }
      throw unusable('its stream broke off', error)
    } finally {
      call?.patience.stop()
      signal.removeEventListener('abort', give)
    }
  }
}

/** Lets a stream that has given its answer end by itself, so that its connection can be used again. */
async function linger({ body }: UpstreamAnswer): Promise<void> {
  const timer = setTimeout(() => {
    body.destroy()
  }, LINGER_MS).unref()
  try {
    while ((await body.next()).done !== true);
  } catch {
    // Given up, or broken off: the answer was had.
  } finally {
    clearTimeout(timer)
  }
}

function answerTo(message: JsonValue | undefined, id: string): Message {
  if (!isObject(message) || message['jsonrpc'] !== '2.0' || message['id'] !== id) {
    throw unusable('it is not the answer to the request')
  }
  return message
}

/** An external server's URL is its endpoint; a service of the network serves MCP where the gateway does. */
export function mcpPath({ upstream }: System): string {
  return upstream.kind === 'external' ? new URL(upstream.url).pathname : '/mcp'
}
