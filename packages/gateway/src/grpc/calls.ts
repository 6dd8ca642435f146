import type { GrpcBinding, Operation, System } from '@sallyport/network'
import { MalformedWire } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { sumReleased } from '../calls/released.ts'
import type { TypedCall } from '../calls/types.ts'
import { H2Response } from '../edge/h2-message.ts'
import { drained } from '../edge/message.ts'
import { plain } from '../inventory/plain.ts'
import { denied, Refusal, toRefusal } from '../refusal.ts'
import type { BareContext, RequestContext } from '../serve/context.ts'
import type { AnswerStream, EventStreams } from '../serve/events.ts'
import { callFailed } from '../serve/failed.ts'
import { noOperation } from '../serve/http.ts'
import { typedInput } from '../serve/typed.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Enforced } from '../state/bundles.ts'
import type { Stats } from '../stats.ts'
import { unusable } from '../upstream/exchange.ts'
import { Frames } from './frames.ts'
import { compressed, malformed, readHead, unimplemented, unreadable } from './head.ts'
import { readMessage } from './read.ts'
import { GrpcReply } from './reply.ts'
import type { GrpcAnswer, GrpcUpstream } from './upstream.ts'
import { writeMessage } from './write.ts'

export interface GrpcParts {
  readonly pipeline: Pipeline
  readonly upstream: GrpcUpstream
  readonly streams: EventStreams
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
}

/** A method of a system, with what its messages are read by. */
interface Method {
  readonly system: System
  readonly operation: Operation
  readonly binding: GrpcBinding
  readonly types: NonNullable<System['grpc']>
}

/** Calls to systems that speak gRPC: `/package.Service/Method`. */
export class GrpcCalls {
  readonly #parts: GrpcParts

  constructor(parts: GrpcParts) {
    this.#parts = parts
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

  /** @throws Refusal for whatever stops the call before an answer began */
  async serve(context: RequestContext, system: System | undefined): Promise<void> {
    const { pipeline, upstream, settings } = this.#parts
    const { caller, enforced, request, res } = context
    if (!(res instanceof H2Response)) throw malformed('it did not come over HTTP/2')
    const waits = readHead(request)
    const path = pathOf(request.target.segments)
    const method = methodsOf(enforced)
      .get(path)
      ?.find((one) => one.system === system)
    if (!method) throw noOperation(strange(enforced, path))
    const { binding, operation } = method
    if (binding.clientStreams) throw unimplemented('calls of several messages are not accepted')
    const typed = await this.#type(context, method)
    const grant = await pipeline.authorise(enforced, caller, typed, request.headers)
    const most = binding.serverStreams ? settings.maxStreamMs : settings.upstreamTimeoutMs
    let answer: GrpcAnswer | undefined
    try {
      answer = await upstream.start({
        caller: caller.instance,
        delegation: grant.call,
        system: method.system,
        decision: grant.id,
        operation: `${method.system.name}.${operation.name}`,
        request: grant.upstream,
        timeoutMs: Math.min(most, waits ?? most),
        maxMessageBytes: binding.serverStreams ? settings.maxEventBytes : settings.maxResponseBytes,
        signal: context.signal,
      })
      if (binding.serverStreams) await this.#stream(context, res, grant, method, answer)
      else await this.#answer(res, grant, method, answer)
    } catch (error) {
      throw callFailed(this.#parts, grant, error, context.signal, answer)
    }
  }

  async #type(context: RequestContext, method: Method): Promise<TypedCall> {
    const { caller, enforced } = context
    const { system, operation, binding, types } = method
    const message = await this.#message(context)
    const { tokeniser } = this.#parts
    const input = typedInput(enforced, caller.agent, system, operation, tokeniser, () => {
      try {
        return readMessage(types, binding.request, message, 'request')
      } catch (error) {
        if (!(error instanceof MalformedWire)) throw error
        throw unreadable(error.message)
      }
    })
    // Made of typed input alone, so that the system reads just what was authorised.
    const body = writeMessage(types, binding.request, input)
    return {
      ...{ system, operation, input },
      upstream: () => ({ method: 'POST', path: binding.path, body }),
    }
  }

  /** The one message of a call. */
  async #message({ req }: RequestContext): Promise<Buffer> {
    const { maxBodyBytes } = this.#parts.settings
    const frames = new Frames(maxBodyBytes, (fault) =>
      fault === 'compressed'
        ? compressed()
        : fault === 'size'
          ? unreadable(`it is larger than ${maxBodyBytes} bytes`, 413)
          : unreadable(fault === 'truncated' ? 'it is not whole' : 'its frame has unknown flags'),
    )
    const messages: Buffer[] = []
    for await (const chunk of req) {
      // Without an encoding set, a request yields buffers.
      messages.push(...frames.push(chunk as Buffer))
      if (messages.length > 1) throw malformed('it has several messages')
    }
    frames.end()
    if (req.rawTrailers.length > 0) throw malformed('it has trailers')
    const [message] = messages
    if (!message) throw malformed('it has no message')
    return message
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
    const { released, bytes } = await this.#release(grant, method, message)
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

  async #stream(
    context: RequestContext,
    res: H2Response,
    grant: Grant,
    method: Method,
    answer: GrpcAnswer,
  ): Promise<void> {
    let failure: Refusal | undefined
    let open: AnswerStream | undefined
    const reply = new GrpcReply(res, grant.id, () => failure ?? cutBy(open?.cutBy))
    const pump = async (stream: AnswerStream): Promise<void> => {
      open = stream
      try {
        await this.#pump(stream, reply, method, answer)
      } catch (error) {
        failure = stream.cutBy === undefined ? toRefusal(error) : cutBy(stream.cutBy)
        throw error
      }
    }
    await this.#parts.streams.follow({ ...context, res: reply }, grant, answer, pump, {
      isFixed: false,
    })
  }

  async #pump(
    stream: AnswerStream,
    reply: GrpcReply,
    method: Method,
    answer: GrpcAnswer,
  ): Promise<void> {
    const { settings } = this.#parts
    for (let more = await answer.next(); more; more = await answer.next()) {
      for (const message of more) {
        const { enforced, outcome, grant } = stream
        const shown = await this.#release({ ...grant, enforced, outcome }, method, message)
        if (stream.cutBy !== undefined || reply.destroyed) return
        stream.released = sumReleased(stream.released, shown.released)
        stream.bytesOut += shown.bytes.length
        if (reply.write(shown.bytes)) continue
        const patience = AbortSignal.timeout(settings.requestTimeoutMs)
        await drained(reply, AbortSignal.any([stream.gone.signal, patience]))
      }
    }
  }

  /** What of a message may leave, with its labels durable. */
  async #release(
    grant: Parameters<Pipeline['answers']['release']>[0],
    { binding, types }: Method,
    message: Buffer,
  ): Promise<{ readonly released: Released; readonly bytes: Buffer }> {
    const { pipeline } = this.#parts
    const value = decoded(types, binding.response, message)
    const { value: shown, released } = await pipeline.answers.release(grant, value)
    return { released, bytes: writeMessage(types, binding.response, shown) }
  }
}

type Released = Awaited<ReturnType<Pipeline['answers']['release']>>['released']

function decoded(
  types: Method['types'],
  name: string,
  message: Buffer,
): ReturnType<typeof readMessage> {
  try {
    return readMessage(types, name, message, 'answer')
  } catch (error) {
    if (!(error instanceof MalformedWire)) throw error
    throw unusable(error.message, error)
  }
}

/** What the caller of a stream is told where it was cut. */
function cutBy(code: string | undefined): Refusal {
  const ended = code === 'SP_STREAM_ENDED' || code === 'SP_GATEWAY_CLOSING'
  return new Refusal(code ?? 'SP_UPSTREAM_FAILED', 'the stream was cut', {
    status: ended ? 503 : code === 'SP_SVID_EXPIRED' ? 401 : 403,
  })
}

const pathOf = (segments: readonly string[]): string => `/${segments.join('/')}`

/** What nobody declared, for the inventory: a method of a service that is known, or a service that is not. */
function strange(enforced: Enforced, path: string): Parameters<typeof noOperation>[0] {
  const service = path.slice(0, path.lastIndexOf('/') + 1)
  const known = [...methodsOf(enforced)].find(([own]) => own.startsWith(service))
  const system = known?.[1][0]?.system.name
  return system === undefined
    ? { kind: 'destination', name: plain.tool(service.slice(1, -1)) }
    : { kind: 'operation', system, name: plain.tool(path.slice(1)) }
}

const known = new WeakMap<Enforced['decider'], ReadonlyMap<string, readonly Method[]>>()

/** Path → methods, of every system that is enforced. */
function methodsOf({ decider }: Enforced): ReadonlyMap<string, readonly Method[]> {
  let methods = known.get(decider)
  if (!methods) {
    const all = decider.index.network.systems.flatMap((system) =>
      system.operations.flatMap((operation): Method[] => {
        const { binding } = operation
        const { grpc: types } = system
        return binding.kind === 'grpc' && types ? [{ system, operation, binding, types }] : []
      }),
    )
    methods = Map.groupBy(all, ({ binding }) => binding.path)
    known.set(decider, methods)
  }
  return methods
}
