import { request } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { TLSSocket } from 'node:tls'

export interface Heard {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** As it came over the wire. */
  readonly text: string
}

/** One HTTP request on a socket, answered as it is: no client of ours reads anything into it. */
export function say(
  socket: TLSSocket,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Heard> {
  const { promise, resolve, reject } = Promise.withResolvers<Heard>()
  const text =
    body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
  const sent = request(
    {
      ...{ method, path, createConnection: () => socket },
      headers: {
        host: 'gateway.invalid',
        connection: 'keep-alive',
        ...(text === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
        ...headers,
      },
    },
    (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('error', reject)
      answer.on('end', () => {
        resolve({
          status: answer.statusCode ?? 0,
          headers: answer.headers,
          text: Buffer.concat(chunks).toString(),
        })
      })
    },
  )
  sent.on('error', reject)
  sent.end(text)
  return promise
}
