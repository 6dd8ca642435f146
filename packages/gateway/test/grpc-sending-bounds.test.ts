import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { status } from '@grpc/grpc-js'
import { codeOf, encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld, Members } from './support/grpc.ts'
import { until } from './support/world.ts'

const pay = (amount: number, over: Members = {}): Buffer =>
  encode('TransferRequest', { account_id: 'ACC-1', amount, to_account: 'ACC-2', ...over })

describe('bounds of callers that send several messages', () => {
  let world: LedgerWorld
  let teller: GrpcAgent
  before(async () => {
    world = await startLedgerWorld(undefined, {
      settings: { maxSendingPerInstance: 2, maxSentMessages: 4, maxSentBytes: 5000 },
    })
    teller = new GrpcAgent(world, world.agent('teller'))
  })
  after(async () => {
    teller.close()
    await world.close()
  })

  it('hold for messages', async () => {
    const few = teller.batch()
    for (let i = 0; i < 4; i++) few.call.write(pay(1))
    few.call.end()
    assert.equal((await few.answer).error, undefined)
    const many = teller.batch()
    for (let i = 0; i < 5; i++) many.call.write(pay(1))
    many.call.end()
    const answer = await many.answer
    assert.equal(answer.error?.code, status.RESOURCE_EXHAUSTED)
    assert.equal(codeOf(answer), 'SP_GRPC_STREAM')
  })

  it('hold for bytes', async () => {
    const long = (length: number): Buffer => pay(1, { tags: ['x'.repeat(length)] })
    const small = teller.batch()
    for (let i = 0; i < 2; i++) small.call.write(long(2400))
    small.call.end()
    assert.equal((await small.answer).error, undefined)
    const large = teller.batch()
    for (let i = 0; i < 2; i++) large.call.write(long(2600))
    assert.equal(codeOf(await large.answer), 'SP_GRPC_STREAM')
  })

  it('hold for calls that are half open, of one caller, and give each place back', async () => {
    await until(() => world.gateway.stats().openStreams === 0)
    const open = [teller.batch(), teller.batch()]
    for (const { call } of open) call.write(pay(1))
    await until(() => world.gateway.stats().openStreams === 2)
    const third = teller.batch()
    third.call.write(pay(1))
    const answer = await third.answer
    assert.equal(answer.error?.code, status.RESOURCE_EXHAUSTED)
    assert.equal(codeOf(answer), 'SP_OVERLOADED')
    const other = new GrpcAgent(world, world.agent('teller', 'other'))
    const theirs = other.batch()
    theirs.call.write(pay(1))
    theirs.call.end()
    assert.equal((await theirs.answer).error, undefined)
    other.close()
    for (const { call } of open) call.end()
    for (const one of open) assert.equal((await one.answer).error, undefined)
    const again = teller.batch()
    again.call.write(pay(1))
    again.call.end()
    assert.equal((await again.answer).error, undefined)
  })
})

describe('callers that fall silent', () => {
  it('hold their places for a while only', async () => {
    const world = await startLedgerWorld(undefined, { settings: { sendingIdleMs: 300 } })
    const teller = new GrpcAgent(world, world.agent('teller'))
    const { call, answer } = teller.batch({ deadline: Date.now() + 600_000 })
    call.write(pay(1))
    const silent = await answer
    assert.equal(codeOf(silent), 'SP_STREAM_ENDED')
    await until(() => world.gateway.stats().openStreams === 0)
    teller.close()
    await world.close()
  })
})
