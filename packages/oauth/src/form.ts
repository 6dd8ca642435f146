import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { errors } from 'oidc-provider'

const MAX_BODY = 32_768
/** What oidc-provider may see of a request's headers; of everything else it would have to be known what it makes of it. */
const PASSED = ['accept', 'authorization', 'cookie', 'dpop', 'origin', 'user-agent']

/** @throws InvalidRequest where the body is no form, or too large */
export async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const type = request.headers['content-type'] ?? ''
  if (!/^application\/x-www-form-urlencoded(?:; ?charset=utf-8)?$/i.test(type)) {
    throw new errors.InvalidRequest('the body is not a form')
  }
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    // No encoding is set, so chunks are buffers.
    const bytes = chunk as Buffer
    size += bytes.length
    if (size > MAX_BODY)
      throw new errors.InvalidRequest(`the body is larger than ${MAX_BODY} bytes`)
    chunks.push(bytes)
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'))
}

/**
 * The request as oidc-provider gets it: the form as it was judged here, addressed to the issuer whatever the connection, with
 * no header that says who is asking.
 */
export function rewritten(
  request: IncomingMessage,
  issuer: URL,
  url: string,
  form?: URLSearchParams,
): IncomingMessage {
  // Nothing is read from it: how the caller is connected must not show in the URLs that are made.
  const inner = new IncomingMessage(new Socket())
  inner.method = request.method
  inner.url = url
  inner.httpVersion = '1.1'
  for (const name of PASSED) {
    const value = request.headers[name]
    if (value !== undefined) inner.headers[name] = value
  }
  inner.headers.host = issuer.host
  inner.headers['x-forwarded-host'] = issuer.host
  inner.headers['x-forwarded-proto'] = issuer.protocol.slice(0, -1)
  if (form) {
    const body = Buffer.from(form.toString())
    inner.headers['content-type'] = 'application/x-www-form-urlencoded'
    inner.headers['content-length'] = String(body.length)
    inner.push(body)
  }
  inner.push(null)
  inner.complete = true
  return inner
}
