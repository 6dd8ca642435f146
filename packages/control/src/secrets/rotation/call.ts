import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

export interface ProviderCall {
  readonly method: string
  /** Absolute. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** PEM of the only CA accepted; absent means the platform’s roots. */
  readonly ca?: string
}

const TIMEOUT_MS = 15_000
const MAX_ANSWER = 262_144

/**
 * One call of a provider’s API; a redirect is not followed. What it says goes into no error: it may hold a key.
 *
 * @returns the JSON of a 2xx answer, null where it is empty
 * @throws ProviderError with the status, where there was an answer
 */
export function callProvider(call: ProviderCall): Promise<JsonValue> {
  const { promise, resolve, reject } = Promise.withResolvers<JsonValue>()
  const url = new URL(call.url)
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest
  const req = send(
    url,
    {
      method: call.method,
      headers: {
        accept: 'application/json',
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...call.headers,
      },
      ...(call.ca === undefined ? {} : { ca: call.ca }),
      agent: false,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    },
    (res) => {
      const chunks: Buffer[] = []
      let size = 0
      res.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > MAX_ANSWER) res.destroy(new Error('the answer is too large'))
        else chunks.push(chunk)
      })
      res.on('error', () => reject(failed(url, 'the answer broke off')))
      res.on('end', () => {
        const status = res.statusCode ?? 0
        if (status < 200 || status > 299) {
          reject(failed(url, `status ${status}`, status))
          return
        }
        try {
          resolve(size === 0 ? null : parseJson(Buffer.concat(chunks)))
        } catch {
          reject(failed(url, 'the answer is no JSON'))
        }
      })
    },
  )
  req.on('error', (error) =>
    reject(failed(url, 'code' in error ? String(error.code) : 'no answer')),
  )
  req.end(call.body)
  return promise
}

/** A call of a provider that did not do what it should. */
export class ProviderError extends SallyportError {
  /** Of its answer; 0 where there was none. */
  readonly status: number

  constructor(url: URL, detail: string, status: number) {
    super('SP_ROTATION_PROVIDER', `\`${url.host}\` did not do what was asked`, {
      detail,
      fix: 'see whether it is in reach, and whether the administrator’s key is still good; it is tried again',
    })
    this.status = status
  }
}

const failed = (url: URL, detail: string, status = 0): ProviderError =>
  new ProviderError(url, detail, status)

/** The text at a JSON pointer (RFC 6901); a number as its digits. */
export function textAt(value: JsonValue, pointer: string): string | undefined {
  const found = at(value, pointer)
  return typeof found === 'string' ? found : typeof found === 'number' ? String(found) : undefined
}

/** The list at a JSON pointer; empty where there is none. */
export function listAt(value: JsonValue, pointer: string): readonly JsonValue[] {
  const found = at(value, pointer)
  // Array.isArray does not narrow readonly arrays.
  return Array.isArray(found) ? (found as readonly JsonValue[]) : []
}

function at(value: JsonValue, pointer: string): JsonValue | undefined {
  let found: JsonValue | undefined = value
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined
    // An own member of a JSON object or array.
    found = (found as Readonly<Record<string, JsonValue>>)[key]
  }
  return found
}
