/** What is let through to a system that speaks plain TCP, and what never reaches it. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Declaration, OpaqueSystem, System } from '@sallyport/network'
import { cutSocket, IdentityHolder, mtlsConnect } from '@sallyport/transport'
import { declarationDigest } from '@sallyport/wire'
import type { AuditRecord, DecisionRecord, EventRecord, OutcomeRecord } from '@sallyport/wire'
import { Flood } from './support/flood.ts'
import { heldBytes } from './support/memory.ts'
import { replaceSync } from './support/disk.ts'
import { PlainService } from './support/plain-service.ts'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const BOUNDS: OpaqueSystem = {
  maxBytesUp: 100_000,
  maxBytesDown: 200_000,
  maxSeconds: 600,
  idleSeconds: 600,
  holds: 'restricted',
  answerTags: [],
}
const WIDE = { maxBytesUp: 1e9, maxBytesDown: 1e9 }

const plain = (name: string, url: string, over: Partial<OpaqueSystem> = {}): System => ({
  ...{ name, description: '', owner: 'tests', segment: 'zone', criticality: 'low' },
  protocol: 'opaque',
  opaque: { ...BOUNDS, ...over },
  upstream: { kind: 'plain', url, plaintext: 'it speaks no TLS' },
  operations: [
    {
      ...{ name: 'connect', description: '', kind: 'write', binding: { kind: 'opaque' } },
      input: { type: 'record', members: {} },
      returns: {},
    },
  ],
})

const change =
  (systems: readonly System[]) =>
  ({ network, policies }: Declaration): Declaration => ({
    network: {
      ...network,
      systems: [...network.systems, ...systems],
      flows: [
        ...network.flows,
        ...systems.map(({ name }) => ({
          ...{ id: `teller-${name}`, from: 'teller', to: name, operations: ['connect'] },
          purpose: 'storing',
        })),
      ],
    },
    policies: [
      ...policies,
      {
        ...{ id: 'tellers-connect', file: 'test.cedar', line: 1 },
        source: `@id("tellers-connect") permit (principal in Agent::"teller", action in [${systems.map(({ name }) => `Action::"${name}.connect"`).join(', ')}], resource);`,
      },
    ],
  })

describe('opaque flows in plain TCP', () => {
  const service = new PlainService()
  let world: World
  let systems: System[]
  before(async () => {
    const port = await service.listen()
    systems = [
      plain('mainframe', 'tcp://mainframe.example:1414'),
      plain('wide', 'tcp://mainframe.example:1415', WIDE),
      plain('silent', 'tcp://mainframe.example:1416', { idleSeconds: 1 }),
      // Not where the operator of this gateway put them, but where they are declared: what listens there is the gateway's own.
      plain('own-name', `tcp://localhost:${port}`),
      plain('own-address', `tcp://127.0.0.1:${port}`),
      plain('own-mapped', `tcp://[::ffff:127.0.0.1]:${port}`),
      plain('nowhere', 'tcp://mainframe.example:1417'),
    ]
    world = await startWorld({}, () => undefined, change(systems))
    const at = (to: number) => ({ host: '127.0.0.1', port: to })
    await world.restart({
      listenOpaque: Object.fromEntries(systems.map(({ name }) => [name, at(0)])),
      upstreams: {
        ...world.options.upstreams,
        ...{ mainframe: at(port), wide: at(port), silent: at(port), nowhere: at(1) },
      },
    })
  })
  after(async () => {
    await world?.close()
    await service.close()
  })
  afterEach(() => {
    service.serve = undefined
  })

  const connect = async (
    instance: string,
    system = 'mainframe',
    agent = 'teller',
  ): Promise<TLSSocket> => {
    const target = world.gateway.opaqueAddresses[system]
    assert.ok(target)
    const socket = await mtlsConnect({
      identity: new IdentityHolder(world.plane.agent(agent, instance, 900)),
      ...{ target, expect: () => true, alpn: ['sallyport-opaque'], halfOpen: true },
    })
    return socket.on('error', () => undefined)
  }
  /** What comes, until `text` did. */
  const hear = (socket: Socket, text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      let got = ''
      socket.on('data', (bytes: Buffer) => {
        got += bytes.toString('latin1')
        if (got.includes(text)) resolve(got)
      })
      socket.once('close', () => reject(new Error(`closed after ${JSON.stringify(got)}`)))
    })
  const gone = (socket: Socket): Promise<void> =>
    socket.destroyed
      ? Promise.resolve()
      : new Promise((resolve) => {
          socket.once('close', () => resolve())
          // Whoever may read on after an end has to read it, and to end, too.
          socket.once('end', () => socket.end()).resume()
        })
  const records = (): readonly AuditRecord[] => world.plane.records()
  const decisionOf = async (instance: string): Promise<DecisionRecord> => {
    const find = (): AuditRecord | undefined =>
      records().findLast((one) => one.kind === 'decision' && one.instance.endsWith(`/${instance}`))
    await until(() => find() !== undefined)
    const found = find()
    assert.ok(found?.kind === 'decision')
    return found
  }
  const outcomeOf = async (instance: string): Promise<OutcomeRecord> => {
    const { id } = await decisionOf(instance)
    const find = (): AuditRecord | undefined =>
      records().find((one) => one.kind === 'outcome' && one.decisionId === id)
    await until(() => find() !== undefined)
    const found = find()
    assert.ok(found?.kind === 'outcome')
    return found
  }
  const eventOf = async (event: string, instance: string): Promise<EventRecord> => {
    const find = (): AuditRecord | undefined =>
      records().find(
        (one) =>
          one.kind === 'event' && one.event === event && one.subject?.endsWith(`/${instance}`),
      )
    await until(() => find() !== undefined)
    const found = find()
    assert.ok(found?.kind === 'event')
    return found
  }
  /** How the next connection to the service ends. */
  const endOfNext = (): (() => Promise<PlainService['ended'][number]>) => {
    const from = service.ended.length
    return async () => {
      await until(() => service.ended.length > from)
      const [ended] = service.ended.slice(from)
      assert.ok(ended)
      return ended
    }
  }

  it('speaks a protocol of lines through it, greeting first, and says in the log that nobody authenticated it', async () => {
    const ended = endOfNext()
    const socket = await connect('a1')
    assert.match(await hear(socket, 'HELLO mainframe\r\n'), /^HELLO/)
    socket.write('SUM 20 22\n')
    assert.match(await hear(socket, '= 42\n'), /= 42/)
    // What would choose another address elsewhere is bytes like any other here.
    const wish = 'CONNECT 10.0.0.1:22 HTTP/1.1\r\n\r\n'
    socket.write(wish)
    assert.match(await hear(socket, 'ECHO \r\n'), /ECHO CONNECT 10\.0\.0\.1:22/)
    socket.end()
    await gone(socket)
    const { got, inOrder } = await ended()
    assert.deepEqual([String(got), inOrder], [`SUM 20 22\n${wish}`, true])
    const { id, decision } = await decisionOf('a1')
    assert.equal(decision, 'allow')
    const { facts } = await eventOf('upstream-unauthenticated', 'a1')
    const where = { address: '127.0.0.1', port: service.port }
    assert.deepEqual(facts, { decision: id, system: 'mainframe', ...where })
    const outcome = await outcomeOf('a1')
    assert.deepEqual([outcome.result, outcome.bytesIn], ['completed', 10 + wish.length])
  })

  it('lets either side end what it sends and read on', async () => {
    const socket = await connect('h1')
    socket.end('no line end')
    assert.match(await hear(socket, 'BYE 11\n'), /BYE 11/)
    assert.equal((await outcomeOf('h1')).result, 'completed')
    const heard = Promise.withResolvers<string>()
    service.serve = (one) => {
      let got = ''
      one.on('data', (bytes: Buffer) => (got += String(bytes)))
      one.once('end', () => heard.resolve(got))
      one.end('all there is')
    }
    const other = await connect('h2')
    assert.match(await hear(other, 'all there is'), /^all/)
    await sleep(50)
    other.end('sent after their end')
    assert.equal(await heard.promise, 'sent after their end')
    assert.equal((await outcomeOf('h2')).result, 'completed')
  })

  it('hands a reset on as one, never as an end', async () => {
    const reset = Promise.withResolvers<void>()
    service.serve = (one) => {
      one.write('half of')
      void reset.promise.then(() => one.resetAndDestroy())
    }
    const socket = await connect('r1')
    await hear(socket, 'half of')
    let ended = false
    socket.once('end', () => (ended = true))
    reset.resolve()
    await gone(socket)
    assert.equal(ended, false)
    assert.equal((await outcomeOf('r1')).result, 'upstream-error')
    service.serve = undefined
    const end = endOfNext()
    const other = await connect('r2')
    other.write('SUM 1')
    await hear(other, 'HELLO')
    await until(() => service.connections.at(-1)?.bytesRead === 5)
    cutSocket(other)
    const { inOrder } = await end()
    assert.equal(inOrder, false)
    assert.equal((await outcomeOf('r2')).result, 'aborted')
  })

  it('cuts at the byte that is too many, and what the system has does not look whole', async () => {
    const end = endOfNext()
    const socket = await connect('v1')
    for (let i = 0; i < 11; i++) socket.write(Buffer.alloc(10_000, 'x'))
    await gone(socket)
    const { got, inOrder } = await end()
    assert.ok(got.length <= BOUNDS.maxBytesUp, String(got.length))
    assert.equal(inOrder, false)
    const { result, bytesIn } = await outcomeOf('v1')
    assert.deepEqual([result, bytesIn], ['cut', BOUNDS.maxBytesUp])
  })

  it('cuts who is quarantined, and nobody else', async () => {
    const [end, socket, other] = [endOfNext(), await connect('q1'), await connect('q2')]
    await Promise.all([hear(socket, 'HELLO'), hear(other, 'HELLO')])
    socket.write('SUM 1 1\n')
    await hear(socket, '= 2')
    world.plane.quarantine(`spiffe://${world.plane.trustDomain}/agent/teller/q1`)
    await gone(socket)
    assert.equal((await end()).inOrder, false)
    assert.equal((await outcomeOf('q1')).result, 'cut')
    other.write('SUM 2 2\n')
    assert.match(await hear(other, '= 4'), /= 4/)
    other.end()
    await gone(other)
  })

  it('connects to nothing for whom no flow leads there', async () => {
    const from = service.connections.length
    const socket = await connect('n1', 'mainframe', 'reader')
    socket.write('SUM 1 1\n')
    await gone(socket)
    assert.equal((await decisionOf('n1')).code, 'SP_NO_FLOW')
    assert.equal(service.connections.length, from)
  })

  it('does not connect before the decision is durable, nor pass a byte before the log says who is there', async () => {
    const from = service.connections.length
    const held: PromiseWithResolvers<void>[] = []
    const restore = await replaceSync(async (sync) => {
      const turn = Promise.withResolvers<void>()
      held.push(turn)
      await turn.promise
      await sync()
    })
    try {
      const socket = await connect('d1')
      socket.write('SUM 3 4\n')
      await until(() => held.length > 0)
      await sleep(300)
      assert.equal(service.connections.length, from)
      while (service.connections.length === from) {
        held.shift()?.resolve()
        await sleep(5)
      }
      // Connected; that nobody authenticated it is not in the log yet.
      await until(() => held.length > 0)
      await sleep(300)
      assert.equal(service.connections.at(-1)?.bytesRead, 0)
      const flush = setInterval(() => held.shift()?.resolve(), 5)
      assert.match(await hear(socket, '= 7'), /= 7/)
      clearInterval(flush)
      socket.destroy()
    } finally {
      restore()
      for (const turn of held) turn.resolve()
    }
  })

  it('connects to nothing of its own machine, whatever a name or an address says', async () => {
    const from = service.connections.length
    for (const name of ['own-name', 'own-address', 'own-mapped']) {
      const socket = await connect(name, name)
      await gone(socket)
      const { code, facts } = await eventOf('upstream-failed', name)
      assert.equal(code, 'SP_UPSTREAM_ADDRESS')
      assert.match(String(facts['detail']), /127\.0\.0\.1|::1/)
      assert.equal((await outcomeOf(name)).result, 'upstream-error')
    }
    assert.equal(service.connections.length, from)
    // Where nobody listens is another matter.
    await gone(await connect('w1', 'nowhere'))
    const { code, facts } = await eventOf('upstream-failed', 'w1')
    assert.equal(code, 'SP_UPSTREAM_FAILED')
    assert.match(String(facts['detail']), /ECONNREFUSED/)
  })

  it('holds back whoever sends to a side that does not read, and loses nothing', async () => {
    for (const [instance, way] of [
      ['b1', 'down'],
      ['b2', 'up'],
    ] as const) {
      const flood = new Flood()
      const read = Promise.withResolvers<Socket>()
      service.serve = (one) => {
        if (way === 'down') flood.offer(one)
        else read.resolve(one)
      }
      const before_ = heldBytes()
      const socket = await connect(instance, 'wide')
      const reader = way === 'down' ? socket : await read.promise
      reader.pause()
      if (way === 'up') flood.offer(socket)
      await flood.stuck()
      const { offered, size } = flood
      assert.ok(offered > 0 && offered < size, `${offered} of ${size} bytes went on to nobody`)
      assert.ok(heldBytes() - before_ < 8 * 1024 * 1024, `${heldBytes() - before_} bytes are held`)
      let got = 0
      reader.on('data', (bytes: Buffer) => (got += bytes.length))
      reader.resume()
      await until(() => got === size)
      reader.end()
      assert.equal((await outcomeOf(instance)).result, 'completed')
    }
  })

  it('leaves no half-open connection behind, however either side ends', async () => {
    await until(() => service.open === 0)
    const sockets = (): number =>
      process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length
    const from = sockets()
    const ways: readonly ((near: TLSSocket, far: Socket) => void)[] = [
      (near) => near.destroy(),
      (near) => cutSocket(near),
      (near) => near.end(),
      (_, far) => far.destroy(),
      (_, far) => far.resetAndDestroy(),
      (near, far) => {
        near.end()
        far.resetAndDestroy()
      },
      (near, far) => {
        far.end('bye')
        near.destroy()
      },
      // Neither says more after one has ended: silence ends it.
      (_, far) => far.end(),
    ]
    for (const [i, end] of ways.entries()) {
      const met = Promise.withResolvers<Socket>()
      service.serve = (one) => {
        one.resume()
        one.once('end', () => one.end())
        met.resolve(one)
      }
      const near = await connect(`l${i}`, 'silent')
      near.resume()
      if (i < ways.length - 1) near.once('end', () => near.end())
      end(near, await met.promise)
      const { result } = await outcomeOf(`l${i}`)
      assert.equal(result === 'cut', i === ways.length - 1, `${i}: ${result}`)
      near.destroy()
    }
    await until(() => service.open === 0)
    await until(() => sockets() <= from, 10_000).catch(() =>
      assert.fail(`${sockets()} sockets, ${from} before`),
    )
  })

  it('is cut where its address changes in the declaration', async () => {
    const socket = await connect('x1')
    await hear(socket, 'HELLO')
    const moved = systems.map((one) =>
      one.name === 'mainframe' ? plain('mainframe', 'tcp://elsewhere.example:1414') : one,
    )
    const { network, policies } = world.plane.declaration
    const byName = new Map(moved.map((one) => [one.name, one]))
    const declaration = {
      network: { ...network, systems: network.systems.map((one) => byName.get(one.name) ?? one) },
      policies,
    }
    const digest = declarationDigest(declaration)
    const statement = { kind: 'declaration', digest, epoch: 1, serial: 1 } as const
    world.plane.publish({
      ...{ declaration, declarationDigest: digest, declarationSerial: 1 },
      declarationSignatures: [world.plane.operator.sign(statement)],
    })
    await gone(socket)
    assert.equal((await outcomeOf('x1')).result, 'cut')
    const { code } = await eventOf('stream-cut', 'x1')
    assert.equal(code, 'SP_DECLARATION_CHANGED')
  })
})
