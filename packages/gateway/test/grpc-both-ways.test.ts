import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { status } from '@grpc/grpc-js'
import { decode, encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld, Members } from './support/grpc.ts'

describe('calls of gRPC with messages both ways', () => {
  const ask = (account: string): Buffer => encode('GetAccountRequest', { account_id: account })
  let world: LedgerWorld
  before(async () => {
    world = await startLedgerWorld()
  })
  after(async () => {
    await world.close()
  })

  /** One conversation, in turns. */
  const talk = (instance: string) => {
    const agent = new GrpcAgent(world, world.agent('reader', instance))
    const call = agent.duplex()
    const ended = new Promise<{ code: number; details: string }>((resolve) => {
      call.on('error', () => undefined)
      call.once('status', (given: { code: number; details: string }) => {
        agent.close()
        resolve(given)
      })
    })
    const turn = async (account: string): Promise<Members> => {
      call.write(ask(account))
      const [message] = await once(call, 'data')
      return decode('Account', message as Buffer)
    }
    return { call, ended, turn }
  }

  it('are answered message by message, projected', async () => {
    const { call, ended, turn } = talk('one')
    for (let i = 0; i < 3; i++) {
      const { id, hidden, balance } = await turn('ACC-1')
      assert.match(String(id), /^tok_/)
      assert.deepEqual([hidden, balance], [undefined, '9007199254740993'])
    }
    call.end()
    assert.equal((await ended).code, status.OK)
  })

  it('show no more than any of their messages lets through', async () => {
    const { call, ended, turn } = talk('two')
    assert.equal((await turn('ACC-1'))['balance'], '9007199254740993')
    assert.equal((await turn('ACC-SHIELDED'))['balance'], undefined)
    // Whose balance it is, nobody knows here.
    assert.equal((await turn('ACC-1'))['balance'], undefined)
    call.end()
    assert.equal((await ended).code, status.OK)
  })

  it('end with a message that what was read meanwhile forbids', async () => {
    const clean = talk('three')
    assert.notEqual((await clean.turn('ACC-CLEAN'))['memo'], undefined)
    // A memo is untrusted.
    clean.call.write(ask('ACC-CLEAN'))
    const { code, details } = await clean.ended
    assert.equal(code, status.PERMISSION_DENIED)
    assert.match(details, /^SP_DENIED_FORBIDDEN/)
  })

  it('are cut when the permit of their last message is withdrawn', async () => {
    const { ended, turn } = talk('risky')
    await turn('ACC-1')
    await turn('ACC-TOUCHY')
    const steady = talk('steady')
    await steady.turn('ACC-1')
    world.plane.risk = {
      'spiffe://test.example/agent/reader/risky': { score: 60, at: Date.now() },
      'spiffe://test.example/agent/reader/steady': { score: 60, at: Date.now() },
    }
    world.plane.publish()
    const { code, details } = await ended
    assert.equal(code, status.PERMISSION_DENIED)
    assert.match(details, /^SP_DENIED_FORBIDDEN/)
    // The first message alone would have held.
    await steady.turn('ACC-1')
    steady.call.end()
    assert.equal((await steady.ended).code, status.OK)
  })
})
