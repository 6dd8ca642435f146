import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { status } from '@grpc/grpc-js'
import type { DecisionRecord, OutcomeRecord } from '@sallyport/wire'
import { ACCOUNT, codeOf, decode, encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld, Members } from './support/grpc.ts'
import { until } from './support/world.ts'

const GET = encode('GetAccountRequest', { account_id: 'ACC-1' })
const transfer = (over: Members = {}): Buffer =>
  encode('TransferRequest', { account_id: 'ACC-1', amount: 10, to_account: 'ACC-2', ...over })

describe('gRPC', () => {
  let world: LedgerWorld
  let teller: GrpcAgent
  let reader: GrpcAgent
  let stranger: GrpcAgent
  before(async () => {
    world = await startLedgerWorld()
    teller = new GrpcAgent(world, world.agent('teller'))
    reader = new GrpcAgent(world, world.agent('reader'))
    stranger = new GrpcAgent(world, world.agent('stranger'))
  })
  after(async () => {
    for (const agent of [teller, reader, stranger]) agent.close()
    await world.close()
  })

  const decisions = (): DecisionRecord[] =>
    world.plane.records().filter((record) => record.kind === 'decision')
  const outcomes = (): OutcomeRecord[] =>
    world.plane.records().filter((record) => record.kind === 'outcome')

  it('answers with what may leave, field by field', async () => {
    const { error, value } = await teller.ask('GetAccount', GET)
    assert.equal(error, undefined)
    assert.ok(value)
    assert.deepEqual(decode('Account', value), {
      id: 'ACC-1',
      owner: 'A***',
      // Beyond 2^53, and whole.
      balance: '9007199254740993',
      memo: ACCOUNT['memo'],
      status: 'STATUS_OPEN',
      // The reference of an entry is restricted.
      entries: [{ amount: '5' }, { amount: '18446744073709551615' }],
      limits: { day: '500', '': '-1' },
      // Neither `hidden`, which nobody declared, nor `extra`, which nobody can read.
      opened: { seconds: '1700000000', nanos: 5 },
    })
    const seen = world.ledger.seen.at(-1)
    assert.ok(seen)
    assert.equal(seen.path, '/ledger.v1.Ledger/GetAccount')
    assert.equal(seen.token.operation, 'ledger.get-account')
    assert.equal(seen.token.sub, 'spiffe://test.example/agent/teller/i1')
    assert.equal(world.ledger.refused, 0)
    await until(() => outcomes().some(({ decisionId }) => decisionId === seen.token.decision))
    const outcome = outcomes().find(({ decisionId }) => decisionId === seen.token.decision)
    assert.equal(outcome?.result, 'completed')
    assert.equal(outcome.released['accounts']?.maxWholeClass, 'confidential')
    assert.equal(outcome.released['entries']?.records, 2)
  })

  it('shows another caller other forms of the same fields', async () => {
    const { value } = await reader.ask('GetAccount', GET)
    assert.ok(value)
    assert.match(String(decode('Account', value)['id']), /^tok_/)
  })

  it('decides on what the message says', async () => {
    const small = await teller.ask('Transfer', transfer())
    assert.equal(small.error, undefined)
    assert.ok(small.value)
    assert.deepEqual(decode('Receipt', small.value), { id: 'T-1' })
    assert.deepEqual(decode('TransferRequest', world.ledger.seen.at(-1)?.message ?? GET), {
      account_id: 'ACC-1',
      amount: '10',
      to_account: 'ACC-2',
    })
    const calls = world.ledger.seen.length
    const large = await teller.ask('Transfer', transfer({ amount: 1001 }))
    assert.equal(large.error?.code, status.PERMISSION_DENIED)
    assert.equal(codeOf(large), 'SP_NEEDS_APPROVAL')
    const closed = await teller.ask('Transfer', transfer({ only_if: 'STATUS_CLOSED' }))
    assert.equal(codeOf(closed), 'SP_DENIED_FORBIDDEN')
    const shifted = await teller.ask('Transfer', transfer({ offset: -1 }))
    assert.equal(codeOf(shifted), 'SP_DENIED_NOT_PERMITTED')
    const party = await teller.ask(
      'Transfer',
      encode('TransferRequest', { to_party: { name: 'x' } }),
    )
    assert.equal(codeOf(party), 'SP_DENIED_NOT_PERMITTED')
    assert.equal(world.ledger.seen.length, calls)
    const open = await teller.ask('Transfer', transfer({ only_if: 'STATUS_OPEN', rate: 0.1 }))
    assert.equal(open.error, undefined)
    assert.deepEqual(decode('TransferRequest', world.ledger.seen.at(-1)?.message ?? GET), {
      account_id: 'ACC-1',
      amount: '10',
      to_account: 'ACC-2',
      only_if: 'STATUS_OPEN',
      rate: 0.1,
    })
  })

  it('tells in words of gRPC what a call needs, and takes the approval', async () => {
    const message = transfer({ amount: 2000 })
    const { error } = await teller.ask('Transfer', message)
    assert.ok(error)
    const [details] = error.metadata.get('grpc-status-details-bin')
    assert.ok(Buffer.isBuffer(details))
    const approval = /"approval":"([^"]+)"/.exec(details.toString('latin1'))?.[1]
    assert.ok(approval !== undefined, details.toString('latin1'))
    assert.match(String(error.metadata.get('sallyport-decision')[0]), /^dec_/)
    world.plane.approve(approval)
    const again = await teller.ask('Transfer', message, { 'sallyport-approval': approval })
    assert.equal(again.error, undefined, again.error?.details)
    const other = await teller.ask('Transfer', transfer({ amount: 2001 }), {
      'sallyport-approval': approval,
    })
    assert.equal(other.error?.code, status.PERMISSION_DENIED)
  })

  it('lets nobody call what no flow leads to, or what is not declared', async () => {
    const calls = world.ledger.seen.length
    const foreign = await stranger.ask('GetAccount', GET)
    assert.equal(foreign.error?.code, status.PERMISSION_DENIED)
    assert.equal(codeOf(foreign), 'SP_NO_FLOW')
    assert.equal(codeOf(await reader.ask('Transfer', transfer())), 'SP_NO_FLOW')
    // What is wrong with a message is nobody's business to whom no flow leads.
    assert.equal(codeOf(await stranger.ask('GetAccount', Buffer.from([0xff]))), 'SP_NO_FLOW')
    for (const path of ['Close', '/grpc.health.v1.Health/Check', '/ledger.v1.Ledger/None']) {
      const answer = await teller.ask(path, GET)
      assert.equal(answer.error?.code, status.PERMISSION_DENIED, path)
      assert.equal(codeOf(answer), 'SP_NO_OPERATION', path)
    }
    assert.equal(world.ledger.seen.length, calls)
    await until(() => decisions().some(({ code }) => code === 'SP_NO_OPERATION'))
  })

  it('passes on how the system ended a call, and none of its words', async () => {
    const { unary } = world.ledger
    const cases = [
      [status.NOT_FOUND, status.NOT_FOUND, 'SP_UPSTREAM_REFUSED'],
      [status.ALREADY_EXISTS, status.ALREADY_EXISTS, 'SP_UPSTREAM_REFUSED'],
      [status.INTERNAL, status.UNKNOWN, 'SP_UPSTREAM_FAILED'],
      [status.UNAVAILABLE, status.UNKNOWN, 'SP_UPSTREAM_FAILED'],
      [status.UNAUTHENTICATED, status.UNKNOWN, 'SP_UPSTREAM_FAILED'],
    ] as const
    for (const [given, told, code] of cases) {
      world.ledger.unary = (_seen, done) => {
        done({ code: given, details: 'the secret is 42' })
      }
      const answer = await teller.ask('GetAccount', GET)
      assert.equal(answer.error?.code, told)
      assert.equal(codeOf(answer), code)
      assert.doesNotMatch(answer.error.details, /42/)
    }
    world.ledger.unary = unary
    assert.equal((await teller.ask('GetAccount', GET)).error, undefined)
  })

  it('waits no longer than its caller', { timeout: 60_000 }, async () => {
    const { unary } = world.ledger
    const told = Promise.withResolvers<void>()
    world.ledger.unary = ({ metadata }, _done, call) => {
      assert.match(String(metadata.get('grpc-timeout')[0] ?? call.getDeadline()), /./)
      call.on('cancelled', () => {
        told.resolve()
      })
    }
    const answer = await teller.ask('GetAccount', GET, {}, { deadline: Date.now() + 1500 })
    assert.equal(answer.error?.code, status.DEADLINE_EXCEEDED)
    await told.promise
    world.ledger.unary = unary
    assert.equal((await teller.ask('GetAccount', GET)).error, undefined)
  })
})
