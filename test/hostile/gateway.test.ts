import assert from 'node:assert/strict'
import { once } from 'node:events'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import { gatewayId, serviceId } from '@sallyport/spiffe'
import { IdentityHolder, mtlsConnect } from '@sallyport/transport'
import { declarationDigest } from '@sallyport/wire'
import type { Bundle } from '@sallyport/wire'
import { startWorld, until, word } from '../../packages/gateway/test/support/world.ts'
import type { Json, Reply, TestAgent, World } from '../../packages/gateway/test/support/world.ts'

const TRANSFERS = '/bank/v1/accounts/A/transfers'
const ACCOUNT = '/bank/v1/accounts/A'

const HELLO = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: {} },
}

let world: World
afterEach(() => world.close())

const pay = (agent: TestAgent, amount: number, approval?: string): Promise<Reply> =>
  agent.ask({
    path: TRANSFERS,
    body: { to: 'bob', amount },
    ...(approval === undefined ? {} : { headers: { 'Sallyport-Approval': approval } }),
  })

/** What a bundle carries to bring a declaration into force, signed by the operator. */
function changed(declaration: Declaration): Partial<Bundle<Declaration>> {
  const digest = declarationDigest(declaration)
  const statement = { kind: 'declaration', digest, epoch: 1 } as const
  return {
    declaration,
    declarationDigest: digest,
    declarationSignatures: [world.plane.operator.sign(statement)],
  }
}

/** The declaration without the teller's way to transfers. */
function narrower({ network, policies }: Declaration): Declaration {
  const flows = network.flows.map((flow) =>
    flow.from === 'teller' && flow.to === 'bank' ? { ...flow, operations: ['getAccount'] } : flow,
  )
  return { network: { ...network, flows }, policies }
}

describe('a hijacked agent against time', () => {
  it('cannot hold a request open until after the declaration took its flow away', async () => {
    world = await startWorld()
    const teller = world.agent('teller')
    const body = JSON.stringify({ to: 'bob', amount: 10 })
    const begin = async () => {
      const socket = await teller.raw()
      let answer = ''
      socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
      socket.write(
        `POST ${TRANSFERS} HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n` +
          `content-length: ${body.length}\r\nconnection: close\r\n\r\n${body.slice(0, 5)}`,
      )
      await until(() => world.gateway.stats().inFlight > 0)
      return {
        end: async () => {
          socket.write(body.slice(5))
          await once(socket, 'close')
          return answer
        },
      }
    }
    // The control: the same slow request, with nothing changed meanwhile.
    const allowed = await begin()
    assert.match(await allowed.end(), /^HTTP\/1.1 200 /)
    assert.equal(world.bank.seen.length, 1)
    const slow = await begin()
    world.plane.publish(changed(narrower(world.plane.declaration)))
    await until(() => world.gateway.stats().revision?.n === 2)
    await until(() => world.gateway.stats().inFlight > 0)
    // In force for everyone else.
    await untilRefused(() => pay(world.agent('teller', 'i2'), 10), 'SP_NO_FLOW')
    const arrived = world.bank.seen.length
    assert.match(await slow.end(), /^HTTP\/1.1 (?:403|503) /)
    assert.equal(world.bank.seen.length, arrived)
  })

  it('cannot profit from a machine that slept: the age of what is enforced counts by both clocks', async () => {
    let slept = 0
    const clock: Clock = { now: () => Date.now() + slept, monotonic: () => systemClock.monotonic() }
    world = await startWorld({ clock })
    const reader = world.agent('reader', 'i1', 86_400)
    // Answered by the gateway alone, so that no other clock has a say.
    const hello = () => reader.ask({ path: '/desk/mcp', body: HELLO })
    assert.equal((await hello()).status, 200)
    world.plane.beating = false
    await sleep(400)
    // The monotonic clock of Linux stands still while the machine sleeps.
    slept = 40_000
    const { body } = await hello()
    // A JSON-RPC error, which carries the refusal as its data.
    const refusal = (body['error'] as { data?: { code?: unknown } } | undefined)?.data
    assert.equal(refusal?.code, 'SP_STALE', JSON.stringify(body))
    world.plane.beating = true
    await until(() => world.gateway.stats().bundleAgeMs < 1000)
    assert.equal((await hello()).status, 200)
  })

  it('is not decided for by an old declaration for ever, because the new one cannot be loaded', async () => {
    world = await startWorld()
    const teller = world.agent('teller')
    assert.equal((await pay(teller, 10)).status, 200)
    const { network, policies } = narrower(world.plane.declaration)
    const broken = {
      network,
      policies: [...policies, { id: 'x', source: 'forbid (', file: 'x.cedar', line: 1 }],
    }
    const storm = setInterval(() => {
      world.plane.publish(changed(broken))
    }, 250)
    try {
      await untilRefused(() => pay(teller, 10), 'SP_STALE', 6000)
    } finally {
      clearInterval(storm)
    }
  })
})

describe('a declaration with a hole', () => {
  it('never makes what is enforced count as fresh', async () => {
    world = await startWorld({}, undefined, ({ network, policies }) => {
      const { stalenessSeconds: _gone, ...settings } = network.settings
      return { network: { ...network, settings } as Declaration['network'], policies }
    })
    const reader = world.agent('reader')
    assert.equal((await reader.ask({ path: ACCOUNT })).body['code'], 'SP_STALE')
  })
})

describe('a quarantined service', () => {
  const service = serviceId('test.example', 'bank') + '/s1'

  it('is sent nothing more, by open connections or new ones', async () => {
    world = await startWorld()
    const teller = world.agent('teller')
    assert.equal((await pay(teller, 10)).status, 200)
    const seen = world.bank.seen.length
    world.plane.quarantine(service)
    await until(() => world.gateway.stats().revision?.n === 2)
    await until(() =>
      world.plane.records().some((r) => r.kind === 'event' && r.event === 'quarantine-applied'),
    )
    const reply = await pay(teller, 11)
    assert.equal(reply.body['code'], 'SP_UPSTREAM_FAILED', JSON.stringify(reply.body))
    assert.equal((await pay(world.agent('teller', 'i2'), 12)).status, 502)
    assert.equal(world.bank.seen.length, seen)
    // Another service goes on.
    assert.equal((await teller.ask({ path: '/desk/mcp', body: HELLO })).status, 200)
  })

  it('is sent nothing more once its certificate is revoked', async () => {
    world = await startWorld()
    const teller = world.agent('teller')
    assert.equal((await pay(teller, 10)).status, 200)
    const seen = world.bank.seen.length
    const serial = await serialOf(world.bank.port)
    world.plane.revokedSerials = [{ serial, notAfter: Date.now() + 3_600_000 }]
    world.plane.publish()
    await until(() => world.gateway.stats().revision?.n === 2)
    assert.equal((await pay(teller, 11)).status, 502)
    assert.equal(world.bank.seen.length, seen)
  })
})

describe('a control plane that lies', () => {
  it('cannot have one approval pay twice, not even through a restart of the gateway', async () => {
    world = await startWorld()
    const teller = world.agent('teller')
    const id = word(((await pay(teller, 5000)).body['needs'] as Json[])[0]?.['approval'])
    world.plane.approve(id)
    assert.equal((await pay(teller, 5000, id)).status, 200)
    assert.equal(world.bank.seen.length, 1)
    const approval = world.plane.approvals.get(id)
    assert.ok(approval)
    approval.status = 'approved'
    assert.equal((await pay(teller, 5000, id)).body['code'], 'SP_APPROVAL_USED')
    assert.equal(approval.status, 'approved')
    await world.restart()
    assert.equal((await pay(world.agent('teller'), 5000, id)).body['code'], 'SP_APPROVAL_USED')
    assert.equal(world.bank.seen.length, 1)
  })

  it('cannot have one approval pay twice by racing either', async () => {
    world = await startWorld()
    const teller = world.agent('teller')
    const id = word(((await pay(teller, 5000)).body['needs'] as Json[])[0]?.['approval'])
    world.plane.approve(id)
    const approval = world.plane.approvals.get(id)
    assert.ok(approval)
    Object.defineProperty(approval, 'status', { get: () => 'approved', set() {} })
    const replies = await Promise.all(Array.from({ length: 8 }, () => pay(teller, 5000, id)))
    assert.equal(replies.filter(({ status }) => status === 200).length, 1)
    assert.equal(world.bank.seen.length, 1)
  })
})

/** Of the certificate that is presented there. */
async function serialOf(port: number): Promise<string> {
  let serial = ''
  const gateway = world.plane.issue(gatewayId('test.example', 'gw1'))
  const socket = await mtlsConnect({
    identity: new IdentityHolder(gateway),
    host: '127.0.0.1',
    port,
    expect: (peer) => {
      serial = peer.serial
      return true
    },
  })
  socket.destroy()
  return serial
}

async function untilRefused(ask: () => Promise<Reply>, code: string, ms = 30_000): Promise<void> {
  const end = performance.now() + ms
  for (;;) {
    const { body } = await ask()
    if (body['code'] === code) return
    if (performance.now() > end) assert.equal(body['code'], code, JSON.stringify(body))
    await sleep(20)
  }
}
