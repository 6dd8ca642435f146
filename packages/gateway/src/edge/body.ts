import { IncomingMessage } from 'node:http'
import { parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { Refusal } from '../refusal.ts'
import type { CanonicalRequest } from './canonical.ts'
import type { EdgeRequest } from './message.ts'

/** How deep request JSON may nest. */
export const MAX_DEPTH = 32
export const JSON_TYPE: RegExp = /^application\/json(?:\s*;\s*charset="?utf-8"?)?$/

/**
 * Reads a request's JSON body, whole and bounded; undefined where there is none.
 *
 * @param maxBytes bytes beyond which it is refused, whatever `Content-Length` said
 * @throws Refusal `SP_REQUEST_BODY`, `SP_REQUEST_TOO_LARGE`; SallyportError `SP_JSON_*`
 */
export async function readJsonBody(
  req: EdgeRequest,
  request: CanonicalRequest,
  maxBytes: number,
): Promise<JsonValue | undefined> {
  if (!request.hasBody) return undefined
  if (!JSON_TYPE.test(request.headers.contentType ?? '')) {
    throw new Refusal('SP_REQUEST_BODY', 'the request body is not `application/json`', {
      status: 415,
      close: true,
    })
  }
  const bytes = await readBytes(req, request, maxBytes)
  if (bytes.length === 0) return undefined
  return parseJson(bytes, { maxBytes, maxDepth: MAX_DEPTH, exactDecimals: true })
}

/**
 * Reads a request's body, whole and bounded.
 *
 * @param maxBytes bytes beyond which it is refused, whatever `Content-Length` said
 * @param take is called with the length of each piece before it is kept; what it throws ends the reading
 * @throws Refusal `SP_REQUEST_TOO_LARGE`, `SP_REQUEST_HEADER`
 */
export async function readBytes(
  req: EdgeRequest,
  request: CanonicalRequest,
  maxBytes: number,
  take: (bytes: number) => void = () => undefined,
): Promise<Buffer> {
  const { contentLength = 0 } = request.headers
  if (contentLength > maxBytes) throw tooLarge(maxBytes)
  // A short one came with its head, and is here once whoever reads that goes on.
  await Promise.resolve()
  if (isHere(req, contentLength)) {
    take(contentLength)
    return await wholeOf(req)
  }
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of req) {
    // Without an encoding set, a request yields buffers.
    const bytes = chunk as Buffer
    size += bytes.length
    if (size > maxBytes) throw tooLarge(maxBytes)
    take(bytes.length)
    chunks.push(bytes)
  }
  if (req.rawTrailers.length > 0) {
    throw new Refusal('SP_REQUEST_HEADER', 'trailers are not accepted', {
      status: 400,
      close: true,
    })
  }
  return Buffer.concat(chunks)
}

/**
 * Whether all of a body is here whose length is stated. Trailers are for those that come in chunks. Of a caller who has gone
 * it may be here too, and neither its end nor that it closes is told any more.
 */
const isHere = (req: EdgeRequest, length: number): req is IncomingMessage =>
  req instanceof IncomingMessage && length > 0 && req.readableLength === length && !req.destroyed

/** All of a body that is here, at its end: without the machinery that waits for more. */
function wholeOf(req: IncomingMessage): Promise<Buffer> {
  // Nobody reads it yet: it hands out all it holds, and without an encoding set, as a buffer.
  const whole = req.read() as Buffer
  return new Promise((resolve, reject) => {
    const gone = (): void => {
      reject(new Error('the caller has gone'))
    }
    req.once('close', gone)
    req.once('end', () => {
      // It closes after each.
      req.removeListener('close', gone)
      resolve(whole)
    })
    req.resume()
  })
}

const tooLarge = (maxBytes: number): Refusal =>
  new Refusal('SP_REQUEST_TOO_LARGE', `the request body is larger than ${maxBytes} bytes`, {
    status: 413,
    close: true,
  })
