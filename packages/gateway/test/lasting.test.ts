/** What ends that goes on for longer than what its decision rested on. */
import assert from 'node:assert/strict'
import type { TLSSocket } from 'node:tls'
import { afterEach, describe, it } from 'node:test'
import { indexNetwork } from '@sallyport/network'
import type { Declaration, Network, System } from '@sallyport/network'
import { IdentityHolder, mtlsConnect } from '@sallyport/transport'
import { declarationDigest } from '@sallyport/wire'
import { stillApproving } from '../src/calls/approvals.ts'
import { PlainService } from './support/plain-service.ts'
import { ACCOUNT, startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const MAINFRAME: System = {
  ...{ name: 'mainframe', description: '', owner: 'tests', segment: 'zone', criticality: 'low' },
  protocol: 'opaque',
  opaque: {
    ...{ maxBytesUp: 1000, maxBytesDown: 1000, maxSeconds: 600, idleSeconds: 600 },
    ...{ holds: 'restricted', answerTags: [] },
  },
  upstream: { kind: 'plain', url: 'tcp://mainframe.example:1414', plaintext: 'it has no TLS' },
  operations: [
    {
      ...{ name: 'connect', description: '', kind: 'write', binding: { kind: 'opaque' } },
      input: { type: 'record', members: {} },
      returns: {},
    },
  ],
}

const withMainframe = ({ network, policies }: Declaration): Declaration => ({
  network: {
    ...network,
    systems: [...network.systems, MAINFRAME],
    flows: [
      ...network.flows,
      {
        ...{ id: 'teller-mainframe', from: 'teller', to: 'mainframe', operations: ['connect'] },
        purpose: 'storing',
      },
    ],
  },
  policies: [
    ...policies,
    {
      ...{ id: 'tellers-connect', file: 'test.cedar', line: 1 },
      source: `@id("tellers-connect") permit (principal in Agent::"teller", action == Action::"mainframe.connect", resource);`,
    },
  ],
})

let world: World
afterEach(() => world?.close())

const cutsOf = (instance: string): unknown[] =>
  world.plane
    .records()
    .flatMap((one) =>
      one.kind === 'event' && one.event === 'stream-cut' && one.subject?.endsWith(`/${instance}`)
        ? [one.code]
        : [],
    )

/** A stream of events that no upstream ends. */
async function watched(): Promise<() => boolean> {
  world.bank.answer = (_, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    const timer = setInterval(
      () => res.write(`data: ${JSON.stringify({ account: ACCOUNT })}\n\n`),
      20,
    )
    res.once('close', () => {
      clearInterval(timer)
    })
  }
  const headers = { accept: 'text/event-stream' }
  const { pool } = world.agent('reader', 'watcher')
  const { body, statusCode } = await pool.request({
    method: 'GET',
    path: '/bank/v1/watch',
    headers,
  })
  assert.equal(statusCode, 200)
  let hasEnded = false
  body.on('data', () => undefined).on('error', () => (hasEnded = true))
  body.once('close', () => (hasEnded = true))
  return () => hasEnded
}

async function declared(network: Network): Promise<void> {
  const declaration = { ...world.plane.declaration, network }
  const digest = declarationDigest(declaration)
  const statement = { kind: 'declaration', digest, epoch: 1, serial: 1 } as const
  const { revision } = world.gateway.stats()
  world.plane.publish({
    ...{ declaration, declarationDigest: digest, declarationSerial: 1 },
    declarationSignatures: [world.plane.operator.sign(statement)],
  })
  await until(() => world.gateway.stats().revision?.n !== revision?.n)
}

describe('a call that lasts', () => {
  it('is broken off where it writes and its gateway may begin no write any more, and goes on where it reads', async () => {
    const service = new PlainService()
    const port = await service.listen()
    try {
      const settings = { streamRecheckMs: 50 }
      world = await startWorld({ settings }, () => undefined, withMainframe)
      const at = (to: number) => ({ host: '127.0.0.1', port: to })
      await world.restart({
        listenOpaque: { mainframe: at(0) },
        upstreams: { ...world.options.upstreams, mainframe: at(port) },
      })
      const hasEnded = await watched()
      const target = world.gateway.opaqueAddresses['mainframe']
      assert.ok(target)
      const socket: TLSSocket = await mtlsConnect({
        identity: new IdentityHolder(world.plane.agent('teller', 'writer', 900)),
        ...{ target, expect: () => true, alpn: ['sallyport-opaque'] },
      })
      socket.on('error', () => undefined).resume()
      await until(() => service.open === 1)
      await world.plane.stop()
      await until(() => socket.destroyed)
      // Of its two budgets the one for writes is over, and the other is not.
      const age = world.gateway.stats().bundleAgeMs
      assert.ok(age >= 2000 && age < 4000, String(age))
      assert.ok(!hasEnded())
      await until(() => hasEnded())
      assert.ok(world.gateway.stats().bundleAgeMs >= 4000)
      await world.plane.listen()
      await until(() => cutsOf('writer').length > 0 && cutsOf('watcher').length > 0)
      assert.deepEqual([cutsOf('writer'), cutsOf('watcher')], [['SP_STALE'], ['SP_STALE']])
    } finally {
      await service.close()
    }
  })

  it('goes on by a declaration that says the same of it, and is broken off by one that leads it elsewhere', async () => {
    world = await startWorld({ settings: { streamRecheckMs: 50 } })
    const { network } = world.plane.declaration
    const changed = (change: (bank: System) => System): Network => ({
      ...network,
      systems: network.systems.map((one) => (one.name === 'bank' ? change(one) : one)),
    })
    const hasEnded = await watched()
    await declared(changed((bank) => ({ ...bank, description: 'said otherwise' })))
    await world.agent('reader', 'other').ask({ path: '/bank/v1/accounts/A' })
    assert.ok(!hasEnded())
    await world.close()
    world = await startWorld({ settings: { streamRecheckMs: 50 } })
    const second = await watched()
    await declared(
      changed((bank) => ({
        ...bank,
        operations: bank.operations.map((one) => ({ ...one, description: 'another one' })),
      })),
    )
    await until(() => second(), 5000).catch(() => assert.fail('it goes on'))
    await until(() => cutsOf('watcher').length > 0)
    assert.deepEqual(cutsOf('watcher'), ['SP_DECLARATION_CHANGED'])
  })

  it('has as evidence who may approve by now, and does not own its agent', async () => {
    world = await startWorld()
    const { operators, declaration } = world.plane
    const index = indexNetwork(declaration.network)
    const call = { agent: 'teller', evidence: { approvals: ['olga', 'otto'] } }
    const as = (roles: readonly string[]) => ({
      ...operators,
      keys: operators.keys.map((key) => ({ ...key, roles })),
    })
    const of = (now: typeof operators | undefined, owner?: string): readonly string[] => {
      const { network } = declaration
      const agents = network.agents.map((one) => ({ ...one, owner: owner ?? one.owner }))
      const decider = { index: owner === undefined ? index : indexNetwork({ ...network, agents }) }
      return stillApproving(call, { operators: now, decider }).approvals
    }
    // Otto is no operator.
    assert.deepEqual(of(operators), ['olga'])
    assert.deepEqual(of(as(['approver'])), ['olga'])
    assert.deepEqual(of(as(['responder'])), [])
    assert.deepEqual(of(undefined), [])
    assert.deepEqual(of(operators, 'olga'), [])
  })
})
