/** HAProxy itself in front of a gateway, configured as documented. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { connect as tlsConnect } from 'node:tls'
import { setTimeout as sleep } from 'node:timers/promises'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const skip = spawnSync('haproxy', ['-v']).error ? 'haproxy is not on this machine' : false

/** The part of the documentation that a user copies; what is theirs to fill in stands in capitals. */
const documented = readFileSync(
  new URL('../../../docs/gateway/operations.md', import.meta.url),
  'utf8',
)
const CONFIGURATION = /```haproxy\n([\s\S]*?)```/.exec(documented)?.[1] ?? ''

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  // Of a TCP listener.
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

interface Balancer {
  /** Where agents come. */
  readonly port: number
  /** What HAProxy's checks say of the gateway, e.g. `L4OK`. */
  readonly checked: () => Promise<string>
}

async function balance(t: TestContext, world: World, configuration: string): Promise<Balancer> {
  const dir = mkdtempSync(join(tmpdir(), 'sp-haproxy-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const port = await freePort()
  const filled = configuration
    // Loopback is nobody's source: what stands before HAProxy here says from where a connection comes.
    .replaceAll('LISTEN', `127.0.0.1:${port} accept-proxy`)
    .replaceAll('check-send-proxy', 'check-send-proxy inter 100ms')
    .replaceAll('GATEWAY', `127.0.0.1:${world.gateway.address.port}`)
  const file = join(dir, 'haproxy.cfg')
  const asked = join(dir, 'stats.sock')
  writeFileSync(file, `global\n  stats socket ${asked}\n\n${filled}`)
  const haproxy = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'inherit', 'inherit'] })
  t.after(async () => {
    if (haproxy.exitCode !== null) return
    haproxy.kill('SIGTERM')
    await once(haproxy, 'exit')
  })
  for (;;) {
    assert.equal(haproxy.exitCode, null, 'it runs')
    const probe = connect(port, '127.0.0.1')
    const came = await once(probe, 'connect').then(
      () => true,
      () => false,
    )
    probe.on('error', () => undefined).destroy()
    if (came) return { port, checked: async () => checkOf(await answerOf(asked, 'show stat\n')) }
    await sleep(20)
  }
}

async function answerOf(path: string, question: string): Promise<string> {
  const socket = connect(path)
  socket.write(question)
  let text = ''
  for await (const chunk of socket.setEncoding('utf8')) text += String(chunk)
  return text
}

/** Of a table in CSV, the first line of which is a comment with the names. */
function checkOf(table: string): string {
  const [head = [], ...rows] = table.split('\n').map((line) => line.split(','))
  return rows.find((row) => row[1] === 'gw1')?.[head.indexOf('check_status')] ?? ''
}

/** One call by an agent that comes from there, as version 1 of the protocol says it; what is answered, or undefined where it is cut. */
async function ask(world: World, port: number, from: string): Promise<string | undefined> {
  const socket = connect(port, '127.0.0.1')
  socket.write(`PROXY ${from} 40000 443\r\n`)
  const { chainPem, keyPem, rootsPem } = world.plane.agent('reader', 'i1', 600)
  const tls = tlsConnect({
    ...{ socket, cert: chainPem, key: keyPem, ca: rootsPem },
    checkServerIdentity: () => undefined,
    ALPNProtocols: ['http/1.1'],
  })
  for (const one of [socket, tls]) one.on('error', () => undefined)
  tls.write('GET /bank/v1/accounts/ACC-1 HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n')
  let text = ''
  tls.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  await once(socket, 'close')
  return text === '' ? undefined : text
}

const records = (world: World) => [...world.plane.feed.values()].map(({ record }) => record)

test(
  'HAProxy, configured as documented, says who calls from where, and its own checks are nobody’s calls',
  { skip },
  async (t) => {
    const world = await startWorld({ proxyFrom: ['127.0.0.1/32'] })
    t.after(() => world.close())
    const { port, checked } = await balance(t, world, CONFIGURATION)
    while ((await checked()) !== 'L4OK') await sleep(100)
    // Some more of them.
    await sleep(500)

    for (const from of ['TCP4 203.0.113.9 192.0.2.1', 'TCP6 2001:db8::9 2001:db8::1'])
      assert.match((await ask(world, port, from)) ?? '', /^HTTP\/1\.1 200 /)
    const sources = () =>
      records(world).flatMap((one) => (one.kind === 'decision' ? [one.peer.source] : []))
    await until(() => sources().length === 2)
    assert.deepEqual(sources(), ['203.0.113.9', '2001:db8::9'])
    const wrong = records(world).filter(
      (one) => one.kind === 'event' && one.event === 'handshake-refused',
    )
    assert.deepEqual(wrong, [])
  },
)

for (const [how, by] of [
  ['no frame', ''],
  ['a frame of version 1', 'send-proxy'],
] as const) {
  test(`whom HAProxy brings with ${how} is not let in`, { skip }, async (t) => {
    const world = await startWorld({ proxyFrom: ['127.0.0.1/32'] })
    t.after(() => world.close())
    const changed = CONFIGURATION.replace(/send-proxy-v2.*/, by)
    assert.notEqual(changed, CONFIGURATION)
    const { port } = await balance(t, world, changed)
    assert.equal(await ask(world, port, 'TCP4 203.0.113.9 192.0.2.1'), undefined)
    await until(() =>
      records(world).some((one) => one.kind === 'event' && one.code === 'SP_PROXY_FRAME'),
    )
    assert.ok(records(world).every(({ kind }) => kind !== 'decision'))
  })
}
