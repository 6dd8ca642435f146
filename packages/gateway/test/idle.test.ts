import assert from 'node:assert/strict'
import { Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { IdleSweep } from '../src/edge/idle.ts'
import { json } from './support/service.ts'
import { ACCOUNT, startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const GET = 'GET /bank/v1/accounts/A HTTP/1.1\r\nHost: g\r\n\r\n'
const TIMEOUT = 2000

describe('a look at a connection', () => {
  it('counts its silence from when it was seen to be silent, however late the look comes', () => {
    let now = 0
    const sweep = new IdleSweep(TIMEOUT, { now: () => now, monotonic: () => now }, () => undefined)
    const socket = new Socket()
    const quiet = { heard: socket.bytesRead, wasBusy: false, quietSince: 0 }
    const look = (at: number, busy: boolean): boolean => {
      now = at
      sweep.look(socket, quiet, busy)
      return socket.destroyed
    }
    try {
      assert.equal(look(100, true), false)
      // Its answer may have ended just before this look.
      assert.equal(look(10_000, false), false)
      assert.equal(look(10_000 + TIMEOUT, false), false)
      assert.equal(look(10_000 + 2 * TIMEOUT, false), true)
    } finally {
      sweep.stop()
    }
  })
})

describe('connections of HTTP/1.1 that fall silent', () => {
  let world: World
  let agent: TestAgent
  before(async () => {
    world = await startWorld({ settings: { keepAliveTimeoutMs: TIMEOUT } })
    agent = world.agent('teller')
  })
  after(() => world.close())

  const connect = async (): Promise<{ socket: TLSSocket; answers: () => string[] }> => {
    const socket = await agent.raw()
    let heard = ''
    socket.on('data', (chunk: Buffer) => (heard += chunk.toString('latin1')))
    socket.on('error', () => undefined)
    return { socket, answers: () => heard.match(/HTTP\/1\.1 \d{3}/g) ?? [] }
  }

  it('are told how long they may, and end after that and no sooner', async () => {
    const { socket, answers } = await connect()
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    // Before its answer, and so before it falls silent.
    let from = 0
    const usual = world.bank.answer
    world.bank.answer = (seen, res) => {
      from = performance.now()
      usual(seen, res)
    }
    socket.write(GET)
    await until(() => answers().length === 1)
    world.bank.answer = usual
    assert.match(text, /^connection: keep-alive\r\nkeep-alive: timeout=2(?:, max=\d+)?\r$/im)
    await until(() => socket.destroyed)
    const waited = performance.now() - from
    assert.ok(waited >= TIMEOUT, `after ${waited} ms`)
  })

  it('go on as long as they ask', async () => {
    const { socket, answers } = await connect()
    for (let i = 1; i <= 12; i++) {
      socket.write(GET)
      await until(() => answers().length === i)
      await sleep(TIMEOUT / 8)
    }
    assert.equal(socket.destroyed, false)
    socket.destroy()
  })

  it('wait for an answer that takes longer', async () => {
    const usual = world.bank.answer
    world.bank.answer = (seen, res) => {
      setTimeout(() => {
        usual(seen, res)
      }, 2 * TIMEOUT)
    }
    const { socket, answers } = await connect()
    try {
      socket.write(GET)
      await until(() => answers().length === 1 || socket.destroyed)
      assert.deepEqual(answers(), ['HTTP/1.1 200'])
    } finally {
      world.bank.answer = usual
      socket.destroy()
    }
  })
})

describe('a connection of HTTP/1.1 on which no answer is taken', () => {
  let world: World
  before(async () => {
    world = await startWorld({ settings: { headersTimeoutMs: 1000, requestTimeoutMs: 1000 } })
    world.bank.answer = (_seen, res) => {
      json(res, { account: { ...ACCOUNT, memo: 'x'.repeat(60_000) } })
    }
  })
  after(() => world.close())

  it('is ended, however many of them the system below holds', async () => {
    const socket = await world.agent('reader').raw()
    socket.on('error', () => undefined).pause()
    const now = () => world.gateway.stats()
    await until(() => now().openConnections === 1)
    let sent = 0
    // What is sent ahead waits until there is room for the answer before it: sooner or later there is none.
    for (const end = performance.now() + 30_000; now().openConnections > 0; await sleep(2)) {
      assert.ok(performance.now() < end, `it is still there, with ${now().allowed} answers`)
      if (sent - now().allowed >= 8) continue
      socket.write(GET)
      sent++
    }
    assert.equal(now().inFlight, 0)
    socket.destroy()
  })
})
