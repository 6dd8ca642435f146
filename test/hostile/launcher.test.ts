import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { launchAgent } from '@sallyport/agent'
import type { LaunchOptions } from '@sallyport/agent'

/**
 * What a stolen agent process of the launcher's own user tries: file modes do not stop it, and neither does a network
 * namespace, because Unix sockets with a name are reached through the file system.
 */
const PROGRAM = `
const { readFileSync, readdirSync } = require('node:fs')
const http = require('node:http')
const data = process.argv[1]
const attempt = (name, act) => { try { console.log(name, act()) } catch (error) { console.log(name, error.code) } }
attempt('ca', () => readFileSync(data + '/trust/ca.key', 'utf8'))
attempt('own-roots', () => readFileSync(data + '/trust/ca.pem', 'utf8'))
attempt('others-token', () => readFileSync(data + '/run/tokens/flagger', 'utf8'))
attempt('listing', () => readdirSync(data).join())
for (const way of ['root', 'cwd']) {
  attempt('proc-' + way, () => readFileSync('/proc/' + process.ppid + '/' + way + (way === 'root' ? data : '/.') + '/trust/ca.key', 'utf8'))
}
attempt('parent', () => process.ppid)
attempt('cwd', () => readFileSync('trust/ca.key', 'utf8'))
const ask = (name, socketPath, path, method) => new Promise((resolve) => {
  const request = http.request({ socketPath, path, method }, (response) => {
    console.log(name, response.statusCode)
    response.resume().on('end', resolve)
  })
  request.on('error', (error) => { console.log(name, error.code); resolve() })
  request.end()
})
const run = async () => {
  await ask('admin', data + '/run/admin.sock', '/api/join-tokens', 'POST')
  await ask('others-relay', data + '/run/flagger/gateway.sock', '/', 'GET')
  await ask('own-relay', process.env.SALLYPORT_GATEWAY.slice(5), '/', 'GET')
  console.log('done')
}
run()
`

const data = mkdtempSync(join(tmpdir(), 'sp-hostile-'))
const servers: Server[] = []
let target: { host: string; port: number }

async function serve(at: string | undefined): Promise<Server> {
  const server = createServer((_request, response) => response.end('hello'))
  servers.push(server)
  if (at === undefined) server.listen(0, '127.0.0.1')
  else server.listen(at)
  await once(server, 'listening')
  return server
}

before(async () => {
  for (const dir of ['trust', 'run/tokens', 'run/flagger']) {
    mkdirSync(join(data, dir), { recursive: true, mode: 0o700 })
  }
  for (const name of ['trust/ca.key', 'trust/ca.pem', 'run/tokens/flagger']) {
    writeFileSync(join(data, name), `content`, { mode: 0o600 })
  }
  await serve(join(data, 'run/admin.sock'))
  await serve(join(data, 'run/flagger/gateway.sock'))
  const address = (await serve(undefined)).address()
  assert.ok(typeof address === 'object' && address !== null)
  target = { host: '127.0.0.1', port: address.port }
})
after(() => {
  for (const server of servers) server.close()
  rmSync(data, { recursive: true, force: true })
})

async function run(over: Pick<LaunchOptions, 'isolate' | 'hide' | 'expose'>): Promise<{
  network: string
  said: ReadonlyMap<string, string>
}> {
  const said = new Map<string, string>()
  const launched = await launchAgent({
    name: 'monitor',
    command: process.execPath,
    args: ['-e', PROGRAM, data],
    env: {},
    cwd: data,
    runDir: join(data, 'run', 'monitor'),
    gateway: target,
    control: target,
    onStdout: (line) => said.set(line.split(' ')[0] ?? '', line.slice(line.indexOf(' ') + 1)),
    onStderr: (line) => said.set('stderr', line),
    onExit: () => said.set('exit', ''),
    ...over,
  })
  for (let i = 0; i < 1000 && !said.has('done') && !said.has('exit'); i++) await sleep(10)
  await launched.stop()
  return { network: launched.network, said }
}

describe('a stolen agent process of the same user', () => {
  it('reads the trust root and opens the admin socket where nothing isolates it', async () => {
    const { network, said } = await run({ isolate: 'off' })
    assert.equal(network, 'not enforced')
    for (const name of ['ca', 'others-token', 'cwd']) assert.equal(said.get(name), 'content', name)
    assert.equal(said.get('admin'), '200')
    assert.equal(said.get('parent'), String(process.pid))
    assert.equal(said.get('others-relay'), '200')
  })

  it('finds neither where it is isolated, and still has its own ways', async (context) => {
    const hide = [data]
    const expose = [join(data, 'trust', 'ca.pem')]
    const { network, said } = await run({ isolate: 'auto', hide, expose })
    if (network !== 'enforced') {
      context.skip('this machine cannot isolate')
      return
    }
    assert.equal(said.get('own-relay'), '200', JSON.stringify([...said]))
    assert.equal(said.get('own-roots'), 'content')
    for (const name of ['ca', 'others-token', 'cwd', 'admin', 'others-relay']) {
      assert.equal(said.get(name), 'ENOENT', name)
    }
    assert.equal(said.get('listing'), 'run,trust')
    // Its parent is the first process of its own namespace, which stands where it stands.
    assert.equal(said.get('parent'), '1')
    for (const name of ['proc-root', 'proc-cwd']) assert.equal(said.get(name), 'ENOENT', name)
  })
})
