import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestContext } from 'node:test'
import { createSidecar, launchAgent, lazyWorkload } from '@sallyport/agent'
import type { Launched, ServiceHandler } from '@sallyport/agent'
import { Ledger } from './support/ledger.ts'
import { World } from './support/world.ts'

const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

/** A program with nothing of this network in it: it knows an address, and speaks plain HTTP. */
const PROGRAM = `
const base = process.env.LEDGER_URL
const say = (name, value) => console.log(JSON.stringify({ name, value }))
const call = async (name, path, init) => {
  try {
    const answer = await fetch(path.startsWith('http') ? path : base + path, init)
    say(name, { status: answer.status, type: answer.headers.get('content-type'), body: await answer.json() })
  } catch (error) {
    say(name, { error: error.cause?.code ?? error.message })
  }
}
const post = (body) => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
await call('whoami', process.env.SALLYPORT_SIDECAR + '/.sallyport/whoami')
await call('read', '/v1/entries/1')
await call('traced', '/v1/entries/4', { headers: { traceparent: '${TRACEPARENT}' } })
await call('small', '/v1/entries', post({ ref: 'sidecar', amount: 10 }))
await call('fortune', '/v1/entries', post({ ref: 'sidecar', amount: 90000 }))
const chunked = new ReadableStream({ start(c) { c.enqueue(Buffer.from('{"ref":"chunks",')); c.enqueue(Buffer.from('"amount":11}')); c.close() } })
await call('chunked', '/v1/entries', { ...post({}), body: chunked, duplex: 'half' })
const http = await import('node:http')
await new Promise((resolve) => {
  const path = '/ledger/v1/entries/2'
  http.get({ socketPath: process.env.SALLYPORT_SIDECAR_SOCKET, path }, (answer) => {
    answer.resume().on('end', () => { say('socket', answer.statusCode); resolve() })
  })
})
const net = await import('node:net')
await new Promise((resolve) => {
  const { port } = new URL(process.env.SALLYPORT_SIDECAR)
  let text = ''
  const socket = net.connect(Number(port), '127.0.0.1', () => socket.write('GET http://example.com/ HTTP/1.1\\r\\nHost: example.com\\r\\n\\r\\n'))
  socket.on('data', (chunk) => { text += chunk }).on('close', () => { say('proxy', text); resolve() })
})
say('secrets', Object.entries(process.env).filter(([, value]) => /PRIVATE KEY|eyJ/.test(value)).length)
process.stdin.resume()
setInterval(() => call('again', '/v1/entries/3'), 200)
`

const ledger = new Ledger()
/** What came with requests to it, by their paths. */
const traces = new Map<string, unknown>()
const noting: ServiceHandler = (request, response, call) => {
  traces.set(request.url ?? '', request.headers['traceparent'])
  return ledger.services['ledger']?.(request, response, call)
}
const dir = mkdtempSync(join(tmpdir(), 'sp-sidecar-'))
let world: World

before(async () => {
  const networkFile = join(import.meta.dirname, 'support/declaration/network.yaml')
  world = await World.start({ networkFile, services: { ...ledger.services, ledger: noting } })
})
after(async () => {
  await world?.stop()
  rmSync(dir, { recursive: true, force: true })
})

interface Running extends AsyncDisposable {
  readonly launched: Launched
  readonly runDir: string
  said(name: string, after?: number): Promise<unknown>
  count(): number
}

async function launch(
  isolate: 'require' | 'off',
  addresses: Record<string, string>,
): Promise<Running> {
  const lines: { name: string; value: unknown }[] = []
  const wrong: string[] = []
  let heard = Promise.withResolvers<void>()
  let ended: string | undefined
  const workload = lazyWorkload(() => world.join('agent', 'clerk'))
  const runDir = mkdtempSync(join(dir, 'r'))
  const launched = await launchAgent({
    name: 'clerk',
    command: process.execPath,
    args: ['--input-type=module', '-e', PROGRAM],
    env: {},
    runDir,
    gateway: world.gatewayTarget,
    control: world.planeTarget,
    workload,
    sidecar: createSidecar({ identity: () => workload.identity(), gateway: world.gatewayTarget }),
    addresses,
    isolate,
    onStdout: (line) => {
      // Written by the program above, in this shape.
      lines.push(JSON.parse(line) as { name: string; value: unknown })
      heard.resolve()
      heard = Promise.withResolvers<void>()
    },
    onStderr: (line) => wrong.push(line),
    onExit: () => {
      ended = wrong.join('\n')
      heard.resolve()
    },
  })
  return {
    ...{ launched, runDir },
    async said(name, from = 0) {
      for (;;) {
        const found = lines.slice(from).find((line) => line.name === name)
        if (found) return found.value
        assert.equal(ended, undefined, 'it ended')
        await heard.promise
      }
    },
    count: () => lines.length,
    [Symbol.asyncDispose]: () => launched.stop(),
  }
}

/** The first agent that is launched tells whether this machine can isolate. */
async function isolated(t: TestContext): Promise<Running | undefined> {
  try {
    return await launch('require', { LEDGER_URL: '/ledger' })
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'SP_LAUNCH_NOT_ISOLATED')) {
      throw error
    }
    t.skip(`this machine cannot isolate: ${error.message}`)
    return undefined
  }
}

test('a program of any language calls through the sidecar on its own loopback', async (t) => {
  await using agent = await isolated(t)
  if (!agent) return
  assert.match(
    JSON.stringify(await agent.said('whoami')),
    /spiffe:\/\/test\.example\/agent\/clerk\//,
  )
  assert.partialDeepStrictEqual(await agent.said('read'), {
    status: 200,
    body: { entry: { id: '1' } },
  })
  assert.partialDeepStrictEqual(await agent.said('traced'), { status: 200 })
  // The gateway goes on in the trace, from a span of its own.
  assert.match(
    String(traces.get('/v1/entries/4')),
    /^00-4bf92f3577b34da6a3ce929d0e0e4736-(?!00f0)[0-9a-f]{16}-01$/,
  )
  assert.ok(traces.has('/v1/entries/1') && traces.get('/v1/entries/1') === undefined)
  assert.partialDeepStrictEqual(await agent.said('small'), { status: 200 })
  assert.partialDeepStrictEqual(await agent.said('fortune'), {
    status: 403,
    type: 'application/problem+json',
    body: { code: 'SP_DENIED_FORBIDDEN', outcome: 'forbidden' },
  })
  assert.partialDeepStrictEqual(await agent.said('chunked'), { status: 200 })
  assert.equal(await agent.said('socket'), 200)
  const proxied = await agent.said('proxy')
  assert.match(String(proxied), /^HTTP\/1\.1 400 [^]*a sidecar is no proxy/)
  assert.equal(await agent.said('secrets'), 0)
  const refs = ledger.entries.map(({ ref, amount }) => `${ref} ${amount}`)
  assert.ok(refs.includes('sidecar 10') && refs.includes('chunks 11'), refs.join())
  assert.ok(!refs.includes('sidecar 90000'))
  assert.equal(statSync(join(agent.runDir, 'sidecar.sock')).mode & 0o777, 0o600)

  // It listens in that program's network, and in no other.
  const outside = connect(7480, '127.0.0.1')
  const [error] = (await once(outside, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNREFUSED')

  assert.partialDeepStrictEqual(await agent.said('again'), { status: 200 })
  agent.launched.cut()
  const from = agent.count()
  let last = await agent.said('again', from)
  // One may have been under way.
  if (!/"error"/.test(JSON.stringify(last))) last = await agent.said('again', agent.count())
  assert.match(JSON.stringify(last), /"error"/)
})

test('where loopback would be everybody’s, there is none', async () => {
  await assert.rejects(launch('off', { LEDGER_URL: '/ledger' }), {
    code: 'SP_LAUNCH_NOT_ISOLATED',
  })
})
