/** Callers on HTTP/2 that take nothing of what they asked for, not even that it is given up. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { END_HEADERS, END_STREAM, FRAME, frame, h2Socket, hpack } from './support/h2.ts'
import { PREFACE, u32 } from './support/h2.ts'
import { json } from './support/service.ts'
import { ACCOUNT, startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const STREAMS = 240
const HEAD = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'gateway.test'],
  [':path', '/bank/v1/accounts/A'],
] as const

describe('a connection of HTTP/2 on which nothing is taken', () => {
  let world: World
  before(async () => {
    world = await startWorld({
      settings: {
        ...{ requestTimeoutMs: 1000, headersTimeoutMs: 1000, keepAliveTimeoutMs: 1000 },
        maxStreamsPerConnection: STREAMS,
      },
    })
    world.bank.answer = (_seen, res) => {
      json(res, { account: { ...ACCOUNT, memo: 'x'.repeat(60_000) } })
    }
  })
  after(() => world.close())

  for (const [what, vanishes] of [
    ['is ended', false],
    ['is ended where its caller has vanished too', true],
  ] as const) {
    it(what, async () => {
      const from = world.gateway.stats().allowed
      const socket = await h2Socket(world, world.agent('reader', vanishes ? 'gone' : 'mute'))
      socket.on('error', () => undefined)
      socket.pause()
      // SETTINGS_INITIAL_WINDOW_SIZE, and the window of the connection, as large as they go.
      const settings = frame(
        FRAME.settings,
        0,
        0,
        Buffer.concat([Buffer.from([0, 4]), u32(2 ** 31 - 1)]),
      )
      const window = frame(8, 0, 0, u32(2 ** 30))
      const ids = Array.from({ length: STREAMS }, (_, i) => 2 * i + 1)
      const calls = ids.map((id) => frame(FRAME.headers, END_HEADERS | END_STREAM, id, hpack(HEAD)))
      socket.write(Buffer.concat([PREFACE, settings, window, ...calls]))
      await until(() => world.gateway.stats().allowed >= from + 50)
      await until(() => world.gateway.stats().inFlight === 0)
      if (vanishes) socket.destroy()
      await until(() => world.gateway.stats().openConnections === 0)
      socket.destroy()
      assert.equal(world.gateway.stats().openStreams, 0)
    })
  }
})
