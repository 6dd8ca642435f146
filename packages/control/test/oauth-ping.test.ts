import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import type { Server, ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { errorCode, SallyportError } from '@sallyport/base'
import type { BackchannelPing } from '@sallyport/network'
import pg from 'pg'
import { startEmbeddedPostgres } from '../src/index.ts'
import type { EmbeddedPostgres } from '../src/index.ts'
import { createPings } from '../src/oauth/ping.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'
import { claimsIn, CORE, post } from './support/oauth.ts'
import type { Signer } from './support/signer.ts'
import { WebCa } from './support/tls.ts'

const CIBA = 'urn:openid:params:grant-type:ciba'
const TOKEN = 'a-bearer-token-that-only-we-two-know'

interface Heard {
  readonly method: string | undefined
  readonly path: string | undefined
  readonly authorization: string | undefined
  readonly type: string | undefined
  readonly body: string
}

/** An agent's endpoint: real TLS, answers what it is told to. */
class Listener {
  readonly heard: Heard[] = []
  answers: (readonly [number, Readonly<Record<string, string>>?])[] = []
  silent = false
  readonly #server: Server

  constructor(options: ServerOptions) {
    this.#server = createServer(options, (req, res) => {
      const chunks: Buffer[] = []
      req.on('data', (chunk: Buffer) => chunks.push(chunk))
      req.on('end', () => {
        const { method, url: path, headers } = req
        const { authorization, 'content-type': type } = headers
        this.heard.push({
          method,
          path,
          authorization,
          type,
          body: Buffer.concat(chunks).toString(),
        })
        this.#server.emit('heard')
        if (this.silent) return
        const [status, more = {}] = this.answers.shift() ?? [204]
        res.writeHead(status, more).end()
      })
    })
    this.#server.on('tlsClientError', () => undefined)
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    // Listening on TCP, so the address is an object.
    return `https://localhost:${(this.#server.address() as AddressInfo).port}`
  }

  async next(): Promise<Heard> {
    if (this.heard.length === 0) await once(this.#server, 'heard')
    const first = this.heard.shift()
    assert.ok(first)
    return first
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }
}

const ca = new WebCa()
const keyed = (authority: WebCa, dns = 'localhost'): ServerOptions => {
  const leaf = authority.leaf({ name: dns, dns: [dns] })
  return { cert: leaf.pem + authority.issuer.pem, key: leaf.keyPem }
}
let dir: string
let database: EmbeddedPostgres
let plane: TestPlane
let alice: Signer
let session: string
let flagger: Peer
let analyst: Peer
let listener: Listener
let elsewhere: Listener
let origin: string
let other: string

before(async () => {
  listener = new Listener(keyed(ca))
  elsewhere = new Listener(keyed(ca))
  origin = await listener.listen()
  other = await elsewhere.listen()
  const small = declarationWith()
  const agents = small.network.agents.map((agent) =>
    agent.name === 'flagger'
      ? { ...agent, backchannelPing: { url: `${origin}/ciba/told`, ca: ca.root.pem } }
      : agent,
  )
  const settings = { ...small.network.settings, svidTtlSeconds: 86_400 }
  const flows = [
    ...small.network.flows,
    { id: 'analyst', from: 'analyst', to: 'core', operations: ['hold'], purpose: 'test' },
  ]
  dir = mkdtempSync(join(tmpdir(), 'sp-ping-'))
  database = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  plane = await TestPlane.start(declarationWith({ agents, settings, flows }), {
    databaseUrl: database.url,
  })
  alice = await plane.firstOperator('alice')
  const { credentialId } = alice
  const seen = { userAgent: 'test', address: '127.0.0.1' }
  const { view } = await plane.control.context.sessions.start(
    { method: 'passkey', operator: 'alice', credentialId },
    seen,
  )
  session = view.id
  flagger = await plane.enrol('agent', 'flagger')
  analyst = await plane.enrol('agent', 'analyst')
})
after(async () => {
  listener.close()
  elsewhere.close()
  await plane.close()
  await database.stop()
  rmSync(dir, { recursive: true, force: true })
})
beforeEach(() => {
  plane.errors.length = 0
})

const desk = () => {
  const { backchannel } = plane.control.context
  assert.ok(backchannel)
  return backchannel
}
const ask = (over: Record<string, string> = {}, peer = flagger) =>
  post(peer, '/oauth2/backchannel', {
    ...{ scope: 'openid hold', resource: CORE, login_hint: 'alice' },
    binding_message: `Hold ${Math.random()}?`,
    client_notification_token: TOKEN,
    ...over,
  })
const poll = (id: unknown, peer = flagger) =>
  post(peer, '/oauth2/token', { grant_type: CIBA, auth_req_id: String(id) })

async function allow(): Promise<void> {
  const [asked] = await desk().list('alice')
  assert.ok(asked)
  const { id, statement } = asked
  const signature = alice.sign(statement)
  await desk().allow({ id, operator: 'alice', session, statement, signature })
}
async function refuse(): Promise<void> {
  const [asked] = await desk().list('alice')
  assert.ok(asked)
  await desk().refuse(asked.id, 'alice')
}

test('an agent that is declared so is told that a person allowed it, and fetches its token at once', async () => {
  const { status, body } = await ask()
  assert.equal(status, 200, JSON.stringify(body))
  const early = await poll(body['auth_req_id'])
  assert.equal(early.body['error'], 'authorization_pending')
  assert.deepEqual(listener.heard, [])
  // Neither what it is told with nor the name of its request can be read in the database.
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  for (const table of ['backchannel_requests', 'oauth_artefacts']) {
    const { rows } = await client.query(`SELECT * FROM ${table}`)
    assert.ok(rows.length > 0)
    assert.ok(!JSON.stringify(rows).includes(TOKEN), table)
    assert.ok(!JSON.stringify(rows).includes(String(body['auth_req_id'])), table)
  }
  await client.end()

  await allow()
  assert.deepEqual(await listener.next(), {
    ...{ method: 'POST', path: '/ciba/told', type: 'application/json' },
    authorization: `Bearer ${TOKEN}`,
    body: JSON.stringify({ auth_req_id: body['auth_req_id'] }),
  })
  // Asked for a moment ago, and all the same: being told is what it waited for.
  const answer = await poll(body['auth_req_id'])
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  assert.equal(claimsIn(String(answer.body['access_token']))['sub'], 'operator:alice')
  assert.deepEqual(plane.errors, [])
})

test('it is told of a refusal as well, and no other agent is called', async () => {
  const { body } = await ask()
  await refuse()
  assert.equal(JSON.parse((await listener.next()).body)['auth_req_id'], body['auth_req_id'])
  assert.equal((await poll(body['auth_req_id'])).body['error'], 'access_denied')
  // Whoever is not declared so polls, whatever it sends.
  const named = {
    client_notification_endpoint: other,
    backchannel_client_notification_endpoint: other,
  }
  const quiet = await ask(named, analyst)
  assert.equal(quiet.status, 200, JSON.stringify(quiet.body))
  await allow()
  assert.equal((await poll(quiet.body['auth_req_id'], analyst)).status, 200)
  // And who is declared so is told at that address only.
  const own = await ask(named)
  await allow()
  assert.equal(JSON.parse((await listener.next()).body)['auth_req_id'], own.body['auth_req_id'])
  assert.deepEqual([listener.heard, elsewhere.heard], [[], []])
})

test('without a token to be told with, or with one that could be guessed, nobody is asked', async () => {
  const before = (await desk().list('alice')).length
  for (const client_notification_token of ['', 'short', 'x'.repeat(1025), `${TOKEN}\r\nx: y`]) {
    const { status, body } = await ask({ client_notification_token })
    assert.equal(status, 400)
    assert.equal(body['error'], 'invalid_request', client_notification_token)
  }
  assert.equal((await desk().list('alice')).length, before)
})

test('a redirect is not followed; the decision stands, and can be asked for', async () => {
  const { body } = await ask()
  listener.answers = [[307, { location: `${other}/caught` }]]
  await allow()
  await listener.next()
  const answer = await poll(body['auth_req_id'])
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  // Told to whoever runs this, once the answer is there.
  while (plane.errors.length === 0) await delay(5)
  const [error] = plane.errors
  assert.equal(errorCode(error), 'SP_BACKCHANNEL_PING')
  assert.match(error instanceof SallyportError ? (error.detail ?? '') : '', /told: 307$/)
  assert.ok(!JSON.stringify(error).includes(TOKEN))
  assert.deepEqual([listener.heard, elsewhere.heard], [[], []])
})

const told = { authReqId: 'request-1', token: TOKEN }
const soon = () => Date.now() + 60_000

/** Tells once, through everything but the waiting. @returns why it was given up */
async function tell(
  endpoint: () => BackchannelPing | undefined,
  { until = soon(), timeoutMs = 30_000 } = {},
): Promise<string | undefined> {
  let why: string | undefined
  const onError = (error: unknown): void => {
    why = error instanceof SallyportError ? error.detail : String(error)
  }
  const clock = { now: () => Date.now(), monotonic: () => performance.now() }
  await createPings({ clock, onError, delays: [0, 1, 1, 1], timeoutMs })(told, until, endpoint)
  return why
}
const at =
  (url: string, trusted = ca.root.pem) =>
  (): BackchannelPing => ({ url, ca: trusted })
const attempts = (): number => listener.heard.splice(0).length

test('it is tried again a bounded number of times, and only where that could help', async () => {
  listener.answers = [[503], [429], [204]]
  assert.equal(await tell(at(origin)), undefined)
  assert.equal(attempts(), 3)
  listener.answers = [[500], [500], [500], [500], [500]]
  assert.match(String(await tell(at(origin))), /: 500$/)
  assert.equal(attempts(), 4)
  listener.answers = [[200]]
  assert.equal(await tell(at(origin)), undefined)
  assert.equal(attempts(), 1)
  for (const status of [401, 404, 302]) {
    listener.answers = [[status, { location: other }]]
    assert.match(String(await tell(at(origin))), new RegExp(`: ${status}$`))
    assert.equal(attempts(), 1, String(status))
  }
  // Who never answers costs a bounded time.
  const silent = new Listener(keyed(ca))
  silent.silent = true
  try {
    const why = await tell(at(await silent.listen()), { timeoutMs: 200 })
    assert.match(String(why), /: (?:ABORT_ERR|TimeoutError)$/)
  } finally {
    silent.close()
  }
  assert.deepEqual(elsewhere.heard, [])
})

test('it is told at the very server that is declared, over TLS 1.3, or not at all', async () => {
  const stranger = new WebCa()
  const impostor = new Listener(keyed(stranger))
  const misnamed = new Listener(keyed(ca, 'other.example'))
  const old = new Listener({ ...keyed(ca), maxVersion: 'TLSv1.2' })
  for (const server of [impostor, misnamed, old]) {
    try {
      assert.notEqual(await tell(at(await server.listen())), undefined)
      assert.deepEqual(server.heard, [])
    } finally {
      server.close()
    }
  }
  assert.notEqual(await tell(at(origin.replace('https:', 'http:'))), undefined)
  assert.notEqual(await tell(at('no address')), undefined)
  // Who may not be told any more, and what has run out.
  assert.equal(await tell(() => undefined), 'it was too late')
  assert.equal(await tell(at(origin), { until: Date.now() }), 'it was too late')
  assert.equal(attempts(), 0)
  // The control.
  assert.equal(await tell(at(origin)), undefined)
  assert.equal(attempts(), 1)
})
