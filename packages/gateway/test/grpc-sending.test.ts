import assert from 'node:assert/strict'
import { constants } from 'node:http2'
import { after, before, beforeEach, describe, it } from 'node:test'
import { status } from '@grpc/grpc-js'
import type { ClientWritableStream } from '@grpc/grpc-js'
import { declarationDigest } from '@sallyport/wire'
import type { DecisionRecord, OutcomeRecord } from '@sallyport/wire'
import { replaceSync } from './support/disk.ts'
import { codeOf, decode, encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld, Members, Sending } from './support/grpc.ts'
import { END_HEADERS, FRAME, frame, h2Socket, hpack, PREFACE, u32 } from './support/h2.ts'
import { until } from './support/world.ts'

const pay = (amount: number, over: Members = {}): Buffer =>
  encode('TransferRequest', { account_id: 'ACC-1', amount, to_account: 'ACC-2', ...over })

/** What a system hears of one call. */
class Heard {
  readonly amounts: string[] = []
  /** How it ended for the system. */
  end: 'ended' | 'cancelled' | undefined

  constructor(call: Sending) {
    call.on('data', (message: Buffer) => {
      this.amounts.push(String(decode('TransferRequest', message)['amount']))
    })
    call.on('end', () => {
      this.end ??= 'ended'
    })
    call.on('cancelled', () => {
      // Of grpc-js, whatever closes a call: also where it ended well.
      this.end ??= 'cancelled'
    })
  }
}

describe('calls of gRPC whose callers send several messages', () => {
  let world: LedgerWorld
  let teller: GrpcAgent
  let heard: Heard[]
  before(async () => {
    world = await startLedgerWorld()
    teller = new GrpcAgent(world, world.agent('teller'))
  })
  after(async () => {
    teller.close()
    await world.close()
  })
  beforeEach(() => {
    heard = []
    world.plane.limit = 'grant'
    world.ledger.batch = (_seen, call, done) => {
      const own = new Heard(call)
      heard.push(own)
      call.on('end', () => {
        done(null, encode('Receipt', { id: `B-${own.amounts.length}`, internal: 'x' }))
      })
    }
  })

  const decisions = (): DecisionRecord[] =>
    world.plane
      .records()
      .filter((record) => record.kind === 'decision')
      .filter(({ operation }) => operation === 'Batch')
  const outcomes = (): Map<string, OutcomeRecord> =>
    new Map(
      world.plane
        .records()
        .filter((record) => record.kind === 'outcome')
        .map((record) => [record.decisionId, record]),
    )
  const first = (): Heard => {
    const [one] = heard
    assert.ok(one)
    return one
  }
  const arrived = (count: number): Promise<void> => until(() => heard[0]?.amounts.length === count)

  it('are decided message by message, each in the log, and answered as one', async () => {
    const before = decisions().length
    const { call, answer } = teller.batch()
    for (const amount of [1, 2, 3]) call.write(pay(amount))
    call.end()
    const { error, value } = await answer
    assert.equal(error, undefined)
    // `internal` was declared nowhere.
    assert.deepEqual(decode('Receipt', value ?? Buffer.alloc(0)), { id: 'B-3' })
    assert.deepEqual([first().amounts, first().end], [['1', '2', '3'], 'ended'])
    await until(() => decisions().length === before + 3)
    const own = decisions().slice(before)
    assert.deepEqual(
      own.map(({ decision }) => decision),
      ['allow', 'allow', 'allow'],
    )
    await until(() => own.every(({ id }) => outcomes().has(id)))
    assert.deepEqual(
      own.map(({ id }) => outcomes().get(id)?.result),
      ['completed', 'completed', 'completed'],
    )
    // The token of the call is one for the decision that opened it.
    assert.equal(world.ledger.seen.at(-1)?.token.decision, own[0]?.id)
    await until(() => world.gateway.stats().openStreams === 0)
  })

  /** Sends one good message, then others; what the system hears is cut short there. */
  const brokenBy = async (
    send: (call: ClientWritableStream<Buffer>) => void,
    code: number,
    own: string,
  ): Promise<void> => {
    const { call, answer } = teller.batch()
    call.write(pay(1))
    await arrived(1)
    send(call)
    const got = await answer
    assert.deepEqual([got.error?.code, codeOf(got)], [code, own])
    await until(() => first().end !== undefined)
    // Never an end: a system that acts at the end of what it hears must not act on half of it.
    assert.deepEqual([first().amounts, first().end], [['1'], 'cancelled'])
    await until(() => world.gateway.stats().openStreams === 0)
  }

  it('end with a message that is denied, and the system does not hear of it', async () => {
    await brokenBy(
      (call) => {
        call.write(pay(2, { only_if: 'STATUS_CLOSED' }))
        call.end()
      },
      status.PERMISSION_DENIED,
      'SP_DENIED_FORBIDDEN',
    )
    await until(() => decisions().some(({ code }) => code === 'SP_DENIED_FORBIDDEN'))
  })

  it('end with a message that cannot be read', async () => {
    await brokenBy(
      (call) => {
        call.write(Buffer.from([0xff]))
      },
      status.INVALID_ARGUMENT,
      'SP_GRPC_MESSAGE',
    )
    const refused = () =>
      world.plane.records().some((one) => one.kind === 'event' && one.event === 'request-refused')
    await until(refused)
  })

  it('count each message under a limit', async () => {
    await brokenBy(
      (call) => {
        world.plane.limit = 'refuse'
        call.write(pay(2))
      },
      status.RESOURCE_EXHAUSTED,
      'SP_LIMIT_REACHED',
    )
  })

  it('may bring an approval for one of their messages', async () => {
    const { call, answer } = teller.batch()
    call.write(pay(1))
    call.write(pay(2000))
    call.end()
    const { error } = await answer
    assert.ok(error)
    assert.match(error.details, /^SP_NEEDS_APPROVAL/)
    const [details] = error.metadata.get('grpc-status-details-bin')
    const approval = /"approval":"([^"]+)"/.exec(String(details))?.[1] ?? ''
    // The refusal names the decision of its message, not the one that opened the call.
    const [named] = error.metadata.get('sallyport-decision')
    await until(() => decisions().some(({ id }) => id === named))
    assert.equal(decisions().find(({ id }) => id === named)?.code, 'SP_NEEDS_APPROVAL')
    world.plane.approve(approval)
    heard = []
    const metadata = error.metadata.clone()
    for (const name of Object.keys(metadata.getMap())) metadata.remove(name)
    metadata.set('sallyport-approval', approval)
    const again = teller.batch({}, metadata)
    for (const amount of [1, 2000]) again.call.write(pay(amount))
    await arrived(2)
    // Used up: it was for one message.
    again.call.write(pay(2000))
    assert.equal((await again.answer).error?.code, status.PERMISSION_DENIED)
    assert.deepEqual(first().amounts, ['1', '2000'])
  })

  it('are opened by their first message, or not at all', async () => {
    const calls = world.ledger.seen.length
    const denied = teller.batch()
    denied.call.write(pay(1, { only_if: 'STATUS_CLOSED' }))
    denied.call.write(pay(1))
    assert.equal(codeOf(await denied.answer), 'SP_DENIED_FORBIDDEN')
    const empty = teller.batch()
    empty.call.end()
    assert.equal(codeOf(await empty.answer), 'SP_GRPC_REQUEST')
    const reader = new GrpcAgent(world, world.agent('reader'))
    const foreign = reader.batch()
    foreign.call.write(pay(1))
    assert.equal(codeOf(await foreign.answer), 'SP_NO_FLOW')
    reader.close()
    assert.equal(world.ledger.seen.length, calls)
  })

  it('may be answered before all was said', async () => {
    world.ledger.batch = (_seen, call, done) => {
      call.once('data', () => {
        done(null, encode('Receipt', { id: 'early' }))
      })
    }
    const { call, answer } = teller.batch()
    call.write(pay(1))
    const { value, error } = await answer
    assert.equal(error, undefined)
    assert.deepEqual(decode('Receipt', value ?? Buffer.alloc(0)), { id: 'early' })
    await until(() => world.gateway.stats().openStreams === 0)
  })

  it('are given up with their callers', async () => {
    const { call, answer } = teller.batch()
    call.write(pay(1))
    await arrived(1)
    call.cancel()
    assert.equal((await answer).error?.code, status.CANCELLED)
    // grpc-js says that it has said all before it resets, and that may arrive alone.
    await until(() => first().end !== undefined)
    await until(() => world.gateway.stats().openStreams === 0)
  })

  const { NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR } = constants
  for (const code of [NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR]) {
    it(`never end well with a reset of their callers, by code ${code}`, async () => {
      const prefix = Buffer.alloc(5)
      prefix.writeUInt32BE(pay(1).length, 1)
      const socket = await h2Socket(world, world.agent('teller'))
      socket.on('error', () => undefined)
      const head: (readonly [string, string])[] = [
        [':method', 'POST'],
        [':scheme', 'https'],
        [':authority', 'gateway.test'],
        [':path', '/ledger.v1.Ledger/Batch'],
        ['content-type', 'application/grpc'],
        ['te', 'trailers'],
      ]
      socket.write(
        Buffer.concat([
          PREFACE,
          frame(FRAME.settings, 0, 0),
          frame(FRAME.headers, END_HEADERS, 1, hpack(head)),
          frame(FRAME.data, 0, 1, Buffer.concat([prefix, pay(1)])),
        ]),
      )
      await arrived(1)
      socket.write(frame(FRAME.reset, 0, 1, u32(code)))
      await until(() => first().end !== undefined)
      assert.deepEqual([first().amounts, first().end], [['1'], 'cancelled'])
      socket.destroy()
    })
  }

  it('forward nothing before it is in the log, nor what was cut off meanwhile', async () => {
    const other = new GrpcAgent(world, world.agent('teller', 'doomed'))
    const { call, answer } = other.batch()
    call.write(pay(1))
    await arrived(1)
    const [done, begun] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()]
    const mend = await replaceSync(async (sync) => {
      begun.resolve(undefined)
      await done.promise
      await sync()
    })
    try {
      call.write(pay(2))
      await begun.promise
      world.plane.quarantine('spiffe://test.example/agent/teller/doomed')
      assert.notEqual((await answer).error, undefined)
      await until(() => first().end === 'cancelled')
    } finally {
      done.resolve(undefined)
      mend()
    }
    await until(() => world.gateway.stats().openStreams === 0)
    assert.deepEqual(first().amounts, ['1'])
    other.close()
    // Nobody else is.
    heard = []
    const well = teller.batch()
    well.call.write(pay(1))
    well.call.end()
    assert.equal((await well.answer).error, undefined)
  })

  it('end with another declaration', async () => {
    const { declaration } = world.plane
    const { call, answer } = teller.batch()
    call.write(pay(1))
    call.write(pay(2))
    await arrived(2)
    const another = { ...declaration, network: { ...declaration.network, name: 'another' } }
    const digest = declarationDigest(another)
    const statement = { kind: 'declaration', digest, epoch: 1, serial: 1 } as const
    world.plane.publish({
      ...{ declaration: another, declarationDigest: digest, declarationSerial: 1 },
      declarationSignatures: [world.plane.operator.sign(statement)],
    })
    assert.equal(codeOf(await answer), 'SP_DECLARATION_CHANGED')
    await until(() => first().end === 'cancelled')
  })
})
