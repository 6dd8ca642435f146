import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { status } from '@grpc/grpc-js'
import { codeOf, decode, encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld, Members } from './support/grpc.ts'

const GET = encode('GetAccountRequest', { account_id: 'ACC-1' })

/** An `Any`, by the URL that names its type. */
const any = (url: string, value: Uint8Array = Buffer.alloc(0)): Members => ({
  type_url: url,
  value: Buffer.from(value).toString('base64'),
})
const fee = (amount: number): Members =>
  any('type.googleapis.com/ledger.v1.Fee', encode('Fee', { amount }))
const pay = (extra: Members): Buffer =>
  encode('TransferRequest', { account_id: 'A', amount: 1, to_account: 'B', extra })

describe('what options of fields say', () => {
  let world: LedgerWorld
  let teller: GrpcAgent
  let reader: GrpcAgent
  before(async () => {
    world = await startLedgerWorld()
    teller = new GrpcAgent(world, world.agent('teller'))
    reader = new GrpcAgent(world, world.agent('reader'))
  })
  after(async () => {
    teller.close()
    reader.close()
    await world.close()
  })
  const told = (): Members => decode('TransferRequest', world.ledger.seen.at(-1)?.message ?? GET)

  it('gives a system the value behind a token that an answer showed', async () => {
    const { value } = await reader.ask('GetAccount', GET)
    const token = String(decode('Account', value ?? Buffer.alloc(0))['id'])
    assert.match(token, /^tok_/)
    const again = await reader.ask('GetAccount', encode('GetAccountRequest', { account_id: token }))
    assert.equal(again.error, undefined)
    const seen = world.ledger.seen.at(-1)
    assert.deepEqual(decode('GetAccountRequest', seen?.message ?? GET), { account_id: 'ACC-1' })
    // Of a stream's messages, too.
    const { promise, resolve } = Promise.withResolvers<void>()
    const heard: unknown[] = []
    world.ledger.duplex = (_seen, call) => {
      call.on('data', (message: Buffer) => {
        heard.push(decode('GetAccountRequest', message)['account_id'])
        if (heard.length === 2) resolve()
      })
    }
    const call = reader.duplex()
    call.on('error', () => undefined)
    call.write(GET)
    call.write(encode('GetAccountRequest', { account_id: token }))
    await promise
    call.cancel()
    assert.deepEqual(heard, ['ACC-1', 'ACC-1'])
  })

  it('takes no token that nobody made, and none where none is declared', async () => {
    const calls = world.ledger.seen.length
    const forged = encode('GetAccountRequest', { account_id: 'tok_account_AAAA' })
    const answer = await reader.ask('GetAccount', forged)
    assert.equal(answer.error?.code, status.INVALID_ARGUMENT)
    assert.match(codeOf(answer) ?? '', /^SP_(?:TOKEN|REDACT)_/)
    assert.equal(world.ledger.seen.length, calls)
    const plain = { account_id: 'tok_account_AAAA', amount: 1, to_account: 'B' }
    assert.equal((await teller.ask('Transfer', encode('TransferRequest', plain))).error, undefined)
    assert.equal(told()['account_id'], 'tok_account_AAAA')
  })

  it('lets an Any through of the types that its field names, decided on what is in it', async () => {
    const good = await teller.ask('Transfer', pay(fee(5)))
    assert.equal(good.error, undefined, good.error?.details)
    assert.deepEqual(told()['extra'], fee(5))
    // Without a value it is a message of defaults.
    const empty = await teller.ask('Transfer', pay(any('type.googleapis.com/ledger.v1.Fee')))
    assert.equal(empty.error, undefined)
    assert.equal(codeOf(await teller.ask('Transfer', pay(fee(6)))), 'SP_DENIED_FORBIDDEN')
    const reason = any('type.googleapis.com/ledger.v1.Reason', encode('Reason', { text: 'x' }))
    assert.equal(codeOf(await teller.ask('Transfer', pay(reason))), 'SP_DENIED_FORBIDDEN')
  })

  const FEE = encode('Fee', { amount: 5 })
  const REFUSED: Readonly<Record<string, Members>> = {
    'a type that is described, and not named': any('type.googleapis.com/ledger.v1.Party'),
    'a type that nobody described': any('type.googleapis.com/ledger.v1.None'),
    'no type': any('', FEE),
    'a type of another host': any('evil.example/ledger.v1.Fee', FEE),
    'a type without a host': any('ledger.v1.Fee', FEE),
    'a type with a path': any('type.googleapis.com//ledger.v1.Fee', FEE),
    'a field that its type does not have': any(
      'type.googleapis.com/ledger.v1.Fee',
      Buffer.from([0x10, 1]),
    ),
  }
  for (const [what, extra] of Object.entries(REFUSED)) {
    it(`refuses an Any of ${what}`, async () => {
      const calls = world.ledger.seen.length
      const answer = await teller.ask('Transfer', pay(extra))
      assert.deepEqual(
        [answer.error?.code, codeOf(answer)],
        [status.INVALID_ARGUMENT, 'SP_GRPC_MESSAGE'],
      )
      assert.equal(world.ledger.seen.length, calls)
    })
  }

  it('refuses an Any with two types, two values, or more', async () => {
    const url = Buffer.from('type.googleapis.com/ledger.v1.Fee')
    const [type, value] = [
      Buffer.concat([Buffer.from([0x0a, url.length]), url]),
      Buffer.concat([Buffer.from([0x12, FEE.length]), FEE]),
    ]
    const base = encode('TransferRequest', { account_id: 'A', amount: 1, to_account: 'B' })
    const withExtra = (parts: readonly Buffer[]): Buffer => {
      const all = Buffer.concat(parts)
      return Buffer.concat([base, Buffer.from([0x52, all.length]), all])
    }
    assert.equal((await teller.ask('Transfer', withExtra([value, type]))).error, undefined)
    for (const parts of [
      [type, type, value],
      [type, value, value],
      [type, value, Buffer.from([0x18, 1])],
    ]) {
      assert.equal(codeOf(await teller.ask('Transfer', withExtra(parts))), 'SP_GRPC_MESSAGE')
    }
  })

  it('projects an Any of an answer, and drops one of another type', async () => {
    const { unary } = world.ledger
    const other = any('type.googleapis.com/ledger.v1.Reason', encode('Reason', { text: 'secret' }))
    for (const [given, shown] of [
      [fee(3), fee(3)],
      [other, undefined],
    ] as const) {
      world.ledger.unary = (_seen, done) => {
        done(null, encode('Account', { id: 'ACC-1', fee: given, extra: other }))
      }
      const { value, error } = await teller.ask('GetAccount', GET)
      assert.equal(error, undefined)
      const account = decode('Account', value ?? Buffer.alloc(0))
      assert.deepEqual([account['fee'], account['extra']], [shown, undefined])
    }
    world.ledger.unary = unary
  })
})
