import { MalformedWire } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import type { Caller, TypedCall } from '../calls/types.ts'
import type { EdgeRequest } from '../edge/message.ts'
import { typedInput } from '../serve/typed.ts'
import type { Enforced } from '../state/bundles.ts'
import { unusable } from '../upstream/exchange.ts'
import { Frames } from './frames.ts'
import { compressed, malformed, unreadable } from './head.ts'
import type { Method } from './methods.ts'
import { readMessage } from './read.ts'
import { writeMessage } from './write.ts'

/**
 * The messages of a caller, one after another, as they come.
 *
 * @param maxBytes of one message
 * @throws Refusal `SP_GRPC_MESSAGE`, `SP_GRPC_REQUEST`, `SP_GRPC_UNIMPLEMENTED`, `SP_REQUEST_BODY`
 */
export async function* messagesOf(req: EdgeRequest, maxBytes: number): AsyncGenerator<Buffer> {
  const frames = new Frames(maxBytes, (fault) =>
    fault === 'compressed'
      ? compressed()
      : fault === 'size'
        ? unreadable(`it is larger than ${maxBytes} bytes`, 413)
        : unreadable(fault === 'truncated' ? 'it is not whole' : 'its frame has unknown flags'),
  )
  for await (const chunk of req) {
    // Without an encoding set, a request yields buffers.
    yield* frames.push(chunk as Buffer)
  }
  frames.end()
  if (req.rawTrailers.length > 0) throw malformed('it has trailers')
}

/** What a message asks for. @throws Refusal `SP_GRPC_MESSAGE`; SallyportError `SP_INPUT_*`, `SP_TOKEN_*` */
export function typeMessage(
  { enforced, caller }: { readonly enforced: Enforced; readonly caller: Caller },
  { system, operation, binding, types }: Method,
  tokeniser: Tokeniser,
  message: Buffer,
): TypedCall {
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

type Released = Awaited<ReturnType<Pipeline['answers']['release']>>['released']

/** What of an answer's message may leave, with its labels durable. @throws Refusal `SP_UPSTREAM_RESPONSE`; as `Answers.release` */
export async function releaseMessage(
  { answers }: Pipeline,
  grant: Pick<Grant, 'id' | 'caller' | 'enforced' | 'outcome' | 'typed'>,
  { binding, types }: Method,
  message: Buffer,
): Promise<{ readonly released: Released; readonly bytes: Buffer }> {
  let value: ReturnType<typeof readMessage>
  try {
    value = readMessage(types, binding.response, message, 'answer')
  } catch (error) {
    if (!(error instanceof MalformedWire)) throw error
    throw unusable(error.message, error)
  }
  const { value: shown, released } = await answers.release(grant, value)
  return { released, bytes: writeMessage(types, binding.response, shown) }
}
