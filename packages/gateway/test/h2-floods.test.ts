/** Frames without end: the connection is cut, or they cost next to nothing; whoever else calls is served meanwhile. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld } from './support/grpc.ts'
import { ACK, END_HEADERS, END_STREAM, FRAME, frame, FrameReader } from './support/h2.ts'
import { h2Socket, hpack, PREFACE, u32 } from './support/h2.ts'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

type Head = readonly (readonly [string, string])[]

const HEAD: Head = [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':authority', 'gateway.test'],
]
const MESSAGE = encode('GetAccountRequest', { account_id: 'ACC-1' })
const SETTINGS = frame(FRAME.settings, 0, 0)
/** Far more than any flood needs. */
const MOST = 30_000
/** As many as cost work before a connection is cut, and some that were on their way. */
const MAX_BEGUN = 400

/** What is flooded: calls of one kind, and how another caller fares. */
interface Target {
  readonly name: string
  readonly world: () => World
  readonly head: Head
  /** Whole. */
  readonly body: Buffer
  /** How many calls reached the system. */
  readonly seen: () => number
  /** @throws unless somebody else is served */
  readonly other: () => Promise<void>
}

describe('floods of HTTP/2', () => {
  let plain: World
  let ledger: LedgerWorld
  let caller: GrpcAgent
  before(async () => {
    const options = { settings: { headersTimeoutMs: 60_000, requestTimeoutMs: 60_000 } }
    plain = await startWorld(options)
    ledger = await startLedgerWorld(undefined, options)
    caller = new GrpcAgent(ledger, ledger.agent('teller', 'other'))
  })
  after(async () => {
    caller.close()
    await Promise.all([plain.close(), ledger.close()])
  })

  const targets: readonly Target[] = [
    {
      name: 'plain calls',
      world: () => plain,
      head: [
        ...HEAD,
        [':path', '/bank/v1/accounts/A/transfers'],
        ['content-type', 'application/json'],
      ],
      body: Buffer.from('{"amount":1,"to":"bob"}'),
      seen: () => plain.bank.seen.length,
      other: async () => {
        const { status } = await plain.agent('teller', 'other').ask({ path: '/bank/v1/accounts/B' })
        assert.equal(status, 200)
      },
    },
    {
      name: 'calls of gRPC',
      world: () => ledger,
      head: [
        ...HEAD,
        [':path', '/ledger.v1.Ledger/GetAccount'],
        ['content-type', 'application/grpc'],
        ['te', 'trailers'],
      ],
      body: Buffer.concat([Buffer.from([0]), u32(MESSAGE.length), MESSAGE]),
      seen: () => ledger.ledger.seen.length,
      other: async () => {
        const { error } = await caller.ask('GetAccount', MESSAGE)
        assert.equal(error, undefined, error?.details)
      },
    },
  ]

  let floods = 0
  /** Sends frames until the connection is cut, or all were sent. @returns how many were, and whether somebody else was served */
  const flood = async (target: Target, next: (n: number) => Buffer, most: number) => {
    const world = target.world()
    const socket = await h2Socket(world, world.agent('teller', `flood-${++floods}`))
    const reader = new FrameReader(socket)
    socket.write(Buffer.concat([PREFACE, SETTINGS]))
    let sent = 0
    let served = 0
    let others: Promise<void> | undefined
    for (; !socket.destroyed && sent < most; sent += 50) {
      const from = sent
      socket.write(Buffer.concat(Array.from({ length: 50 }, (_, i) => next(from + i))))
      // Begun in the middle of it.
      others ??= target.other().then(() => {
        served++
        others = undefined
      })
      await new Promise(setImmediate)
      await until(() => !socket.writableNeedDrain || socket.destroyed)
    }
    return { socket, reader, sent, settled: async () => (await others, served) }
  }

  const odd = (n: number): number => 2 * n + 1
  const cut: Readonly<Record<string, (target: Target) => (n: number) => Buffer>> = {
    'streams that the caller resets at once (CVE-2023-44487)': (target) => (n) =>
      Buffer.concat([
        frame(FRAME.headers, END_HEADERS, odd(n), hpack(target.head)),
        frame(FRAME.data, END_STREAM, odd(n), target.body),
        frame(FRAME.reset, 0, odd(n), u32(8)),
      ]),
    'streams that the caller resets once they are calls': (target) => (n) =>
      Buffer.concat([
        frame(FRAME.headers, END_HEADERS, odd(n), hpack(target.head)),
        frame(FRAME.data, END_STREAM, odd(n), target.body),
        // Those of the round before.
        n < 50 ? Buffer.alloc(0) : frame(FRAME.reset, 0, odd(n - 50), u32(8)),
      ]),
    'streams that the gateway is made to reset (CVE-2025-55163)': (target) => (n) =>
      Buffer.concat([
        frame(FRAME.headers, END_HEADERS, odd(n), hpack(target.head)),
        frame(FRAME.windowUpdate, 0, odd(n), u32(0)),
      ]),
    'streams beyond those that may be open': (target) => (n) =>
      frame(FRAME.headers, END_HEADERS, odd(n), hpack(target.head)),
    'heads that HPACK makes large': (target) => (n) =>
      frame(FRAME.headers, END_HEADERS | END_STREAM, odd(n), bomb(target.head)),
    'heads that are none': (target) => (n) =>
      frame(FRAME.headers, END_HEADERS | END_STREAM, odd(n), hpack(target.head.slice(1))),
    settings: () => () => SETTINGS,
    pings: () => () => frame(FRAME.ping, 0, 0, Buffer.alloc(8)),
    'empty DATA': (target) => (n) =>
      n === 0 ? frame(FRAME.headers, END_HEADERS, 1, hpack(target.head)) : frame(FRAME.data, 0, 1),
    'CONTINUATION without end': (target) => (n) =>
      n === 0
        ? frame(FRAME.headers, 0, 1, hpack(target.head))
        : frame(FRAME.continuation, 0, 1, hpack([[`x-${n}`, '1']])),
    'empty CONTINUATION without end': (target) => (n) =>
      n === 0 ? frame(FRAME.headers, 0, 1, hpack(target.head)) : frame(FRAME.continuation, 0, 1),
    'acknowledgements of nothing': () => () => frame(FRAME.settings, ACK, 0),
    'answers to pings that nobody sent': () => () => frame(FRAME.ping, ACK, 0, Buffer.alloc(8)),
    'frames of no known kind': () => () => frame(0xbb, 0, 0, Buffer.alloc(20)),
    priorities: () => (n) => frame(FRAME.priority, 0, odd(1000 + n), Buffer.alloc(5)),
  }
  /** Cost what reading them costs. */
  const borne: Readonly<Record<string, (n: number) => Buffer>> = {
    'windows that open further': () => frame(FRAME.windowUpdate, 0, 0, u32(1)),
  }

  for (const target of targets) {
    describe(`of ${target.name}`, () => {
      for (const [what, of] of Object.entries(cut)) {
        it(`cut the connection: ${what}`, { timeout: 60_000 }, async () => {
          const begun = target.seen()
          const { socket, sent, settled } = await flood(target, of(target), MOST)
          await until(() => socket.destroyed)
          assert.ok(sent < MOST)
          assert.ok((await settled()) > 0)
          await until(() => target.world().gateway.stats().inFlight === 0)
          assert.ok(target.seen() - begun < MAX_BEGUN, `${target.seen() - begun} were begun`)
          await target.other()
        })
      }

      for (const [what, next] of Object.entries(borne)) {
        it(`are borne, and the connection goes on: ${what}`, { timeout: 60_000 }, async () => {
          const { socket, reader, settled } = await flood(target, next, 20_000)
          assert.ok((await settled()) > 0)
          socket.write(
            Buffer.concat([
              frame(FRAME.headers, END_HEADERS, 1, hpack(target.head)),
              frame(FRAME.data, END_STREAM, 1, target.body),
            ]),
          )
          await until(() => reader.settled(1) || socket.destroyed)
          assert.equal(reader.status(1), '200')
          socket.destroy()
        })
      }
    })
  }
})

/** A field of 4,000 bytes that HPACK remembers, and then names 3,000 times by a byte each (RFC 7541, section 6.1). */
function bomb(head: Head): Buffer {
  const [[, ...literal]] = [[...hpack([['x-a', 'a'.repeat(3900)]])]]
  return Buffer.concat([hpack(head), Buffer.from([0x40, ...literal]), Buffer.alloc(3000, 0xbe)])
}
