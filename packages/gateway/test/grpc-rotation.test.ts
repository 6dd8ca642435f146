import assert from 'node:assert/strict'
import { once } from 'node:events'
import { constants, performServerHandshake } from 'node:http2'
import type { ClientHttp2Stream, ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '@sallyport/base'
import type { System } from '@sallyport/network'
import { createMtlsServer, IdentityHolder } from '@sallyport/transport'
import type { MtlsServer } from '@sallyport/transport'
import { Sessions } from '../src/grpc/sessions.ts'
import { DEFAULT_SETTINGS } from '../src/settings.ts'
import { ledgerDeclared } from './support/grpc.ts'
import { TestPlane } from './support/plane.ts'
import { until } from './support/world.ts'

const CALLER = 'spiffe://test.example/agent/reader/i1'
const BYTES = 10_000_000

describe('sessions to systems of gRPC', () => {
  let plane: TestPlane
  let system: System
  let server: MtlsServer
  let sessions: Sessions
  let holder: IdentityHolder
  let connections = 0
  let refuses = false
  let stream: ServerHttp2Stream | undefined
  before(async () => {
    const declaration = await ledgerDeclared()
    plane = new TestPlane(declaration)
    const found = declaration.network.systems.find(({ name }) => name === 'ledger')
    assert.ok(found)
    system = found
    server = createMtlsServer({
      identity: new IdentityHolder(plane.service('ledger')),
      alpn: ['h2'],
      accept: () => true,
      handshakeTimeoutMs: 60_000,
      onConnection: (socket) => {
        connections++
        const session = performServerHandshake(socket)
        session.on('error', () => undefined)
        session.on('stream', (given) => {
          given.on('error', () => undefined)
          given.respond({ ':status': 200 })
          stream = given
        })
      },
    })
    const address = await server.listen({ host: '127.0.0.1', port: 0 })
    const { port } = address as AddressInfo
    holder = new IdentityHolder(plane.agent('gateway-to-be', 'g1', 600))
    sessions = new Sessions({
      ...{ holder, settings: { ...DEFAULT_SETTINGS, upstreamConnectTimeoutMs: 60_000 } },
      ...{ clock: systemClock, overrides: { ledger: { host: '127.0.0.1', port } } },
      refuses: () => refuses,
    })
  })
  after(async () => {
    sessions.close()
    await server.close()
  })

  /** A call whose head was answered: what it does not read stays where it is. */
  const ask = async (caller = CALLER): Promise<ClientHttp2Stream> => {
    const { session } = await sessions.lease(caller, system)
    const asked = session.request({ ':method': 'POST', ':path': '/x' })
    asked.on('error', () => undefined)
    asked.pause()
    await once(asked, 'response')
    return asked
  }
  /** The other end of the last of them. */
  const answering = (): ServerHttp2Stream => {
    assert.ok(stream)
    return stream
  }

  it('carry the calls of one caller each', async () => {
    const before = connections
    const [a, b, c] = await Promise.all([ask('one'), ask('one'), ask('two')])
    assert.equal(connections - before, 2)
    for (const asked of [a, b, c]) asked.close()
  })

  it('end no call when the identity is renewed, however slowly it is read', async () => {
    const asked = await ask()
    answering().end(Buffer.alloc(BYTES))
    const before = connections
    holder.replace(plane.agent('gateway-to-be', 'g1', 600))
    const next = await ask()
    assert.equal(connections - before, 1)
    next.close()
    let size = 0
    asked.on('data', (chunk: Buffer) => {
      size += chunk.length
    })
    asked.resume()
    await once(asked, 'end')
    assert.equal(size, BYTES)
    assert.equal(asked.rstCode, 0)
  })

  it('go elsewhere where a system says farewell', async () => {
    const asked = await ask()
    const far = answering()
    far.session?.goaway(0)
    far.write('here')
    asked.resume()
    const before = connections
    await until(() => asked.session?.closed === true)
    const next = await ask()
    assert.equal(connections - before, 1)
    far.end()
    await once(asked, 'end')
    next.close()
  })

  it('are cut with their caller, also those that take no new calls', async () => {
    const old = await ask()
    holder.replace(plane.agent('gateway-to-be', 'g1', 600))
    const asked = await ask()
    const other = await ask('spiffe://test.example/agent/reader/i10')
    const gone = [old, asked].map((one) => assert.rejects(once(one, 'close'), /was cut off/))
    sessions.cut(CALLER)
    await Promise.all(gone)
    for (const one of [old, asked]) assert.equal(one.destroyed, true)
    assert.equal(other.destroyed, false)
    other.close()
  })

  /** A call on a session that takes no new ones and one on its successor, with their other ends. */
  const oldAndNew = async () => {
    const old = await ask()
    const farOld = answering()
    holder.replace(plane.agent('gateway-to-be', 'g1', 600))
    const asked = await ask()
    return { near: [old, asked], far: [farOld, answering()] }
  }
  /** What a system hears of calls that are broken off: no mere end, which it could take for the end of what the caller says. */
  const brokenOff = async (
    { near, far }: Awaited<ReturnType<typeof oldAndNew>>,
    by: () => void,
  ) => {
    const gone = [
      ...near.map((one) => assert.rejects(once(one, 'close'), /was cut off/)),
      ...far.map((one) => until(() => one.closed)),
    ]
    by()
    await Promise.all(gone)
    for (const { rstCode } of far) assert.equal(rstCode, constants.NGHTTP2_INTERNAL_ERROR)
  }

  it('are cut with the service, and do not reach one that is refused', async () => {
    await brokenOff(await oldAndNew(), () => {
      sessions.cutPeers(({ id }) => id.uri.includes('/service/ledger/'))
    })
    refuses = true
    await assert.rejects(ask(), { code: 'SP_PEER_REFUSED' })
    refuses = false
    const again = await ask()
    again.close()
  })

  it('are broken off where the gateway ends', async () => {
    await brokenOff(await oldAndNew(), () => {
      sessions.close()
    })
  })
})
