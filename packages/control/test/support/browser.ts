import { request } from 'node:http'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { request as secureRequest } from 'node:https'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** Parsed where it is JSON. */
  readonly body: Record<string, unknown> & { readonly [index: number]: unknown }
}

export interface Ask {
  readonly method?: string
  readonly path: string
  readonly body?: unknown
  readonly raw?: string
  /** undefined removes one that would be sent. */
  readonly headers?: Readonly<Record<string, string | undefined>>
}

export interface TcpTarget {
  readonly host: string
  readonly port: number
  /** For an `https` origin: the CA to trust. */
  readonly ca?: string
}

/** Real HTTP as a browser on the console's page sends it: cookie, `Origin`, CSRF header. */
export class Browser {
  readonly origin: string
  readonly #target: TcpTarget | { readonly socketPath: string }
  cookie: string | undefined
  csrf = ''
  userAgent: string | undefined

  constructor(origin: string, target: TcpTarget | { readonly socketPath: string }) {
    this.origin = origin
    this.#target = target
  }

  async get(path: string, headers: Ask['headers'] = {}): Promise<Answer> {
    return this.ask({ path, headers })
  }

  async post(path: string, body: unknown = {}, headers: Ask['headers'] = {}): Promise<Answer> {
    return this.ask({ method: 'POST', path, body, headers })
  }

  async ask(ask: Ask): Promise<Answer> {
    const response = await this.open(ask)
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString()
    const json = (response.headers['content-type'] ?? '').includes('json')
    // Tests look at the members they expect.
    const body = (json ? JSON.parse(text) : {}) as Answer['body']
    if (typeof body['csrf'] === 'string') this.csrf = body['csrf']
    const [cookie] = response.headers['set-cookie'] ?? []
    if (cookie !== undefined)
      this.cookie = cookie.split(';')[0]?.replace(/^[\w-]+=$/, '') || undefined
    return { status: response.statusCode ?? 0, headers: response.headers, text, body }
  }

  /** The answer as it comes, for streams. */
  open(ask: Ask): Promise<IncomingMessage> {
    const changing = ask.method !== undefined && ask.method !== 'GET'
    const wanted: Record<string, string | undefined> = {
      host: new URL(this.origin).host,
      'sec-fetch-site': 'same-origin',
      cookie: this.cookie,
      'user-agent': this.userAgent,
      ...(changing
        ? { origin: this.origin, 'content-type': 'application/json', 'x-sallyport-csrf': this.csrf }
        : {}),
      ...ask.headers,
    }
    const headers = Object.fromEntries(
      Object.entries(wanted).filter((entry): entry is [string, string] => entry[1] !== undefined),
    )
    return new Promise((resolve, reject) => {
      const { hostname, protocol } = new URL(this.origin)
      const options = {
        ...this.#target,
        method: ask.method ?? 'GET',
        path: ask.path,
        headers,
        agent: false,
      }
      const secure = protocol === 'https:' && !('socketPath' in this.#target)
      const sent = secure
        ? secureRequest({ ...options, servername: hostname }, resolve)
        : request(options, resolve)
      sent.once('error', reject)
      if (ask.raw !== undefined) sent.end(ask.raw)
      else sent.end(changing ? JSON.stringify(ask.body) : undefined)
    })
  }
}
