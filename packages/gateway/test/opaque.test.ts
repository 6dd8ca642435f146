import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as dial, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { Declaration, OpaqueSystem, System } from '@sallyport/network'
import { createMtlsServer, IdentityHolder, mtlsConnect } from '@sallyport/transport'
import type { MtlsServer } from '@sallyport/transport'
import type { DecisionRecord, OutcomeRecord } from '@sallyport/wire'
import type { GatewayOptions } from '../src/index.ts'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const BOUNDS: OpaqueSystem = {
  maxBytesUp: 100_000,
  maxBytesDown: 200_000,
  maxSeconds: 600,
  idleSeconds: 600,
  holds: 'restricted',
  answerTags: ['untrusted'],
}

const vault = (name: string, port: number, over: Partial<OpaqueSystem> = {}): System => ({
  ...{ name, description: 'A vault.', owner: 'tests', segment: 'zone', criticality: 'low' },
  protocol: 'opaque',
  opaque: { ...BOUNDS, ...over },
  upstream: { kind: 'service', service: 'bank', port },
  operations: [
    {
      ...{ name: 'connect', description: '', kind: 'write', binding: { kind: 'opaque' } },
      input: { type: 'record', members: {} },
      returns: {},
    },
  ],
})

const SYSTEMS = [
  vault('vault', 7201),
  vault('brief', 7202, { maxSeconds: 1 }),
  vault('silent', 7203, { idleSeconds: 1 }),
  vault('slow', 7204),
]

const withVault = ({ network, policies }: Declaration): Declaration => ({
  network: {
    ...network,
    systems: [...network.systems, ...SYSTEMS],
    flows: [
      ...network.flows,
      ...['teller', 'reader'].flatMap((from) =>
        SYSTEMS.map(({ name }) => ({
          ...{ id: `${from}-${name}`, from, to: name, operations: ['connect'] },
          purpose: 'storing',
        })),
      ),
    ],
  },
  policies: [
    ...policies,
    {
      ...{ id: 'tellers-connect', file: 'test.cedar', line: 1 },
      source: `@id("tellers-connect") permit (principal in Agent::"teller", action in [${SYSTEMS.map(({ name }) => `Action::"${name}.connect"`).join(', ')}], resource) when { context.time.hour < 24 };`,
    },
  ],
})

describe('opaque flows', () => {
  let world: World
  let server: MtlsServer
  /** What it has for whoever connects. */
  let greet: (socket: TLSSocket) => void
  const connections: TLSSocket[] = []
  /** On the way to `slow`: nothing passes until `open`. */
  const gate = { open: Promise.withResolvers<void>(), met: Promise.withResolvers<Socket>() }
  let served = 0
  const relay = createServer((near) => {
    near.on('error', () => undefined)
    gate.met.resolve(near)
    void gate.open.promise.then(() => {
      const far = dial(served, '127.0.0.1')
      far.on('error', () => undefined)
      near.pipe(far).pipe(near)
    })
  })
  before(async () => {
    world = await startWorld({}, () => undefined, withVault)
    server = createMtlsServer({
      identity: new IdentityHolder(world.plane.service('bank')),
      alpn: ['sallyport-opaque'],
      accept: (peer) => peer.id.segments[0] === 'gateway',
      handshakeTimeoutMs: 5000,
      onConnection: (socket) => {
        connections.push(socket)
        greet(socket)
      },
    })
    const at = await server.listen({ host: '127.0.0.1', port: 0 })
    assert.ok(typeof at !== 'string')
    served = at.port
    relay.listen(0, '127.0.0.1')
    await once(relay, 'listening')
    // A TCP listener has an AddressInfo.
    const { port: slow } = relay.address() as AddressInfo
    const here = { host: '127.0.0.1', port: 0 }
    const over: Partial<GatewayOptions> = {
      listenOpaque: { vault: here, brief: here, silent: here, slow: here, bank: here },
      upstreams: Object.fromEntries(
        SYSTEMS.map(({ name }) => [
          name,
          { host: '127.0.0.1', port: name === 'slow' ? slow : at.port },
        ]),
      ),
    }
    await world.restart(over)
  })
  after(async () => {
    relay.close()
    await server.close()
    await world.close()
  })
  beforeEach(() => {
    greet = (socket) => socket.pipe(socket)
  })

  const connect = (
    system = 'vault',
    agent = 'teller',
    instance = 'i1',
    alpn = 'sallyport-opaque',
  ): Promise<TLSSocket> => {
    const target = world.gateway.opaqueAddresses[system]
    assert.ok(target)
    return mtlsConnect({
      identity: new IdentityHolder(world.plane.agent(agent, instance, 900)),
      ...{ target, expect: () => true, alpn: [alpn] },
    }).then((socket) => socket.on('error', () => undefined))
  }
  const read = (socket: TLSSocket, bytes: number): Promise<Buffer> => {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    let got = Buffer.alloc(0)
    const onData = (piece: Buffer): void => {
      got = Buffer.concat([got, piece])
      if (got.length >= bytes) resolve(got)
    }
    socket.on('data', onData)
    socket.once('close', () => {
      reject(new Error('it was closed'))
    })
    return promise.finally(() => socket.removeListener('data', onData))
  }
  // A reset is an end, too.
  const gone = (socket: Socket): Promise<void> =>
    socket.destroyed
      ? Promise.resolve()
      : new Promise((resolve) => {
          socket.once('close', () => {
            resolve()
          })
        })

  const recordsOf = (instance: string): { decision?: DecisionRecord; outcome?: OutcomeRecord } => {
    const all = world.plane.records()
    const decision = all.findLast(
      (one) => one.kind === 'decision' && one.instance.endsWith(`/${instance}`),
    )
    if (decision?.kind !== 'decision') return {}
    const outcome = all.find((one) => one.kind === 'outcome' && one.decisionId === decision.id)
    return { decision, ...(outcome?.kind === 'outcome' ? { outcome } : {}) }
  }
  const outcomeOf = async (instance: string): Promise<OutcomeRecord> => {
    await until(() => recordsOf(instance).outcome !== undefined)
    const { outcome } = recordsOf(instance)
    assert.ok(outcome)
    return outcome
  }

  it('lets bytes through both ways, and records who, when and how many', async () => {
    const socket = await connect('vault', 'teller', 'a1')
    const sent = Buffer.alloc(70_000, 'x')
    socket.write(sent)
    assert.deepEqual(await read(socket, sent.length), sent)
    await until(() => recordsOf('a1').decision !== undefined)
    const { decision } = recordsOf('a1')
    assert.deepEqual(
      [decision?.system, decision?.operation, decision?.decision],
      ['vault', 'connect', 'allow'],
    )
    assert.equal(recordsOf('a1').outcome, undefined)
    socket.end()
    await gone(socket)
    const { bytesIn, bytesOut, result } = await outcomeOf('a1')
    assert.deepEqual([bytesIn, bytesOut, result], [70_000, 70_000, 'completed'])
    await until(() =>
      world.plane.records().some((one) => one.kind === 'labels' && one.decisionId === decision?.id),
    )
  })

  it('cuts a connection at the byte that is too many, in either direction, and does not pass it on', async () => {
    const up = await connect('vault', 'teller', 'b1')
    let arrived = 0
    greet = (socket) => socket.on('data', (bytes: Buffer) => (arrived += bytes.length))
    up.destroy()
    const over = await connect('vault', 'teller', 'b2')
    for (let i = 0; i < 11; i++) over.write(Buffer.alloc(10_000))
    await gone(over)
    const { result, bytesIn } = await outcomeOf('b2')
    assert.deepEqual([result, bytesIn], ['cut', 100_000])
    assert.ok(arrived <= 100_000, String(arrived))
    greet = (socket) => socket.write(Buffer.alloc(300_000))
    const down = await connect('vault', 'teller', 'b3')
    let got = 0
    down.on('data', (bytes: Buffer) => (got += bytes.length))
    await gone(down)
    const outcome = await outcomeOf('b3')
    assert.deepEqual([outcome.result, outcome.bytesOut], ['cut', 200_000])
    assert.ok(got <= 200_000, String(got))
    assert.ok(
      world.plane.records().some((one) => one.kind === 'event' && one.code === 'SP_OPAQUE_VOLUME'),
    )
  })

  it('ends what lasts too long, and what is silent too long', async () => {
    for (const [system, instance] of [
      ['brief', 'c1'],
      ['silent', 'c2'],
    ] as const) {
      const socket = await connect(system, 'teller', instance)
      socket.on('data', () => undefined)
      const timer = setInterval(() => {
        if (system === 'brief') socket.write('x')
      }, 50)
      await gone(socket)
      clearInterval(timer)
      assert.equal((await outcomeOf(instance)).result, 'cut')
    }
    const codes = world.plane
      .records()
      .flatMap((one) => (one.kind === 'event' && one.event === 'stream-cut' ? [one.code] : []))
    assert.ok(codes.includes('SP_OPAQUE_TIME'))
  })

  it('lets nobody through whom no flow or policy does, and connects to nothing for them', async () => {
    const from = connections.length
    for (const [agent, instance, code] of [
      ['reader', 'd1', 'SP_DENIED_NOT_PERMITTED'],
      ['stranger', 'd2', 'SP_NO_FLOW'],
    ] as const) {
      const socket = await connect('vault', agent, instance)
      socket.write('let me in')
      await gone(socket)
      await until(() => recordsOf(instance).decision !== undefined)
      assert.equal(recordsOf(instance).decision?.code, code)
    }
    // A system that is read is no opaque one, wherever a port was opened for it.
    const socket = await connect('bank', 'teller', 'd3')
    socket.write('GET / HTTP/1.1\r\n\r\n')
    await gone(socket)
    assert.equal(connections.length, from)
    await assert.rejects(connect('vault', 'teller', 'd4', 'http/1.1'))
    const over = await world.agent('teller', 'd5').ask({ path: '/vault/x' })
    assert.equal(over.body['code'], 'SP_NO_OPERATION')
  })

  it('passes on not a byte before the decision is recorded', async () => {
    let logged = 0
    greet = (socket) => {
      socket.once('data', () => {
        logged = world.gateway.stats().logSize
        socket.write('y')
      })
    }
    const before_ = world.gateway.stats().logSize
    const socket = await connect('vault', 'teller', 'e1')
    socket.write('x')
    await read(socket, 1)
    assert.ok(logged > before_)
    socket.destroy()
  })

  it('cuts at once who is quarantined, on both sides', async () => {
    const socket = await connect('vault', 'teller', 'q1')
    socket.write('x')
    await read(socket, 1)
    const other = await connect('vault', 'teller', 'q2')
    other.write('x')
    await read(other, 1)
    const upstream = connections.at(-2)
    assert.ok(upstream && !upstream.destroyed)
    world.plane.quarantine(`spiffe://${world.plane.trustDomain}/agent/teller/q1`)
    await Promise.all([gone(socket), gone(upstream)])
    assert.equal((await outcomeOf('q1')).result, 'cut')
    other.write('y')
    assert.equal(String(await read(other, 1)), 'y')
    other.destroy()
  })

  it('leaves no connection behind of who was quarantined while it was made', async () => {
    const socket = await connect('slow', 'teller', 'w1')
    const near = await gate.met.promise
    world.plane.quarantine(`spiffe://${world.plane.trustDomain}/agent/teller/w1`)
    await gone(socket)
    assert.ok(!near.destroyed)
    gate.open.resolve()
    await gone(near)
    await outcomeOf('w1')
  })

  it('cuts what a new declaration no longer allows, and keeps what it does', async () => {
    const socket = await connect('vault', 'teller', 'r1')
    socket.write('x')
    await read(socket, 1)
    const id = `spiffe://${world.plane.trustDomain}/agent/teller/r1`
    world.plane.risk = { [id]: { score: 90, at: Date.now() } }
    world.plane.publish()
    await gone(socket)
    assert.equal((await outcomeOf('r1')).result, 'cut')
    world.plane.risk = {}
    world.plane.publish()
  })

  it('cuts whose certificate is revoked', async () => {
    const material = world.plane.agent('teller', 's1', 900)
    const target = world.gateway.opaqueAddresses['vault']
    assert.ok(target)
    const socket = await mtlsConnect({
      ...{ identity: new IdentityHolder(material), target, expect: () => true },
      alpn: ['sallyport-opaque'],
    })
    socket.on('error', () => undefined)
    socket.write('x')
    await read(socket, 1)
    await until(() => recordsOf('s1').decision !== undefined)
    const serial = recordsOf('s1').decision?.peer.serial
    assert.ok(serial !== undefined)
    world.plane.revokedSerials = [{ serial, notAfter: Date.now() + 900_000 }]
    world.plane.publish()
    await gone(socket)
    await outcomeOf('s1')
  })

  it('tells an upstream that is gone from one that ended', async () => {
    greet = (socket) => socket.end('bye')
    const socket = await connect('vault', 'teller', 'u1')
    assert.equal(String(await read(socket, 3)), 'bye')
    await gone(socket)
    assert.equal((await outcomeOf('u1')).result, 'completed')
    const service = `spiffe://${world.plane.trustDomain}/service/bank/s1`
    greet = (one) => one.pipe(one)
    const held = await connect('vault', 'teller', 'u2')
    held.write('x')
    await read(held, 1)
    world.plane.quarantine(service)
    await gone(held)
    const next = await connect('vault', 'teller', 'u3')
    await gone(next)
    assert.equal((await outcomeOf('u3')).result, 'upstream-error')
  })
})
