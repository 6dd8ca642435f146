import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { launchAgent } from '../src/index.ts'
import type { Launched, LaunchOptions } from '../src/index.ts'
import { findIsolation } from '../src/launcher/isolate.ts'

/** Dials the port given directly and the gateway socket, says what came of it, and stays. */
const PROGRAM = `
const net = require('node:net')
const dial = (name, to) => new Promise((resolve) => {
  const socket = net.connect(to)
  socket.on('data', (data) => { console.log(name, String(data)); resolve() })
  socket.on('error', (error) => { console.log(name, error.code); resolve() })
  socket.on('close', () => { console.log(name, 'closed'); resolve() })
})
const relay = { path: process.env.SALLYPORT_GATEWAY.slice(5) }
const run = async () => {
  await dial('direct', { host: '127.0.0.1', port: Number(process.argv[1]) })
  await dial('relay', relay)
  console.log('env', Object.keys(process.env).filter((name) => name.startsWith('SECRET')).length)
  process.stdin.on('data', () => {})
  setInterval(() => dial('again', relay), 150)
}
run()
`

const server = createServer((socket) => {
  socket.on('error', () => undefined)
  socket.resume().write('hello')
})
let target: { host: string; port: number }
const dir = mkdtempSync(join(tmpdir(), 'sp-launch-'))

before(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  // A TCP listener always has an AddressInfo.
  target = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
})
after(() => {
  server.close()
  rmSync(dir, { recursive: true, force: true })
})

interface Watched extends AsyncDisposable {
  readonly launched: Launched
  readonly lines: string[]
  until(line: RegExp): Promise<void>
}

async function launch(
  isolate: LaunchOptions['isolate'],
  runDir = join(dir, `run-${isolate}`),
): Promise<Watched> {
  const lines: string[] = []
  const launched = await launchAgent({
    name: 'monitor',
    command: process.execPath,
    args: ['-e', PROGRAM, String(target.port)],
    env: {},
    runDir,
    gateway: target,
    control: target,
    isolate,
    onStdout: (line) => lines.push(line),
    onStderr: (line) => lines.push(`stderr ${line}`),
    onExit: () => lines.push('exit'),
  })
  return {
    launched,
    lines,
    async until(line) {
      const end = performance.now() + 30_000
      while (!lines.some((one) => line.test(one)) && performance.now() < end) await sleep(10)
      assert.ok(
        lines.some((one) => line.test(one)),
        `${String(line)} in ${JSON.stringify(lines)}`,
      )
    },
    [Symbol.asyncDispose]: () => launched.stop(),
  }
}

describe('launchAgent', () => {
  it('gives an isolated agent no way out but its relays', async (context) => {
    const isolation = await findIsolation()
    if (!isolation.isolation.network) {
      context.skip(`this machine cannot isolate: ${isolation.reason}`)
      return
    }
    // The control: without isolation the very same program reaches the listener directly.
    await using open = await launch('off')
    await open.until(/^direct hello$/)
    assert.equal(open.launched.network, 'not enforced')
    await using shut = await launch('require')
    assert.equal(shut.launched.network, 'enforced')
    await shut.until(/^relay hello$/)
    assert.ok(
      shut.lines.some((line) =>
        /^direct E(NETUNREACH|HOSTUNREACH|ADDRNOTAVAIL|CONNREFUSED)$/.test(line),
      ),
      JSON.stringify(shut.lines),
    )
  })

  it("hands over two sockets of the owner's only, and none of the launcher's variables", async () => {
    process.env['SECRET_UPSTREAM_KEY'] = 'x'
    await using agent = await launch('auto')
    await agent.until(/^env 0$/)
    const runDir = join(dir, 'run-auto')
    assert.equal(statSync(runDir).mode & 0o777, 0o700)
    for (const name of ['gateway.sock', 'plane.sock']) {
      assert.equal(statSync(join(runDir, name)).mode & 0o777, 0o600)
    }
    delete process.env['SECRET_UPSTREAM_KEY']
  })

  it('cuts open connections and refuses new ones', async () => {
    await using agent = await launch('auto', join(dir, 'run-cut'))
    await agent.until(/^again hello$/)
    const socket = connect(join(dir, 'run-cut', 'gateway.sock'))
    await once(socket, 'data')
    const started = performance.now()
    agent.launched.cut()
    await new Promise((resolve) =>
      socket
        .resume()
        .once('close', resolve)
        .on('error', () => undefined),
    )
    // A guard against waiting for whoever is at the other end, no bound on how fast it is.
    assert.ok(performance.now() - started < 10_000)
    await agent.until(/^relay closed$/)
    await agent.until(/^again E(NOENT|CONNREFUSED)$/)
    const seen = agent.lines.filter((line) => line === 'again hello').length
    await sleep(400)
    assert.equal(agent.lines.filter((line) => line === 'again hello').length, seen)
  })

  it('stops the program and takes the sockets away', async () => {
    const runDir = join(dir, 'run-stop')
    const agent = await launch('auto', runDir)
    await agent.until(/^relay hello$/)
    await agent.launched.stop()
    await agent.launched.stop()
    assert.ok(agent.lines.includes('exit'))
    assert.equal(existsSync(join(runDir, 'gateway.sock')), false)
    assert.throws(() => process.kill(agent.launched.pid, 0), { code: 'ESRCH' })
  })

  it('finds room for its sockets under a long path', async () => {
    const runDir = join(dir, 'x'.repeat(120))
    await using agent = await launch('off', runDir)
    await agent.until(/^relay hello$/)
  })

  it('says so when the program is not there', async () => {
    const options = {
      name: 'monitor',
      command: join(dir, 'absent'),
      args: [],
      env: {},
      runDir: join(dir, 'run-absent'),
      gateway: target,
      control: target,
      onExit: () => undefined,
    }
    const codes: (number | null)[] = []
    const launched = await launchAgent({
      ...options,
      isolate: 'off',
      onExit: (code) => codes.push(code),
    }).catch((error: unknown) => error)
    // With `setpriv` in front the start succeeds and the exit tells; without it the start fails.
    if (launched instanceof Error)
      assert.equal('code' in launched && launched.code, 'SP_LAUNCH_FAILED')
    else {
      const end = performance.now() + 30_000
      while (codes.length === 0 && performance.now() < end) await sleep(10)
      assert.notEqual(codes[0], 0)
    }
  })
})
