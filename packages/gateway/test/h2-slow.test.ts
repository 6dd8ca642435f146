/** Many streams of one connection whose bodies come a byte at a time: each is given up in bounded time, and others are served. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld } from './support/grpc.ts'
import { END_HEADERS, FRAME, frame, FrameReader, h2Socket, hpack } from './support/h2.ts'
import { PREFACE, u32 } from './support/h2.ts'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const STREAMS = 8
const MESSAGE = encode('GetAccountRequest', { account_id: 'ACC-1' })
const PAY = encode('TransferRequest', { account_id: 'ACC-1', amount: 1, to_account: 'ACC-2' })
const framed = (message: Buffer, length = message.length): Buffer =>
  Buffer.concat([Buffer.from([0]), u32(length), message])
/** Dripping goes on for far longer than a body may take. */
const BOUNDS = {
  ...{ requestTimeoutMs: 3000, sendingIdleMs: 6000, headersTimeoutMs: 3000 },
  ...{ maxStreamsPerConnection: STREAMS, maxSendingPerInstance: STREAMS },
}

interface Slow {
  readonly what: string
  readonly world: () => World
  readonly path: string
  readonly type: string
  /** How each body begins. */
  readonly begins: Buffer
  /** One that begins so reaches the system, which does not hear of an end. */
  readonly reaches: number
  /** How many calls reached the system. */
  readonly seen: () => number
}

describe('many streams with slow bodies', () => {
  let plain: World
  let ledger: LedgerWorld
  let caller: GrpcAgent
  before(async () => {
    plain = await startWorld({ settings: BOUNDS })
    ledger = await startLedgerWorld(undefined, { settings: BOUNDS })
    caller = new GrpcAgent(ledger, ledger.agent('teller', 'other'))
  })
  after(async () => {
    caller.close()
    await Promise.all([plain.close(), ledger.close()])
  })

  const calls = {
    world: () => ledger,
    type: 'application/grpc',
    seen: () => ledger.ledger.seen.length,
  }
  const kinds: readonly Slow[] = [
    {
      what: 'of plain calls',
      world: () => plain,
      path: '/bank/v1/accounts/A/transfers',
      type: 'application/json',
      begins: Buffer.from('{"amount":1'),
      reaches: 0,
      seen: () => plain.bank.seen.length,
    },
    {
      ...{ ...calls, what: 'of calls of gRPC' },
      path: '/ledger.v1.Ledger/GetAccount',
      begins: framed(MESSAGE, 60_000),
      reaches: 0,
    },
    {
      ...{ ...calls, what: 'of calls of gRPC that never have a first message' },
      path: '/ledger.v1.Ledger/Batch',
      begins: framed(PAY, 60_000),
      reaches: 0,
    },
    {
      ...{ ...calls, what: 'of calls of gRPC that never have a second message' },
      path: '/ledger.v1.Ledger/Batch',
      begins: Buffer.concat([framed(PAY), framed(PAY, 60_000)]),
      reaches: STREAMS,
    },
  ]

  const others = async (world: World): Promise<void> => {
    if (world === plain) {
      const { status } = await plain.agent('teller', 'other').ask({ path: '/bank/v1/accounts/B' })
      assert.equal(status, 200)
      return
    }
    const { error } = await caller.ask('GetAccount', MESSAGE)
    assert.equal(error, undefined, error?.details)
  }

  for (const [n, kind] of kinds.entries()) {
    it(`are given up, ${kind.what}`, { timeout: 60_000 }, async () => {
      const world = kind.world()
      const { requests } = world.gateway.stats()
      const seen = kind.seen()
      const socket = await h2Socket(world, world.agent('teller', `slow-${n}`))
      const reader = new FrameReader(socket)
      const head: readonly (readonly [string, string])[] = [
        [':method', 'POST'],
        [':scheme', 'https'],
        [':authority', 'gateway.test'],
        [':path', kind.path],
        ['content-type', kind.type],
        ...(kind.type === calls.type ? [['te', 'trailers'] as const] : []),
      ]
      const ids = Array.from({ length: STREAMS }, (_, i) => 2 * i + 1)
      const ended = (id: number): boolean =>
        reader.frames.some(
          ({ type, stream, flags }) =>
            stream === id &&
            (type === FRAME.reset || (type === FRAME.headers && (flags & 1) === 1)),
        )
      socket.write(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]))
      for (const id of ids) {
        socket.write(frame(FRAME.headers, END_HEADERS, id, hpack(head)))
        socket.write(frame(FRAME.data, 0, id, kind.begins))
      }
      const dripping = setInterval(() => {
        const open = ids.filter((id) => !ended(id))
        if (open.length === 0 || socket.destroyed) clearInterval(dripping)
        else
          socket.write(Buffer.concat(open.map((id) => frame(FRAME.data, 0, id, Buffer.from(' ')))))
      }, 20)
      try {
        await until(() => world.gateway.stats().requests >= requests + STREAMS)
        await until(() => kind.seen() === seen + kind.reaches)
        await others(world)
        const reached = kind.seen()
        await until(() => ids.every(ended) || socket.destroyed)
        await until(() => world.gateway.stats().inFlight === 0)
        assert.equal(world.gateway.stats().openStreams, 0)
        assert.equal(kind.seen(), reached)
      } finally {
        clearInterval(dripping)
        socket.destroy()
      }
      await others(world)
    })
  }
})
