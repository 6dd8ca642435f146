import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { status } from '@grpc/grpc-js'
import type { ClientReadableStream, StatusObject } from '@grpc/grpc-js'
import type { OutcomeRecord } from '@sallyport/wire'
import { ACCOUNT, decode, encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld } from './support/grpc.ts'
import { until } from './support/world.ts'

const GET = encode('GetAccountRequest', { account_id: 'ACC-1' })
const RISKY = 'spiffe://test.example/agent/reader/risky'
const HOUR = { deadline: Date.now() + 3_600_000 }

/** How a stream ends; an error of it is told by that, too. */
const statusOf = (call: ClientReadableStream<Buffer>): Promise<StatusObject> =>
  new Promise((resolve) => {
    call.on('error', () => undefined)
    call.once('status', resolve)
  })

describe('streams of gRPC', () => {
  let world: LedgerWorld
  let reader: GrpcAgent
  before(async () => {
    world = await startLedgerWorld()
    reader = new GrpcAgent(world, world.agent('reader'))
  })
  after(async () => {
    reader.close()
    await world.close()
  })
  beforeEach(() => {
    world.ledger.stream = (_seen, call) => {
      call.end()
    }
  })

  /** All of a stream, and how it ended. */
  const read = async (
    call: ClientReadableStream<Buffer>,
  ): Promise<{ messages: Buffer[]; ended: StatusObject }> => {
    const messages: Buffer[] = []
    call.on('data', (message: Buffer) => messages.push(message))
    const ended = await statusOf(call)
    return { messages, ended }
  }

  it('projects each message, in order, and ends as the system ends', async () => {
    world.ledger.stream = (_seen, call) => {
      for (let i = 1; i <= 50; i++) call.write(encode('Account', { ...ACCOUNT, balance: i }))
      call.end()
    }
    const { messages, ended } = await read(reader.watch(GET))
    assert.equal(ended.code, status.OK, ended.details)
    assert.equal(messages.length, 50)
    for (const [i, message] of messages.entries()) {
      const { id, balance, hidden, extra } = decode('Account', message)
      assert.equal(balance, String(i + 1))
      assert.match(String(id), /^tok_/)
      assert.deepEqual([hidden, extra], [undefined, undefined])
    }
    const decision = world.ledger.seen.at(-1)?.token.decision
    const outcome = (): OutcomeRecord | undefined =>
      world.plane
        .records()
        .filter((record) => record.kind === 'outcome')
        .find(({ decisionId }) => decisionId === decision)
    await until(() => outcome() !== undefined)
    assert.equal(outcome()?.result, 'completed')
    assert.equal(outcome()?.released['accounts']?.records, 50)
  })

  it('ends without a message, and with the status of the system', async () => {
    const empty = await read(reader.watch(GET))
    assert.deepEqual([empty.messages.length, empty.ended.code], [0, status.OK])
    world.ledger.stream = (_seen, call) => {
      call.write(encode('Account', { id: 'ACC-1' }))
      call.emit('error', { code: status.NOT_FOUND, details: 'the secret is 42' })
    }
    const { messages, ended } = await read(reader.watch(GET))
    assert.equal(messages.length, 1)
    assert.equal(ended.code, status.NOT_FOUND)
    assert.match(ended.details, /^SP_UPSTREAM_REFUSED: /)
    assert.doesNotMatch(ended.details, /42/)
  })

  it('takes no more from the system than its caller reads', { timeout: 60_000 }, async () => {
    const total = 800
    let written = 0
    const blocked = Promise.withResolvers<void>()
    world.ledger.stream = (_seen, call) => {
      const more = (): void => {
        while (written < total) {
          written++
          if (!call.write(encode('Account', { memo: 'm'.repeat(20_000), balance: written }))) {
            blocked.resolve()
            call.once('drain', more)
            return
          }
        }
        call.end()
      }
      more()
    }
    const call = reader.watch(GET)
    let first: Buffer | undefined
    const got: string[] = []
    call.once('data', (message: Buffer) => {
      first = message
      call.pause()
    })
    await until(() => first !== undefined)
    await blocked.promise
    // Long enough for all of it, were it taken.
    await sleep(1500)
    assert.ok(written < total, `${written} of ${total} were taken`)
    call.on('data', (message: Buffer) => got.push(String(decode('Account', message)['balance'])))
    const ending = statusOf(call)
    call.resume()
    const ended = await ending
    assert.equal(ended.code, status.OK, ended.details)
    assert.equal(got.length, total - 1)
    assert.deepEqual(
      got,
      got.toSorted((a, b) => Number(a) - Number(b)),
    )
  })

  it('is cut when its permit is withdrawn, and says so', { timeout: 60_000 }, async () => {
    const cancelled = Promise.withResolvers<void>()
    world.ledger.stream = (_seen, call) => {
      call.write(encode('Account', { balance: 1 }))
      call.on('cancelled', () => {
        cancelled.resolve()
      })
    }
    const risky = new GrpcAgent(world, world.agent('reader', 'risky'))
    const call = risky.watch(GET, HOUR)
    const reading = read(call)
    await once(call, 'data')
    world.plane.risk = { [RISKY]: { score: 95, at: Date.now() } }
    world.plane.publish()
    const { ended } = await reading
    assert.equal(ended.code, status.PERMISSION_DENIED)
    assert.match(ended.details, /^SP_DENIED_NOT_PERMITTED: /)
    await cancelled.promise
    await until(() => world.gateway.stats().openStreams === 0)
    assert.equal((await read(risky.watch(GET))).ended.code, status.PERMISSION_DENIED)
    assert.equal(
      (await read(reader.watch(GET, { deadline: Date.now() + 1500 }))).messages.length,
      1,
    )
    risky.close()
  })

  it('ends at the deadline of its caller', { timeout: 60_000 }, async () => {
    const cancelled = Promise.withResolvers<void>()
    world.ledger.stream = (_seen, call) => {
      call.write(encode('Account', { balance: 1 }))
      call.on('cancelled', () => {
        cancelled.resolve()
      })
    }
    const { ended } = await read(reader.watch(GET, { deadline: Date.now() + 1500 }))
    assert.equal(ended.code, status.DEADLINE_EXCEEDED)
    await cancelled.promise
    await until(() => world.gateway.stats().openStreams === 0)
  })

  it('is given up with its caller', { timeout: 60_000 }, async () => {
    const cancelled = Promise.withResolvers<void>()
    world.ledger.stream = (_seen, call) => {
      call.write(encode('Account', { balance: 1 }))
      call.on('cancelled', () => {
        cancelled.resolve()
      })
    }
    const call = reader.watch(GET, HOUR)
    const reading = read(call)
    await once(call, 'data')
    call.cancel()
    assert.equal((await reading).ended.code, status.CANCELLED)
    await cancelled.promise
    await until(() => world.gateway.stats().openStreams === 0)
  })

  it('is cut with its caller, who is quarantined', { timeout: 60_000 }, async () => {
    const cancelled = Promise.withResolvers<void>()
    world.ledger.stream = (_seen, call) => {
      call.write(encode('Account', { balance: 1 }))
      call.on('cancelled', () => {
        cancelled.resolve()
      })
    }
    const other = new GrpcAgent(world, world.agent('reader', 'watcher'))
    const call = other.watch(GET, HOUR)
    const reading = read(call)
    await once(call, 'data')
    world.plane.quarantine('spiffe://test.example/agent/reader/watcher')
    assert.notEqual((await reading).ended.code, status.OK)
    await cancelled.promise
    const after = await other.ask('GetAccount', GET, {}, { deadline: Date.now() + 20_000 })
    assert.ok(after.error)
    other.close()
    assert.equal((await reader.ask('GetAccount', GET)).error, undefined)
  })
})
