import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js'
import type { OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { OAuthTokens } from '@modelcontextprotocol/sdk/shared/auth.js'
import type { FetchLike, Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { Identity } from '@sallyport/agent'
import { mtlsConnect } from '@sallyport/transport'
import type { CallToken } from '@sallyport/wire'
import { Person } from '../packages/control/test/support/person.ts'
import { Ledger } from './support/ledger.ts'
import { World } from './support/world.ts'

const GATEWAY = 'https://gateway.test.example'
const SERVER = new URL(`${GATEWAY}/desk/mcp`)
const REDIRECT = 'http://127.0.0.1:51999/callback'

const folder = mkdtempSync(join(tmpdir(), 'sp-signin-'))
/** What the desk was told of each call, and by which headers. */
const told: { readonly token: CallToken; readonly headers: string }[] = []
let world: World
let clerk: Identity
let officer: Person

before(async () => {
  cpSync(join(import.meta.dirname, 'support/declaration'), folder, { recursive: true })
  const networkFile = join(folder, 'network.yaml')
  const text = readFileSync(networkFile, 'utf8')
  writeFileSync(
    networkFile,
    text.replace('    tools: mcp/desk.json\n', '$&    onBehalfOf: person\n'),
  )
  writeFileSync(
    join(folder, 'policies/people.cedar'),
    `@id("people.notes-for-the-officer-alone")
forbid (principal, action == Action::"desk.read_note", resource)
unless { context has onBehalfOf && context.onBehalfOf.subject == "operator:officer" };
`,
  )
  const { ledger, desk } = new Ledger().services
  if (!ledger || !desk) throw new Error('no services')
  world = await World.start({
    networkFile,
    services: {
      ledger,
      desk: (asked, response, token) => {
        told.push({ token, headers: JSON.stringify(asked.rawHeaders) })
        return desk(asked, response, token)
      },
    },
  })
  officer = new Person(world.consoleUrl)
  await officer.enrol(world.link)
  clerk = await world.join('agent', 'clerk')
})
after(async () => {
  clerk?.stop()
  await world?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** The agent's own connections: the gateway and the issuer, each over mutual TLS, and nowhere else. */
const fetchOf =
  (identity: Identity): FetchLike =>
  async (input, init) => {
    const asked = new Request(input, init)
    const { origin, pathname, search, host } = new URL(asked.url)
    const target =
      origin === GATEWAY
        ? world.gatewayTarget
        : origin === world.consoleUrl
          ? world.planeTarget
          : undefined
    if (!target) throw new Error(`asked of a stranger: ${asked.url}`)
    const socket = await mtlsConnect({ identity: identity.holder, target, expect: () => true })
    const { promise, resolve, reject } = Promise.withResolvers<Response>()
    const sent = request(
      {
        createConnection: () => socket,
        method: asked.method,
        path: pathname + search,
        headers: { ...Object.fromEntries(asked.headers), host, connection: 'close' },
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
    const bytes = Buffer.from(await asked.arrayBuffer())
    sent.end(bytes.length > 0 ? bytes : undefined)
    return promise
  }

/** What a program that uses the official client writes: where to open a browser, and what to remember. */
class SignIn implements OAuthClientProvider {
  readonly redirectUrl = REDIRECT
  readonly clientMetadata = { redirect_uris: [REDIRECT] }
  readonly #client: string
  kept: OAuthTokens | undefined
  opened: URL | undefined
  #verifier = ''

  constructor(client: string) {
    this.#client = client
  }

  clientInformation() {
    return { client_id: this.#client }
  }

  tokens() {
    return this.kept
  }

  saveTokens(tokens: OAuthTokens) {
    this.kept = tokens
  }

  redirectToAuthorization(url: URL) {
    this.opened = url
  }

  saveCodeVerifier(verifier: string) {
    this.#verifier = verifier
  }

  codeVerifier() {
    return this.#verifier
  }
}

const transportOf = (identity: Identity, authProvider: SignIn) =>
  new StreamableHTTPClientTransport(SERVER, { authProvider, fetch: fetchOf(identity) })

/** The SDK's own classes do not agree with its interface under `exactOptionalPropertyTypes`. */
const connect = (client: Client, transport: unknown) => client.connect(transport as Transport)

test('the official client of MCP signs a person in and calls on their behalf', async () => {
  const provider = new SignIn(clerk.spiffeId)
  const first = transportOf(clerk, provider)
  const client = () => new Client({ name: 'test', version: '1' })
  await assert.rejects(connect(client(), first), UnauthorizedError)
  const asked = provider.opened
  if (!asked) throw new Error('no browser was opened')
  assert.equal(asked.origin, world.consoleUrl)
  assert.equal(asked.searchParams.get('resource'), `${GATEWAY}/desk`)
  assert.equal(asked.searchParams.get('code_challenge_method'), 'S256')
  assert.deepEqual(asked.searchParams.get('scope')?.split(' ').toSorted(), [
    ...['add_note', 'burn_notes', 'read_note', 'shred_notes'],
  ])
  const back = await officer.allow(asked)
  assert.equal(`${back.origin}${back.pathname}`, REDIRECT)
  assert.equal(back.searchParams.get('iss'), world.consoleUrl)
  await first.finishAuth(back.searchParams.get('code') ?? '')
  assert.equal(provider.kept?.token_type.toLowerCase(), 'bearer')

  const signedIn = client()
  await connect(signedIn, transportOf(clerk, provider))
  const result = await signedIn.callTool({ name: 'read_note', arguments: { ref: 'r1' } })
  assert.equal(result.isError ?? false, false)
  assert.deepEqual(result.structuredContent, { note: { id: '1', text: 'hello' } })
  const last = told.at(-1)
  assert.equal(last?.token.sub, clerk.spiffeId)
  assert.deepEqual(last?.token.obo, { subject: 'operator:officer', actors: [clerk.spiffeId] })

  // MUST-reject 9: the token stays at the gateway.
  const secret = provider.kept?.access_token ?? ''
  assert.ok(secret.length > 100)
  for (const { headers } of told) {
    assert.ok(!headers.includes(secret) && !/authorization/i.test(headers))
  }
  await signedIn.close()

  // And it serves nobody else, whatever they connect with.
  const thief = await world.join('agent', 'clerk')
  try {
    const stolen = new SignIn(thief.spiffeId)
    stolen.kept = provider.kept
    await assert.rejects(connect(client(), transportOf(thief, stolen)), UnauthorizedError)
  } finally {
    thief.stop()
  }
})

test('metadata is told of declared systems, one issuer each; other hosts and paths have none', async () => {
  const ask = fetchOf(clerk)
  const read = async (path: string) => {
    const answer = await ask(`${GATEWAY}${path}`)
    const body = (await answer.json()) as Readonly<Record<string, unknown>>
    return { status: answer.status, body }
  }
  for (const path of ['desk', 'desk/mcp', 'ledger']) {
    const { status, body } = await read(`/.well-known/oauth-protected-resource/${path}`)
    assert.equal(status, 200, path)
    assert.equal(body['resource'], `${GATEWAY}/${path.replace('/mcp', '')}`)
    assert.deepEqual(body['authorization_servers'], [world.consoleUrl])
  }
  for (const path of ['', '/nothing', '/desk/x', '/ledger/mcp', '/desk/mcp/x', '/desk?x=1']) {
    const { status } = await read(`/.well-known/oauth-protected-resource${path}`)
    assert.equal(status, 403, path)
  }
  assert.equal((await read('/.well-known/other/desk')).status, 403)
})
