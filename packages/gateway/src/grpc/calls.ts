import type { System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { H2Request, H2Response } from '../edge/h2-message.ts'
import { Places } from '../edge/places.ts'
import { denied } from '../refusal.ts'
import type { BareContext, RequestContext } from '../serve/context.ts'
import type { EventStreams } from '../serve/events.ts'
import { callFailed } from '../serve/failed.ts'
import { noOperation } from '../serve/http.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Enforced } from '../state/bundles.ts'
import type { Stats } from '../stats.ts'
import { addressed } from '../upstream/call-tokens.ts'
import { unusable } from '../upstream/exchange.ts'
import { malformed, readHead } from './head.ts'
import { LastingCalls } from './lasting.ts'
import type { More } from './lasting.ts'
import { messagesOf, releaseMessage, typeMessage } from './messages.ts'
import { methodsOf, strange } from './methods.ts'
import type { Method } from './methods.ts'
import { GrpcReply } from './reply.ts'
import { Sent } from './sending.ts'
import type { GrpcAnswer, GrpcUpstream } from './upstream.ts'

export interface GrpcParts {
  readonly pipeline: Pipeline
  readonly upstream: GrpcUpstream
  readonly streams: EventStreams
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
}

/** Calls to systems that speak gRPC: `/package.Service/Method`. */
export class GrpcCalls {
  readonly #parts: GrpcParts
  readonly #lasting: LastingCalls
  readonly #senders: Places

  constructor(parts: GrpcParts) {
    this.#parts = parts
    this.#lasting = new LastingCalls(parts)
    const { maxSending, maxSendingPerInstance } = parts.settings
    this.#senders = new Places(maxSending, maxSendingPerInstance)
  }

  /**
   * Whose method a path names. Where several systems have it, the caller says which (`sallyport-system`).
   *
   * @returns undefined where no system has it, or none of the name given
   */
  systemOf({ request }: BareContext, enforced: Enforced): System | undefined {
    const methods = methodsOf(enforced).get(pathOf(request.target.segments)) ?? []
    const name = request.headers.all.get('sallyport-system')
    const named =
      name === undefined ? methods : methods.filter(({ system }) => system.name === name)
    return named.length === 1 ? named[0]?.system : undefined
  }

  /**
   * @param admits whether the caller may make another call now, by its pace: each message behind the first is one
   * @throws Refusal for whatever stops the call before an answer began
   */
  async serve(
    context: RequestContext,
    system: System | undefined,
    admits: () => boolean,
  ): Promise<void> {
    const { enforced, request, res } = context
    if (!(res instanceof H2Response)) throw malformed('it did not come over HTTP/2')
    const waits = readHead(request)
    const path = pathOf(request.target.segments)
    const method = methodsOf(enforced)
      .get(path)
      ?.find((one) => one.system === system)
    if (!method) throw noOperation(strange(enforced, path))
    if (!method.binding.clientStreams) {
      await this.#call(context, res, method, await this.#only(context), waits)
      return
    }
    const leave = this.#senders.enter(context.caller.session)
    try {
      const messages = messagesOf(context.req, this.#parts.settings.maxBodyBytes)
      const sent = new Sent(this.#parts.settings, admits)
      // What is asked for is decided on what the first message says: without one there is nothing to decide.
      const { done, value: first } = await messages.next()
      if (done === true) throw malformed('it has no message')
      sent.count(first)
      await this.#call(context, res, method, first, waits, { messages, sent, leave })
    } finally {
      leave()
    }
  }

  /** @param more what its caller sends behind its first message, where it may */
  async #call(
    context: RequestContext,
    res: H2Response,
    method: Method,
    message: Buffer,
    waits: number | undefined,
    more?: More,
  ): Promise<void> {
    const { pipeline, upstream, settings, tokeniser } = this.#parts
    const { caller, enforced, request, req } = context
    const { binding } = method
    const typed = typeMessage(context, method, tokeniser, message)
    const grant = await pipeline.authorise(enforced, caller, typed, request.headers)
    const lasts = more !== undefined || binding.serverStreams
    if (more && req instanceof H2Request) req.takesItsTime = true
    const most = lasts ? settings.maxStreamMs : settings.upstreamTimeoutMs
    let answer: GrpcAnswer | undefined
    try {
      answer = await upstream.start({
        ...addressed(grant),
        timeoutMs: Math.min(most, waits ?? most),
        maxMessageBytes: binding.serverStreams ? settings.maxEventBytes : settings.maxResponseBytes,
        signal: context.signal,
        goesOn: more !== undefined,
      })
      if (lasts) await this.#lasting.serve({ context, res, grant, method, answer, more })
      else await this.#answer(res, grant, method, answer)
    } catch (error) {
      throw callFailed(this.#parts, grant, error, context.signal, answer)
    }
  }

  /** The one message of a call. */
  async #only({ req }: RequestContext): Promise<Buffer> {
    let only: Buffer | undefined
    for await (const message of messagesOf(req, this.#parts.settings.maxBodyBytes)) {
      if (only) throw malformed('it has several messages')
      only = message
    }
    if (!only) throw malformed('it has no message')
    return only
  }

  async #answer(res: H2Response, grant: Grant, method: Method, answer: GrpcAnswer): Promise<void> {
    const { pipeline } = this.#parts
    const messages: Buffer[] = []
    for (;;) {
      const more = await answer.next()
      if (!more) break
      messages.push(...more)
      if (messages.length > 1) throw unusable('it has several messages')
    }
    const [message] = messages
    if (!message) throw unusable('it has no message')
    const { released, bytes } = await releaseMessage(pipeline, grant, method, message)
    if (res.destroyed) {
      const nothing = { bytesOut: 0, released: {}, forwarded: true }
      pipeline.finish(grant, { ...nothing, status: 200, result: 'aborted' })
      return
    }
    // Recorded first: what has left is never without a record of it.
    const end = { status: 200, released, bytesOut: bytes.length, forwarded: true }
    pipeline.finish(grant, { ...end, result: 'completed' })
    const reply = new GrpcReply(res, grant.id, () => denied(grant.outcome))
    reply.write(bytes)
    reply.end()
  }
}

const pathOf = (segments: readonly string[]): string => `/${segments.join('/')}`
