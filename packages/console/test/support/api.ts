/** A control plane in memory: the operator API over real HTTP with generated data, for development and browser tests. */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import type { AuthenticationResponseJSON, RegistrationResponseJSON } from '@simplewebauthn/browser'
import type { Network } from '../../src/api/network-types.ts'
import type { DecisionRecord } from '../../src/api/types.ts'
import { MERIDIAN } from './declaration.ts'
import { Passkeys } from './passkeys.ts'
import { World } from './world.ts'
import type { Result } from './world.ts'

/** Byte for byte the policy that the control plane sends. */
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'none'"
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

type Method = 'passkey' | 'totp' | 'oidc'

interface Session {
  readonly operator: string | null
  readonly csrf: string
  readonly method: Method
}

interface Sent {
  readonly id: number
  readonly type: string
  readonly data: unknown
}

export interface FixtureOptions {
  readonly network?: Network
  readonly decisions?: number
  readonly port?: number
  /** The built console. */
  readonly root?: string
}

interface Hold {
  /** Resolves when the first answer waits. */
  readonly asked: Promise<void>
  readonly letGo: () => void
}

export class Fixture {
  readonly world: World
  readonly passkeys: Passkeys
  /** One-time links not used yet → operator. */
  readonly links: Map<string, string> = new Map([['first-link', 'olivia']])
  /** `Last-Event-ID` of every stream that was opened. */
  readonly resumed: (string | undefined)[] = []
  /** Names of identity providers. */
  providers: readonly string[] = []
  /** Answer to new event streams with an error. */
  refuseStreams = false
  readonly #server: Server
  readonly #root: string
  readonly #sessions = new Map<string, Session>()
  readonly #held = new Map<string, { readonly opened: Promise<void>; readonly asked: () => void }>()
  readonly #streams = new Set<ServerResponse>()
  readonly #sent: Sent[] = []

  constructor(options: FixtureOptions = {}) {
    this.#root = options.root ?? join(import.meta.dirname, '../../dist')
    this.world = new World(options.network ?? MERIDIAN, options.decisions ?? 400)
    this.passkeys = new Passkeys(() => this.origin)
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        response.statusCode = 500
        response.end(JSON.stringify({ code: 'SP_INTERNAL', detail: String(error) }))
      })
    })
  }

  async start(port: number = 0): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.listen(port, '127.0.0.1', resolve)
    await promise
  }

  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    this.#server.closeAllConnections()
    await promise
  }

  /** Passkeys belong to `localhost`, never to an address. */
  get origin(): string {
    // A listening TCP server's address is an AddressInfo.
    return `http://localhost:${(this.#server.address() as AddressInfo).port}`
  }

  /** The cookie of a new session, for tests that are about something else. */
  session(operator: string, method: Method = 'passkey'): string {
    const id = randomBytes(24).toString('base64url')
    this.#sessions.set(id, { operator, csrf: randomBytes(16).toString('base64url'), method })
    return id
  }

  publish(type: string, data: unknown): void {
    const event = { id: this.#sent.length + 1, type, data }
    this.#sent.push(event)
    for (const stream of this.#streams) write(stream, event)
  }

  /** Records a decision and tells whoever listens. */
  decide(record: DecisionRecord): void {
    this.world.records.push(record)
    this.publish('decision', record)
  }

  /** Answers at a path are made but not sent, and streams not opened, until they are let go. */
  hold(path: string): Hold {
    const opened = Promise.withResolvers<void>()
    const asked = Promise.withResolvers<void>()
    const held = { opened: opened.promise, asked: asked.resolve }
    this.#held.set(path, held)
    return {
      asked: asked.promise,
      letGo: () => {
        if (this.#held.get(path) === held) this.#held.delete(path)
        opened.resolve()
      },
    }
  }

  async #whileHeld(path: string): Promise<void> {
    const held = this.#held.get(path)
    held?.asked()
    await held?.opened
  }

  /** Cuts every live stream, as a network fault would. */
  cutStreams(): void {
    for (const stream of this.#streams) stream.destroy()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.origin)
    response.setHeader('content-security-policy', CSP)
    response.setHeader('x-content-type-options', 'nosniff')
    if (!url.pathname.startsWith('/api/')) {
      await this.#file(url.pathname, response)
      return
    }
    const cookie = /(?:^|; )sp_session=([\w-]+)/.exec(request.headers.cookie ?? '')?.[1] ?? ''
    const session = this.#sessions.get(cookie)
    if (url.pathname === '/api/events') {
      if (!session?.operator) send(response, { status: 401, body: { code: 'SP_API_SESSION' } })
      else {
        await this.#whileHeld('/events')
        this.#stream(request, response)
      }
      return
    }
    const body: unknown = request.method === 'POST' ? JSON.parse(await text(request)) : undefined
    const csrf = request.headers['x-sallyport-csrf']
    if (request.method === 'POST' && session && csrf !== session.csrf) {
      send(response, {
        status: 403,
        body: { code: 'SP_API_CSRF', detail: 'the CSRF token is missing' },
      })
      return
    }
    const path = url.pathname.slice('/api'.length)
    const auth = this.#auth(path, body, cookie, session, response)
    if (auth) {
      send(response, auth)
      return
    }
    if (!session?.operator) {
      send(response, { status: 401, body: { code: 'SP_API_SESSION', detail: 'sign in first' } })
      return
    }
    const { operator, method } = session
    const result = this.world.answer(
      { path, query: url.searchParams, body, operator, method },
      {
        options: (statement) => this.passkeys.request(statement),
        // What the page posts under `response` is what the browser's WebAuthn call gave it.
        signer: (given, statement) =>
          this.passkeys.authenticate(given as AuthenticationResponseJSON, statement),
      },
    )
    // Copied before it is held: what happens meanwhile is not in it.
    const made = structuredClone(result)
    await this.#whileHeld(path)
    send(response, made)
    for (const [type, data] of this.world.takeEvents()) this.publish(type, data)
  }

  #auth(
    path: string,
    body: unknown,
    cookie: string,
    session: Session | undefined,
    response: ServerResponse,
  ): Result | undefined {
    const member = (name: string): unknown =>
      typeof body === 'object' && body !== null ? Reflect.get(body, name) : undefined
    const signIn = (operator: string, method: Method): Result => {
      const id = this.session(operator, method)
      response.setHeader('set-cookie', `sp_session=${id}; Path=/; HttpOnly; SameSite=Strict`)
      return { status: 200, body: { active: true } }
    }
    const refused: Result = {
      status: 401,
      body: { code: 'SP_API_LOGIN', detail: 'that did not prove who you are' },
    }
    switch (path) {
      case '/session': {
        const found = this.world.network.operators.find(({ name }) => name === session?.operator)
        return {
          status: 200,
          body: {
            operator: found ?? null,
            csrf: session?.csrf ?? '',
            bootstrap: this.passkeys.keys.size === 0 && this.links.size > 0,
            ...(session && { method: session.method }),
            ...this.world.glassOf(session?.operator ?? null),
          },
        }
      }
      case '/auth/register/options': {
        const operator = this.links.get(String(member('link')))
        if (operator === undefined) {
          return {
            status: 403,
            body: { code: 'SP_LINK_INVALID', detail: 'the link is used up, expired or unknown' },
          }
        }
        return { status: 200, body: this.passkeys.creation(operator) }
      }
      case '/auth/register/verify': {
        const link = String(member('link'))
        const operator = this.links.get(link)
        // As above: what the browser's WebAuthn call gave.
        const given = member('response') as RegistrationResponseJSON
        if (operator === undefined || !this.passkeys.register(operator, given)) return refused
        this.links.delete(link)
        return signIn(operator, 'passkey')
      }
      case '/auth/login/options':
        return { status: 200, body: this.passkeys.request() }
      case '/auth/login/verify': {
        const operator = this.passkeys.authenticate(
          member('response') as AuthenticationResponseJSON,
        )
        return operator === undefined ? refused : signIn(operator, 'passkey')
      }
      case '/auth/totp':
        return member('code') === '123456' && member('operator') === 'olivia'
          ? signIn('olivia', 'totp')
          : refused
      case '/auth/oidc':
        return { status: 200, body: this.providers.map((name) => ({ name })) }
      case '/auth/oidc/begin':
        return {
          status: 200,
          body: { url: `${this.origin}/signed-in?code=c&state=s`, key: 'key-of-this-window' },
        }
      case '/auth/oidc/finish':
        return member('key') === 'key-of-this-window' && member('search') === '?code=c&state=s'
          ? signIn('viktor', 'oidc')
          : {
              status: 401,
              body: { code: 'SP_IDP_REFUSED', detail: 'the sign-in was not accepted' },
            }
      case '/auth/logout':
        this.#sessions.delete(cookie)
        return { status: 200, body: {} }
      default:
        return undefined
    }
  }

  #stream(request: IncomingMessage, response: ServerResponse): void {
    const last = request.headers['last-event-id']
    this.resumed.push(typeof last === 'string' ? last : undefined)
    if (this.refuseStreams) {
      send(response, { status: 503, body: { code: 'SP_STORE_UNAVAILABLE' } })
      return
    }
    response.setHeader('content-type', 'text/event-stream')
    response.write('retry: 700\n\n')
    for (const event of last === undefined ? [] : this.#sent.slice(Number(last))) {
      write(response, event)
    }
    this.#streams.add(response)
    response.on('close', () => this.#streams.delete(response))
  }

  async #file(pathname: string, response: ServerResponse): Promise<void> {
    const name = extname(pathname) === '' ? '/index.html' : pathname
    if (!/^(?:\/[\w-][\w.-]*)+$/.test(name)) {
      response.statusCode = 404
      response.end()
      return
    }
    try {
      const content = await readFile(join(this.#root, name))
      response.setHeader('content-type', TYPES[extname(name)] ?? 'application/octet-stream')
      response.end(content)
    } catch {
      response.statusCode = 404
      response.end()
    }
  }
}

async function text(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request) body += String(chunk)
  return body
}

function send(response: ServerResponse, { status, body }: Result): void {
  response.statusCode = status
  response.setHeader('content-type', status < 400 ? 'application/json' : 'application/problem+json')
  response.end(JSON.stringify(body))
}

function write(stream: ServerResponse, { id, type, data }: Sent): void {
  stream.write(`id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`)
}
