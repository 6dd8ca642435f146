import { request } from 'node:http'
import type { Peer, TestPlane } from './network.ts'
import { ORIGIN } from './signer.ts'

export const ISSUER: string = ORIGIN
/** The URI of the declared system `core`. */
export const CORE = 'https://gateway.bank.test/core'
export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'

export type Fetch = (input: string | URL, init?: object) => Promise<Response>

/** What clients of OAuth take for `fetch`: the issuer's URLs, over the peer's own connection to the plane. */
export function fetchAs(peer: Peer, issuer: string = ISSUER): Fetch {
  return async (input, init) => {
    const asked = new Request(input, init)
    const url = new URL(asked.url)
    if (url.origin !== issuer) throw new Error(`asked of a stranger: ${asked.url}`)
    const socket = await peer.connect()
    const { promise, resolve, reject } = Promise.withResolvers<Response>()
    const sent = request(
      {
        createConnection: () => socket,
        method: asked.method,
        path: url.pathname + url.search,
        headers: { host: 'plane', ...Object.fromEntries(asked.headers) },
      },
      (res) => {
        const chunks: Buffer[] = []
        res.on('data', (chunk: Buffer) => chunks.push(chunk))
        res.on('end', () => {
          socket.destroy()
          const body = Buffer.concat(chunks)
          const headers = new Headers()
          for (let i = 0; i + 1 < res.rawHeaders.length; i += 2) {
            headers.append(res.rawHeaders[i] ?? '', res.rawHeaders[i + 1] ?? '')
          }
          const status = res.statusCode ?? 0
          resolve(new Response(body.length > 0 ? body : null, { status, headers }))
        })
      },
    )
    sent.on('error', reject)
    sent.end(Buffer.from(await asked.arrayBuffer()))
    return promise
  }
}

export interface TokenAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  readonly headers: Headers
}

/** Posts a form as a peer, or as one who is nobody. */
export async function post(
  peer: Peer,
  path: string,
  form: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> {
  const answer = await fetchAs(peer)(`${ISSUER}${path}`, {
    method: 'POST',
    body: new URLSearchParams(form),
    headers,
  })
  const text = await answer.text()
  return {
    status: answer.status,
    headers: answer.headers,
    body: (text === '' ? {} : JSON.parse(text)) as TokenAnswer['body'],
  }
}

/** A token by client credentials for `core`. */
export async function tokenOf(
  peer: Peer,
  more: Readonly<Record<string, string>> = {},
): Promise<string> {
  const answer = await post(peer, '/oauth2/token', {
    grant_type: 'client_credentials',
    resource: CORE,
    ...more,
  })
  if (answer.status !== 200) throw new Error(JSON.stringify(answer.body))
  return String(answer.body['access_token'])
}

export function claimsIn(token: string): Readonly<Record<string, unknown>> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Readonly<
    Record<string, unknown>
  >
}

export type { Peer, TestPlane }
