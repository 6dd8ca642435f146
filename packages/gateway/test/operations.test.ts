/** A gateway that stops, hands over, is asked how it is, and meets upstreams that do not answer or agents that want everything. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { TestContext } from 'node:test'
import { Share } from '../src/edge/share.ts'
import { startGateway } from '../src/index.ts'
import type { Gateway, GatewayOptions } from '../src/index.ts'
import { Breakers } from '../src/upstream/breakers.ts'
import { askH2, h2Session } from './support/h2.ts'
import { json, TestService } from './support/service.ts'
import { startWorld, until } from './support/world.ts'
import type { Reply, TestAgent, World } from './support/world.ts'

const HEALTH = { host: '127.0.0.1', port: 0 }
const ACCOUNT = '/bank/v1/accounts/ACC-1'

async function world(t: TestContext, over: Partial<GatewayOptions> = {}): Promise<World> {
  const made = await startWorld(over)
  t.after(() => made.close())
  return made
}

function health({ gateway }: World, path: string): Promise<{ status: number; body: unknown }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: unknown }>()
  get({ ...gateway.healthAddress, path, agent: false }, (res) => {
    let text = ''
    res.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    res.on('end', () => {
      resolve({ status: res.statusCode ?? 0, body: JSON.parse(text) as unknown })
    })
  }).on('error', reject)
  return promise
}

/** Holds the bank's answers back until `go`. */
function hold({ bank }: World): { readonly held: () => number; go(): void } {
  const { answer } = bank
  const waiting: (() => void)[] = []
  bank.answer = (seen, res) => {
    waiting.push(() => {
      answer(seen, res)
    })
  }
  return {
    held: () => waiting.length,
    go() {
      bank.answer = answer
      for (const say of waiting.splice(0)) say()
    },
  }
}

describe('a gateway that is asked to stop', () => {
  it('is not ready first, lets calls in flight end, and takes nobody in any more', async (t) => {
    const net = await world(t, { health: HEALTH })
    assert.deepEqual(await health(net, '/ready'), { status: 200, body: { ok: true } })
    const reader = net.agent('reader')
    assert.equal((await reader.ask({ path: ACCOUNT })).status, 200)
    const bank = hold(net)
    const session = await h2Session(net, net.agent('reader', 'i2'))
    const goaway = new Promise((resolve) => session.once('goaway', resolve))
    const call = reader.ask({ path: ACCOUNT })
    const stream = askH2(session, { ':path': ACCOUNT, ':authority': 'gateway.test' })
    await until(() => bank.held() === 2)

    const drained = net.gateway.drain()
    assert.deepEqual(await health(net, '/ready'), {
      status: 503,
      body: { ok: false, why: ['draining'] },
    })
    assert.equal((await health(net, '/live')).status, 200)
    await goaway
    await assert.rejects(net.agent('reader', 'i3').ask({ path: ACCOUNT }))
    bank.go()
    const answer = await call
    assert.equal(answer.status, 200)
    assert.equal(answer.headers['connection'], 'close')
    assert.equal((await stream).status, 200)
    await drained
  })

  it('does not wait longer than it was told to', async (t) => {
    const net = await world(t, { settings: { drainMs: 100 } })
    const bank = hold(net)
    const call = net.agent('reader').ask({ path: ACCOUNT })
    call.catch(() => undefined)
    await until(() => bank.held() === 1)
    await net.gateway.drain()
    await assert.rejects(call)
  })

  it('hands its port over to another one, and no call is lost or made twice', async (t) => {
    const net = await world(t, { sharePorts: true })
    const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-next-'))
    let taking: Gateway | undefined
    t.after(async () => {
      await taking?.close()
      rmSync(dataDir, { recursive: true, force: true })
    })
    const listen = net.gateway.address
    const next = { ...net.options, dataDir, listen }
    // Only where both say so.
    await assert.rejects(startGateway({ ...next, sharePorts: false }), { code: 'SP_LISTEN_FAILED' })

    const teller = net.agent('teller')
    const stop = new AbortController()
    let made = 0
    const calls = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        const body = { to: 'ACC-2', amount: ++made }
        for (;;) {
          let reply: Reply
          try {
            reply = await teller.ask({ path: '/bank/v1/accounts/ACC-1/transfers', body })
          } catch (error) {
            // Refused before a connection was there, or closed with nothing of the call on it.
            assert.ok(error instanceof Error, String(error))
            continue
          }
          assert.equal(reply.status, 200, JSON.stringify(reply.body))
          break
        }
      }
    }
    const load = calls()
    await until(() => net.bank.seen.length > 5)
    const { joinToken: _spent, ...rest } = next
    taking = await startGateway({ ...rest, joinToken: 'join', sharePorts: true })
    await net.gateway.drain()
    const before = net.bank.seen.length
    await until(() => net.bank.seen.length > before + 5)
    stop.abort()
    await load
    const amounts = net.bank.seen.map(({ body }) => (JSON.parse(body) as { amount: number }).amount)
    assert.deepEqual(
      amounts.toSorted((a, b) => a - b),
      Array.from({ length: made }, (_, i) => i + 1),
    )
    assert.ok(taking.stats().allowed > 0)
  })

  it('tells of itself on loopback only', async () => {
    const options = { id: 'x', dataDir: '/nowhere', control: HEALTH, listen: HEALTH, secrets: {} }
    const { HealthDoor } = await import('../src/health.ts')
    const door = new HealthDoor(() => [])
    assert.throws(() => door.listen({ host: '0.0.0.0', port: 0 }), { code: 'SP_LISTEN_FAILED' })
    const at = await door.listen(options.listen)
    assert.ok(at.port > 0)
    await door.close()
  })
})

describe('an upstream that does not answer', () => {
  const codeOf = async (agent: TestAgent): Promise<unknown> => {
    const { body, status } = await agent.ask({ path: ACCOUNT })
    return body['code'] ?? status
  }

  it('is left alone after some failures, and tried again by one call', async (t) => {
    const settings = { breakerFailures: 3, breakerOpenMs: 2000, upstreamConnectTimeoutMs: 2000 }
    const net = await world(t, { settings })
    const [reader, teller] = [net.agent('reader'), net.agent('teller')]
    assert.equal(await codeOf(reader), 200)
    const { port } = net.bank
    await net.bank.close()
    const codes: unknown[] = []
    // A connection that stood counts for whoever had it; one that does not come about counts for all.
    for (let i = 0; i < 60 && codes.at(-1) !== 'SP_UPSTREAM_OPEN'; i++) {
      codes.push(await codeOf(i % 2 === 0 ? reader : teller))
    }
    assert.ok(codes.filter((code) => code === 'SP_UPSTREAM_FAILED').length >= 3, String(codes))
    assert.equal(codes.at(-1), 'SP_UPSTREAM_OPEN')
    const { status, headers } = await teller.ask({ path: ACCOUNT })
    assert.ok(status === 503 || status === 502)
    if (status === 503) assert.ok(Number(headers['retry-after']) >= 1)

    const again = new TestService('bank', net.plane.service('bank'), (_seen, res) => {
      json(res, { account: { id: 'ACC-1' } })
    })
    await again.listen(port)
    t.after(() => again.close())
    const end = performance.now() + 60_000
    while ((await codeOf(teller)) !== 200) assert.ok(performance.now() < end, 'it stayed open')
    assert.equal(await codeOf(reader), 200)
  })

  it('is left alone by the caller whose calls it does not answer, and by no other', async (t) => {
    const net = await world(t, {
      settings: { breakerFailures: 2, breakerOpenMs: 60_000, upstreamTimeoutMs: 150 },
    })
    const { answer } = net.bank
    net.bank.answer = (seen, res) => {
      if (!seen.token.sub.includes('/reader/')) answer(seen, res)
    }
    const reader = net.agent('reader')
    assert.equal(await codeOf(reader), 'SP_UPSTREAM_TIMEOUT')
    assert.equal(await codeOf(reader), 'SP_UPSTREAM_TIMEOUT')
    assert.equal(await codeOf(reader), 'SP_UPSTREAM_OPEN')
    assert.equal(await codeOf(net.agent('teller')), 200)
  })

  it('is tried by one call at a time, and a caller that went away decides nothing', () => {
    let now = 0
    const clock = { now: () => 0, monotonic: () => now }
    const breakers = new Breakers({ clock, after: 2, openMs: 100 })
    const open = { code: 'SP_UPSTREAM_OPEN' }
    breakers.enter('a')('failed')
    breakers.enter('a')('answered')
    breakers.enter('a')('failed')
    breakers.enter('a')('failed')
    assert.throws(() => breakers.enter('a'), open)
    breakers.enter('b')('answered')
    now = 100
    const trying = breakers.enter('a')
    assert.throws(() => breakers.enter('a'), open)
    trying('neither')
    const next = breakers.enter('a')
    next('failed')
    assert.throws(() => breakers.enter('a'), open)
    now = 200
    breakers.enter('a')('answered')
    breakers.enter('a')('failed')
    breakers.enter('a')('answered')
  })
})

describe('room for calls in flight', () => {
  it('is never all taken by one agent, however many of it there are', () => {
    const share = new Share(300)
    let greedy = 0
    while (share.take('greedy')) greedy++
    assert.equal(greedy, 200)
    let second = 0
    while (share.take('second')) second++
    assert.ok(second > 0)
    // What a greedy one gives back it does not get again before the others have theirs.
    for (let i = 0; i < 100; i++) share.giveBack('greedy')
    let third = 0
    while (share.take('third')) third++
    assert.ok(third >= 60, String(third))
    assert.ok(share.total < 300)
    assert.ok(share.take('fourth'))
  })

  it('is there for another agent while one fills it', async (t) => {
    const net = await world(t, { settings: { maxInFlight: 12, maxInFlightPerInstance: 12 } })
    const bank = hold(net)
    const instances = ['i1', 'i2', 'i3'].map((name) => net.agent('reader', name))
    const replies: number[] = []
    const asked = Array.from({ length: 18 }, async (_, i) => {
      replies.push((await instances[i % 3]?.ask({ path: ACCOUNT }))?.status ?? 0)
    })
    await until(() => replies.length === 10 && bank.held() === 8)
    assert.deepEqual(new Set(replies), new Set([503]))
    const teller = net.agent('teller').ask({ path: ACCOUNT })
    await until(() => bank.held() === 9)
    bank.go()
    assert.equal((await teller).status, 200)
    await Promise.all(asked)
    assert.equal(replies.filter((status) => status === 200).length, 8)
  })
})
