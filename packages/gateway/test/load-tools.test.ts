/** h2load and slowhttptest, as Debian has them, against a gateway. */
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createServer as createTlsServer } from 'node:tls'
import { promisify } from 'node:util'
import { IdentityHolder, mtlsConnect } from '@sallyport/transport'
import { startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const run = promisify(execFile)
const absent = (tool: string): string | false =>
  spawnSync(tool, ['--help']).error ? `${tool} is not on this machine` : false

/** Whether it has come to anything by now. */
function settled(what: Promise<unknown>): () => boolean {
  let is = false
  const set = (): void => {
    is = true
  }
  what.then(set, set)
  return () => is
}

const PATH = '/bank/v1/accounts/ACC-1'

/**
 * A port of this machine on an agent's connections to the gateway, byte for byte: neither tool can show a certificate. What comes to
 * it for HTTP/2 comes by TLS, for a request of HTTP/2 says of itself whether it did.
 *
 * @returns the port
 */
async function bridge(
  t: TestContext,
  world: World,
  agent: TestAgent,
  alpn: 'h2' | 'http/1.1',
): Promise<number> {
  const relay = (socket: Socket): void => {
    socket.pause()
    socket.on('error', () => undefined)
    mtlsConnect({
      identity: new IdentityHolder(agent.material),
      target: world.gateway.address,
      expect: () => true,
      alpn: [alpn],
    }).then(
      (onward) => {
        onward.on('error', () => undefined)
        onward.once('close', () => socket.destroy())
        socket.once('close', () => onward.destroy())
        socket.pipe(onward).pipe(socket)
      },
      () => socket.destroy(),
    )
  }
  const { chainPem: cert, keyPem: key } = world.plane.service('bank')
  const server =
    alpn === 'h2'
      ? createTlsServer({ cert, key, ALPNProtocols: [alpn] }, relay)
      : createServer(relay)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  // Of a TCP listener.
  return (server.address() as AddressInfo).port
}

describe('tools that others made to load servers', () => {
  let world: World

  before(async () => {
    world = await startWorld({
      settings: {
        ...{ headersTimeoutMs: 1500, requestTimeoutMs: 3000, maxConnectionsPerInstance: 64 },
        maxStreamedBytes: 1e9,
        ...{ maxCallsPerSecond: 100_000, maxCallBurst: 100_000 },
      },
    })
  })
  after(() => world.close())

  it(
    'h2load: every stream of every connection is answered',
    { skip: absent('h2load') },
    async (t) => {
      const port = await bridge(t, world, world.agent('reader', 'loaded'), 'h2')
      const calls = 2000
      const before = world.bank.seen.length
      const { stdout } = await run('h2load', [
        ...['-n', String(calls), '-c', '8', '-m', '20'],
        `https://127.0.0.1:${port}${PATH}`,
      ])
      assert.match(
        stdout,
        new RegExp(
          `${calls} total, ${calls} started, ${calls} done, ${calls} succeeded, 0 failed, 0 errored, 0 timeout`,
        ),
      )
      assert.match(stdout, new RegExp(`status codes: ${calls} 2xx, 0 3xx, 0 4xx, 0 5xx`))
      assert.equal(world.bank.seen.length, before + calls)
    },
  )

  const attacks: readonly (readonly [what: string, args: readonly string[]])[] = [
    ['headers that never end', ['-H', '-i', '1']],
    ['bodies that never end', ['-B', '-i', '1', '-s', '4096', '-f', 'application/json']],
  ]
  for (const [what, args] of attacks) {
    it(
      `slowhttptest: ${what} are given up, and others are served meanwhile`,
      { skip: absent('slowhttptest'), timeout: 60_000 },
      async (t) => {
        const port = await bridge(t, world, world.agent('teller', 'slow'), 'http/1.1')
        const other = world.agent('reader', 'other')
        const before = world.bank.seen.length
        const attack = run('slowhttptest', [
          ...args,
          ...['-c', '48', '-r', '48', '-l', '20', '-x', '8'],
          ...['-u', `http://127.0.0.1:${port}/bank/v1/accounts/ACC-1/transfers`],
        ])
        const times: number[] = []
        for (const ended = settled(attack); !ended();) {
          const from = performance.now()
          assert.equal((await other.ask({ path: PATH })).status, 200)
          times.push(performance.now() - from)
          await sleep(50)
        }
        const { stdout } = await attack
        assert.match(stdout, /No open connections left/)
        const served = times.length
        // Less than the time after which those are given up; one alone may take long on a busy machine.
        const median = times.toSorted((a, b) => a - b)[Math.floor(served / 2)] ?? Infinity
        assert.ok(served > 3 && median < 1500, `${served} calls, half of them in ${median} ms`)
        assert.equal(world.bank.seen.length, before + served, 'nothing of it was forwarded')
      },
    )
  }

  it(
    'slowhttptest: who reads an answer slowly is given up',
    { skip: absent('slowhttptest'), timeout: 60_000 },
    async (t) => {
      const usual = world.bank.answer
      t.after(() => {
        world.bank.answer = usual
      })
      // More than any buffer on the way takes in.
      const account = JSON.stringify({ status: 'x'.repeat(100) })
      const whole = Buffer.from(`{"accounts":[${Array(400_000).fill(account).join(',')}]}`)
      world.bank.answer = (_request, res) => {
        res.writeHead(200, { 'content-type': 'application/json' }).end(whole)
      }
      const port = await bridge(t, world, world.agent('reader', 'sleepy'), 'http/1.1')
      const attack = run('slowhttptest', [
        ...['-X', '-c', '8', '-r', '8', '-l', '12', '-n', '1', '-z', '16', '-w', '8', '-y', '32'],
        ...['-u', `http://127.0.0.1:${port}/bank/v1/accounts`],
      ])
      const ended = settled(attack)
      await until(() => world.gateway.stats().openStreams === 8)
      await until(() => world.gateway.stats().openStreams === 0)
      // It reads on what the system has of the answers, and sees no end of them.
      assert.equal(ended(), false)
      await attack
    },
  )
})
