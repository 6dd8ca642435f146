import assert from 'node:assert/strict'
import { performServerHandshake } from 'node:http2'
import type { OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { after, before, beforeEach, describe, it } from 'node:test'
import { status } from '@grpc/grpc-js'
import { createMtlsServer, IdentityHolder } from '@sallyport/transport'
import type { MtlsServer } from '@sallyport/transport'
import { codeOf, decode, encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld } from './support/grpc.ts'

const GET = encode('GetAccountRequest', { account_id: 'ACC-1' })

/** With a length of its own, where it lies. */
const framed = (message: Uint8Array, flags = 0, length = message.length): Buffer => {
  const prefix = Buffer.alloc(5)
  prefix.writeUInt8(flags)
  prefix.writeUInt32BE(length, 1)
  return Buffer.concat([prefix, message])
}

describe('hostile answers of gRPC', () => {
  let world: LedgerWorld
  let teller: GrpcAgent
  let server: MtlsServer
  let answer: (stream: ServerHttp2Stream) => void
  const OK = { ':status': 200, 'content-type': 'application/grpc' }
  const RECEIPT = framed(encode('Account', { id: 'ACC-1', memo: 'm' }))
  before(async () => {
    world = await startLedgerWorld()
    server = createMtlsServer({
      identity: new IdentityHolder(world.plane.service('ledger')),
      alpn: ['h2'],
      accept: (peer) => peer.id.segments[0] === 'gateway',
      handshakeTimeoutMs: 60_000,
      onConnection: (socket) => {
        const session = performServerHandshake(socket)
        session.on('error', () => undefined)
        session.on('stream', (stream) => {
          stream.on('error', () => undefined)
          stream.resume()
          answer(stream)
        })
      },
    })
    const address = await server.listen({ host: '127.0.0.1', port: 0 })
    assert.ok(typeof address !== 'string')
    world.upstreams['ledger'] = { host: '127.0.0.1', port: address.port }
  })
  after(async () => {
    await server.close()
    await world.close()
  })
  beforeEach(() => {
    teller = new GrpcAgent(world, world.agent('teller'))
  })

  /** A whole answer: its head, its bytes, its trailers. */
  const says =
    (
      head: OutgoingHttpHeaders,
      body: Buffer,
      trailers: OutgoingHttpHeaders = { 'grpc-status': '0' },
    ) =>
    (stream: ServerHttp2Stream): void => {
      stream.respond(head, { waitForTrailers: true })
      stream.on('wantTrailers', () => {
        stream.sendTrailers(trailers)
      })
      stream.end(body)
    }
  const account = encode('Account', { id: 'ACC-1' })
  const CASES: Readonly<Record<string, readonly [(stream: ServerHttp2Stream) => void, string]>> = {
    'a compressed message': [says(OK, framed(account, 1)), 'SP_UPSTREAM_RESPONSE'],
    'a message that is not whole': [says(OK, framed(account, 0, 99)), 'SP_UPSTREAM_RESPONSE'],
    'a giant message': [says(OK, framed(account, 0, 0xffff_ffff)), 'SP_UPSTREAM_RESPONSE'],
    'two messages': [says(OK, Buffer.concat([RECEIPT, RECEIPT])), 'SP_UPSTREAM_RESPONSE'],
    'no message': [says(OK, Buffer.alloc(0)), 'SP_UPSTREAM_RESPONSE'],
    'no status': [says(OK, RECEIPT, {}), 'SP_UPSTREAM_FAILED'],
    'a status that is none': [says(OK, RECEIPT, { 'grpc-status': '0x0' }), 'SP_UPSTREAM_RESPONSE'],
    'another content type': [
      says({ ...OK, 'content-type': 'text/html' }, RECEIPT),
      'SP_UPSTREAM_RESPONSE',
    ],
    'an encoding': [says({ ...OK, 'grpc-encoding': 'gzip' }, RECEIPT), 'SP_UPSTREAM_RESPONSE'],
    'another HTTP status': [says({ ...OK, ':status': 503 }, RECEIPT), 'SP_UPSTREAM_FAILED'],
    'a text that is not UTF-8': [
      says(OK, framed(Buffer.from([0x0a, 1, 0xff]))),
      'SP_UPSTREAM_RESPONSE',
    ],
    'a field twice': [says(OK, framed(Buffer.concat([account, account]))), 'SP_UPSTREAM_RESPONSE'],
    'a status with a message': [says(OK, RECEIPT, { 'grpc-status': '13' }), 'SP_UPSTREAM_FAILED'],
    'an end at once': [
      (stream) => {
        stream.respond({ ...OK, 'grpc-status': '0' }, { endStream: true })
      },
      'SP_UPSTREAM_RESPONSE',
    ],
    'a reset': [
      (stream) => {
        stream.respond(OK)
        stream.write(RECEIPT)
        stream.close(2)
      },
      'SP_UPSTREAM_FAILED',
    ],
    'a connection that ends': [
      (stream) => {
        stream.session?.destroy()
      },
      'SP_UPSTREAM_FAILED',
    ],
  }
  for (const [what, [how, code]] of Object.entries(CASES)) {
    it(`are refused: ${what}`, async () => {
      const ask = () => teller.ask('GetAccount', GET)
      answer = says(OK, RECEIPT, { 'grpc-status': '0', 'grpc-message': 'fine', 'x-secret': '42' })
      const good = await ask()
      assert.equal(good.error, undefined, good.error?.details)
      assert.deepEqual(decode('Account', good.value ?? GET), { id: 'ACC-1', memo: 'm' })
      answer = how
      const bad = await ask()
      assert.equal(codeOf(bad), code)
      assert.equal(bad.value, undefined)
      teller.close()
    })
  }

  it('bring no header and no trailer to the caller', async () => {
    answer = says({ ...OK, 'set-cookie': 'a=b', 'x-secret': '42' }, RECEIPT, {
      ...{ 'grpc-status': '5', 'grpc-message': 'the secret is 42' },
      ...{ 'x-secret': '42', 'grpc-status-details-bin': 'NDI' },
    })
    const { error } = await teller.ask('GetAccount', GET)
    assert.equal(error?.code, status.NOT_FOUND)
    assert.deepEqual(error.metadata.get('x-secret'), [])
    assert.doesNotMatch(error.details, /42/)
    const details = Buffer.concat(
      error.metadata.get('grpc-status-details-bin').map((one) => Buffer.from(one)),
    )
    assert.match(details.toString('latin1'), /SP_UPSTREAM_REFUSED/)
    assert.deepEqual(Object.keys(error.metadata.getMap()).toSorted(), [
      'content-type',
      'date',
      'grpc-status-details-bin',
      'sallyport-decision',
    ])
    teller.close()
  })
})
