import assert from 'node:assert/strict'
import { once } from 'node:events'
import { constants } from 'node:http2'
import { after, before, describe, it } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { systemClock } from '@sallyport/base'
import { H2Edge } from '../src/edge/h2.ts'
import type { EdgeRequest } from '../src/edge/message.ts'
import { DEFAULT_SETTINGS } from '../src/settings.ts'
import { encode, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld } from './support/grpc.ts'
import { END_HEADERS, END_STREAM, FRAME, frame, FrameReader } from './support/h2.ts'
import { h2Session, h2Socket, hpack, PREFACE, u32 } from './support/h2.ts'
import { ends } from './support/readings/h2-wire.ts'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const MESSAGE = encode('GetAccountRequest', { account_id: 'ACC-1' })

interface Kind {
  readonly path: string
  readonly headers: readonly (readonly [string, string])[]
  /** Whole, as far as its bytes go. */
  readonly body: Buffer
  /** How many reached the system. */
  readonly seen: () => number
}

/** Reads both as an end, were it not for END_STREAM. */
const { NGHTTP2_NO_ERROR, NGHTTP2_CANCEL } = constants

describe('a body that a reset ends', () => {
  let world: World
  let grpc: LedgerWorld
  before(async () => {
    world = await startWorld()
    grpc = await startLedgerWorld()
  })
  after(async () => {
    await world.close()
    await grpc.close()
  })

  const json: Kind = {
    path: '/bank/v1/accounts/A/transfers',
    headers: [['content-type', 'application/json']],
    body: Buffer.from('{"amount":1,"to":"bob"}'),
    seen: () => world.bank.seen.length,
  }
  const call: Kind = {
    path: '/ledger.v1.Ledger/GetAccount',
    headers: [
      ['content-type', 'application/grpc'],
      ['te', 'trailers'],
    ],
    body: Buffer.concat([Buffer.from([0]), u32(MESSAGE.length), MESSAGE]),
    seen: () => grpc.ledger.seen.length,
  }

  for (const [what, kind, of] of [
    ['of JSON', json, () => world],
    ['of gRPC', call, () => grpc],
  ] as const) {
    const { path, headers, body, seen } = kind
    const start = async (flags: number) => {
      const socket = await h2Socket(of(), of().agent('teller'))
      const reader = new FrameReader(socket)
      const head = [
        [':method', 'POST'],
        [':scheme', 'https'],
        [':authority', 'gateway.test'],
        [':path', path],
        ...headers,
      ] as const
      const frames = [
        frame(FRAME.settings, 0, 0),
        frame(FRAME.headers, END_HEADERS, 1, hpack(head)),
        frame(FRAME.data, flags, 1, body),
      ]
      return { socket, reader, said: Buffer.concat([PREFACE, ...frames]) }
    }
    it(`is forwarded where it ends by itself, ${what}`, async () => {
      const [calls, { allowed }] = [seen(), of().gateway.stats()]
      const { socket, reader, said } = await start(END_STREAM)
      socket.write(said)
      await until(() => reader.settled(1))
      assert.equal(reader.status(1), '200')
      assert.deepEqual([seen(), of().gateway.stats().allowed], [calls + 1, allowed + 1])
      socket.destroy()
    })

    for (const code of [NGHTTP2_NO_ERROR, NGHTTP2_CANCEL]) {
      for (const isLate of [false, true]) {
        const how = `${what}, by code ${code}${isLate ? ', later' : ''}`
        it(`is refused before anything is decided, ${how}`, async () => {
          const calls = seen()
          const before = of().gateway.stats()
          const { socket, said } = await start(0)
          const reset = frame(FRAME.reset, 0, 1, u32(code))
          socket.write(isLate ? said : Buffer.concat([said, reset]))
          await until(() => of().gateway.stats().requests > before.requests)
          if (isLate) socket.write(reset)
          const now = (): typeof before => of().gateway.stats()
          await until(() => now().refused > before.refused || now().allowed > before.allowed)
          assert.deepEqual([seen(), now().allowed], [calls, before.allowed])
          socket.destroy()
        })
      }
    }
  }
})

describe('a call whose stream is reset', () => {
  let world: World
  before(async () => {
    // No timeout of its own ends what is asked here.
    world = await startWorld({ settings: { upstreamTimeoutMs: 600_000 } })
  })
  after(() => world.close())

  const outcomes = () =>
    world.plane.records().flatMap((one) => (one.kind === 'outcome' ? [one] : []))

  for (const [what, first] of [
    ['before it is answered', 0],
    ['in the middle of its answer', 1],
  ] as const) {
    it(`is given up at the system, ${what}`, async () => {
      const from = outcomes().length
      let asked = false
      let given = false
      world.bank.answer = (_seen, res) => {
        asked = true
        res.once('close', () => (given = true))
        if (first === 0) return
        res.writeHead(200, { 'content-type': 'application/json' })
        // More than anybody holds on the way, and not all of it.
        res.write(`{"accounts":[${'{"status":"open"},'.repeat(20_000)}`)
      }
      const session = await h2Session(world, world.agent('reader'))
      const stream = session.request({ ':path': '/bank/v1/accounts' })
      stream.on('error', () => undefined)
      if (first === 0) await until(() => asked)
      else await once(stream, 'data')
      stream.close(NGHTTP2_CANCEL)
      await until(() => given)
      await until(() => outcomes().length === from + 1)
      assert.equal(outcomes().at(-1)?.result, 'aborted')
      await until(() => world.gateway.stats().inFlight === 0)
      session.destroy()
    })
  }
})

describe('a body of no byte', () => {
  const HEAD = [
    [':method', 'POST'],
    [':scheme', 'https'],
    [':authority', 'gateway.test'],
    [':path', '/bank/v1/accounts/A/close'],
  ] as const

  /** What the edge reads of the one stream of a connection, all of which came at once. */
  const read = async (...frames: readonly Buffer[]): Promise<number> => {
    const [ours, theirs] = ends()
    const { promise, resolve } = Promise.withResolvers<number>()
    const edge = new H2Edge({
      settings: DEFAULT_SETTINGS,
      clock: systemClock,
      onRequest: (req) => {
        resolve(sizeOf(req))
      },
      onMalformed: () => undefined,
    })
    theirs.resume()
    // A stream is all that HTTP/2 needs of it; it names no server.
    edge.take(ours as unknown as TLSSocket)
    theirs.write(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0), ...frames]))
    try {
      return await promise
    } finally {
      edge.close()
      for (const end of [ours, theirs]) end.destroy()
    }
  }
  const sizeOf = async (req: EdgeRequest): Promise<number> => {
    let size = 0
    // Without an encoding set, a request yields buffers.
    for await (const chunk of req) size += (chunk as Buffer).length
    return size
  }
  const head = frame(FRAME.headers, END_HEADERS, 1, hpack(HEAD))

  it('is whole where it ends by itself', async () => {
    assert.equal(await read(head, frame(FRAME.data, END_STREAM, 1)), 0)
  })

  // Node has read it to its end by then, and closes it well: that it was broken off is all that tells it from a whole one.
  it('is not where a reset without an error comes with its head', async () => {
    const reset = frame(FRAME.reset, 0, 1, u32(NGHTTP2_NO_ERROR))
    await assert.rejects(read(head, reset), { code: 'SP_REQUEST_BODY' })
  })
})
