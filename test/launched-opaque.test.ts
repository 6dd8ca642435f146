/** A launched program speaks plain TCP to a declared system that speaks nothing else: by sidecar and gateway, with neither key nor TLS. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { launchAgent, lazyWorkload } from '@sallyport/agent'
import type { Launched, LaunchOptions } from '@sallyport/agent'
import { errorCode } from '@sallyport/base'
import type { Declaration, System } from '@sallyport/network'
import { createMtlsServer, IdentityHolder } from '@sallyport/transport'
import { Identity } from '../packages/agent/src/identity.ts'
import { findIsolation } from '../packages/agent/src/launcher/isolate.ts'
import { Roots } from '../packages/agent/src/roots.ts'
import { Flood } from '../packages/gateway/test/support/flood.ts'
import { heldBytes } from '../packages/gateway/test/support/memory.ts'
import { PlainService } from '../packages/gateway/test/support/plain-service.ts'
import { startWorld, until } from '../packages/gateway/test/support/world.ts'
import type { World } from '../packages/gateway/test/support/world.ts'

const PORT = 1414
const MAX_UP = 50_000

/** Knows an address of plain TCP, as a client of twenty years ago would; says what it hears, and how that ended. */
const PROGRAM = `
const net = require('node:net')
const say = (name, value) => console.log(JSON.stringify({ name, value }))
const [host, port] = (process.env.SALLYPORT_TCP_MAINFRAME ?? '').split(':')
const ways = { tcp: { host, port: Number(port) }, socket: { path: process.env.SALLYPORT_SOCKET_MAINFRAME } }
const ask = (way, text) => new Promise((resolve) => {
  let got = '', how = 'closed'
  const socket = net.connect({ ...ways[way], allowHalfOpen: true }, () => socket.end(text))
  socket.on('data', (bytes) => { got += bytes })
  socket.on('end', () => { how = 'ended' }).on('error', (error) => { how = error.code })
  socket.on('close', () => resolve({ got, how }))
})
const run = async () => {
  say('env', process.env)
  for (const way of ['tcp', 'socket']) say(way, await ask(way, 'SUM 19 23\\nhalf'))
  say('volume', await ask('tcp', 'x'.repeat(${2 * MAX_UP})))
  const held = net.connect(ways.tcp, () => held.write('SUM 1 1\\n'))
  held.on('data', (bytes) => { if (String(bytes).includes('= 2')) say('held', 'open') })
  held.on('error', (error) => say('broken', error.code)).on('end', () => say('broken', 'ended'))
}
run()
setInterval(() => {}, 1000)
`

const mainframe: System = {
  ...{ name: 'mainframe', description: '', owner: 'tests', segment: 'zone', criticality: 'low' },
  protocol: 'opaque',
  opaque: {
    ...{ maxBytesUp: MAX_UP, maxBytesDown: 1e9, maxSeconds: 600, idleSeconds: 600 },
    ...{ holds: 'restricted', answerTags: [] },
  },
  upstream: { kind: 'plain', url: 'tcp://mainframe.example:1414', plaintext: 'it has no TLS' },
  operations: [
    {
      ...{ name: 'connect', description: '', kind: 'write', binding: { kind: 'opaque' } },
      input: { type: 'record', members: {} },
      returns: {},
    },
  ],
}

const withMainframe = ({ network, policies }: Declaration): Declaration => ({
  network: {
    ...network,
    systems: [...network.systems, mainframe],
    flows: [
      ...network.flows,
      {
        ...{ id: 'teller-mainframe', from: 'teller', to: 'mainframe', operations: ['connect'] },
        purpose: 'storing',
      },
    ],
  },
  policies: [
    ...policies,
    {
      ...{ id: 'tellers-connect', file: 'test.cedar', line: 1 },
      source: `@id("tellers-connect") permit (principal in Agent::"teller", action == Action::"mainframe.connect", resource);`,
    },
  ],
})

const service = new PlainService()
let world: World
let dir: string

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sp-lo-'))
  const port = await service.listen()
  world = await startWorld({}, () => undefined, withMainframe)
  await world.restart({
    listenOpaque: { mainframe: { host: '127.0.0.1', port: 0 } },
    upstreams: { ...world.options.upstreams, mainframe: { host: '127.0.0.1', port } },
  })
})
after(async () => {
  await world?.close()
  await service.close()
  rmSync(dir, { recursive: true, force: true })
})
afterEach(() => {
  service.serve = undefined
})

/** An identity as enrolment gives it: the control plane of this world enrols gateways only. */
function workloadOf(agent: string, instance: string) {
  const material = world.plane.agent(agent, instance, 900)
  const { rootsPem, trustDomain } = material
  return lazyWorkload(() =>
    Promise.resolve(
      new Identity({
        holder: new IdentityHolder(material),
        spiffeId: `spiffe://${trustDomain}/agent/${agent}/${instance}`,
        planeTarget: { host: '127.0.0.1', port: 1 },
        roots: new Roots({ rootsPem, trustDomain }),
      }),
    ),
  )
}

interface Run extends AsyncDisposable {
  readonly launched: Launched
  readonly socket: string
  readonly refused: string[]
  said(name: string): Promise<unknown>
}

let runs = 0

async function launch(
  agent: string,
  instance: string,
  isolate: LaunchOptions['isolate'],
  {
    port,
    target,
    command,
  }: { port?: number; target?: LaunchOptions['gateway']; command?: string } = {},
): Promise<Run> {
  const lines: { name: string; value: unknown }[] = []
  const odd: string[] = []
  const refused: string[] = []
  const runDir = join(dir, `r${runs++}`)
  const at = world.gateway.opaqueAddresses['mainframe']
  assert.ok(at)
  const launched = await launchAgent({
    name: agent,
    command: process.execPath,
    args: ['-e', command ?? PROGRAM],
    env: {},
    runDir,
    gateway: world.gateway.address,
    control: { host: '127.0.0.1', port: world.plane.port },
    workload: workloadOf(agent, instance),
    opaque: {
      systems: { mainframe: { target: target ?? at, ...(port === undefined ? {} : { port }) } },
      onRefused: (system, error) => refused.push(`${system} ${errorCode(error)}`),
    },
    isolate,
    onStdout: (line) => {
      // Written by the program above, in this shape.
      lines.push(JSON.parse(line) as { name: string; value: unknown })
    },
    onStderr: (line) => odd.push(line),
    onExit: () => odd.push('exit'),
  })
  return {
    ...{ launched, refused, socket: join(runDir, 'opaque-mainframe.sock') },
    async said(name) {
      const find = () => lines.find((one) => one.name === name)
      await until(() => find() !== undefined || odd.includes('exit'), 60_000)
      const found = find()
      assert.ok(found, `${name}: ${odd.join('\n')}`)
      return found.value
    },
    [Symbol.asyncDispose]: () => launched.stop(),
  }
}

const IDLE = 'setInterval(() => {}, 1000)'

const gone = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    let how = 'closed'
    socket.once('end', () => {
      how = 'ended'
      socket.end()
    })
    socket.once('error', (error) => (how = errorCode(error)))
    socket.once('close', () => resolve(how))
    socket.resume()
  })

test('a program with an address and nothing else asks a mainframe, until it is quarantined', async (t) => {
  const found = await findIsolation()
  if (!found.isolation.network) {
    t.skip(`this machine cannot isolate: ${found.reason}`)
    return
  }
  await using run = await launch('teller', 'p1', 'require', { port: PORT })
  const env = JSON.stringify(await run.said('env'))
  assert.match(env, /"SALLYPORT_TCP_MAINFRAME":"127\.0\.0\.1:1414"/)
  assert.doesNotMatch(env, /PRIVATE KEY|BEGIN CERT|eyJ/)
  assert.equal(statSync(run.socket).mode & 0o777, 0o600)
  // What is asked before it ends its side is answered after that, by loopback and by the socket.
  const whole = { got: 'HELLO mainframe\r\n= 42\nBYE 4\n', how: 'ended' }
  assert.deepEqual(await run.said('tcp'), whole)
  assert.deepEqual(await run.said('socket'), whole)
  const from = service.ended.length - 1
  const { how } = (await run.said('volume')) as { how: string }
  assert.equal(how, 'ECONNRESET')
  await until(() => service.ended.slice(from).some(({ inOrder }) => !inOrder))
  assert.ok(service.ended.every(({ got }) => got.length <= MAX_UP))
  // It listens in that program's network, and in no other.
  const outside = connect(PORT, '127.0.0.1')
  const [error] = (await once(outside, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNREFUSED')

  assert.equal(await run.said('held'), 'open')
  world.plane.quarantine(`spiffe://${world.plane.trustDomain}/agent/teller/p1`)
  assert.equal(await run.said('broken'), 'ECONNRESET')
  await until(() => service.open === 0)
})

test('where loopback would be everybody’s, there is the socket alone', async () => {
  await assert.rejects(launch('teller', 's0', 'off', { port: PORT }), {
    code: 'SP_LAUNCH_NOT_ISOLATED',
  })
  await using run = await launch('teller', 's1', 'off', { command: IDLE })
  const socket = connect({ path: run.socket, allowHalfOpen: true })
  socket.end('SUM 2 3\n')
  let got = ''
  socket.on('data', (bytes: Buffer) => (got += String(bytes)))
  assert.equal(await gone(socket), 'ended')
  assert.equal(got, 'HELLO mainframe\r\n= 5\nBYE 0\n')
})

test('who has no flow reaches nothing, whatever its door leads to', async () => {
  const from = service.connections.length
  await using run = await launch('reader', 'n1', 'off', { command: IDLE })
  const socket = connect({ path: run.socket, allowHalfOpen: true })
  socket.write('SUM 2 3\n')
  let got = ''
  socket.on('data', (bytes: Buffer) => (got += String(bytes)))
  await gone(socket)
  assert.equal(got, '')
  await until(() =>
    world.plane
      .records()
      .some(
        (one) => one.kind === 'decision' && one.agent === 'reader' && one.code === 'SP_NO_FLOW',
      ),
  )
  assert.equal(service.connections.length, from)
})

test('what is no gateway of the trust domain is told nothing', async () => {
  let heard = 0
  const impostor = createMtlsServer({
    identity: new IdentityHolder(world.plane.service('bank')),
    alpn: ['sallyport-opaque'],
    accept: () => true,
    handshakeTimeoutMs: 10_000,
    onConnection: (socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (data) => (heard += data.length))
    },
  })
  const at = await impostor.listen({ host: '127.0.0.1', port: 0 })
  assert.ok(typeof at === 'object')
  try {
    const target = { host: '127.0.0.1', port: at.port }
    await using run = await launch('teller', 'i1', 'off', { target, command: IDLE })
    const socket = connect({ path: run.socket, allowHalfOpen: true })
    socket.write('secret')
    await gone(socket)
    assert.deepEqual(run.refused, ['mainframe SP_PEER_REFUSED'])
    assert.equal(heard, 0)
  } finally {
    await impostor.close()
  }
})

test('a cut closes the door for good, and breaks off what is open', async () => {
  await using run = await launch('teller', 'c1', 'off', { command: IDLE })
  const socket = connect({ path: run.socket, allowHalfOpen: true })
  await once(socket, 'data')
  const from = service.ended.length
  run.launched.cut()
  await gone(socket)
  await until(() => service.ended.length > from)
  assert.equal(service.ended[from]?.inOrder, false)
  assert.ok(!existsSync(run.socket))
})

test('a program that does not read holds the system back, and nothing is left of programs that end', async () => {
  const flood = new Flood()
  service.serve = (socket) => flood.offer(socket)
  await using run = await launch('teller', 'm1', 'off', { command: IDLE })
  const from = heldBytes()
  const socket = connect({ path: run.socket, allowHalfOpen: true })
  socket.pause()
  await flood.stuck()
  assert.ok(flood.offered < flood.size, `${flood.offered} bytes went on to nobody`)
  assert.ok(heldBytes() - from < 8 * 1024 * 1024, `${heldBytes() - from} bytes are held`)
  let got = 0
  socket.on('data', (bytes: Buffer) => (got += bytes.length))
  assert.equal(await gone(socket), 'ended')
  assert.equal(got, flood.size)

  service.serve = undefined
  await until(() => service.open === 0)
  const sockets = (): number =>
    process
      .getActiveResourcesInfo()
      .filter((kind) => /^(?:TCP|Pipe)SocketWrap$|^PipeWrap$/.test(kind)).length
  const before_ = sockets()
  for (const end of [
    (one: Socket) => one.end(),
    (one: Socket) => one.destroy(),
    (one: Socket) => one.end('SUM 1 1\n'),
  ]) {
    // Before anybody answers, and after.
    for (const wait of [false, true]) {
      const one = connect({ path: run.socket, allowHalfOpen: true })
      if (wait) await once(one, 'data')
      const ended = gone(one)
      end(one)
      await ended
    }
  }
  await until(() => service.open === 0 && sockets() <= before_, 10_000).catch(() =>
    assert.fail(`${service.open} at the system, ${sockets()} sockets, ${before_} before`),
  )
})
