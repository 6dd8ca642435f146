/** PROXY protocol v2: believed of declared balancers only, read strictly, and nothing but a source. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { connect as tlsConnect } from 'node:tls'
import { errorCode } from '@sallyport/base'
import fc from 'fast-check'
import { directSource } from '../src/edge/source.ts'
import { balancers, readProxyFrame } from '../src/edge/proxy-protocol.ts'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
/** A frame by hand: version and command, family, and what follows. */
function frame(
  command: number,
  family: number,
  ...rest: readonly (Buffer | readonly number[])[]
): Buffer {
  const body = Buffer.concat(rest.map((part) => Buffer.from(part)))
  const head = Buffer.from([command, family, body.length >> 8, body.length & 255])
  return Buffer.concat([SIGNATURE, head, body])
}
const V4 = Buffer.from([203, 0, 113, 9, 10, 0, 0, 1, 0x1f, 0x90, 0x01, 0xbb])
const V6 = Buffer.from(`20010db8${'0'.repeat(22)}09fd00${'0'.repeat(27)}11f9001bb`, 'hex')
const GOOD = frame(0x21, 0x11, V4)
const tlv = (kind: number, size: number, have = size): number[] => [
  kind,
  0,
  size,
  ...Array<number>(have).fill(7),
]

describe('a frame', () => {
  it('says where a connection comes from', () => {
    assert.deepEqual(readProxyFrame(GOOD), {
      length: 28,
      source: { address: '203.0.113.9', port: 8080 },
    })
    const six = readProxyFrame(frame(0x21, 0x21, V6))
    assert.deepEqual(six?.source, { address: '2001:db8::9', port: 8080 })
    const mapped = Buffer.concat([
      Buffer.from(`${'0'.repeat(20)}ffffcb007109`, 'hex'),
      V6.subarray(16),
    ])
    assert.equal(readProxyFrame(frame(0x21, 0x21, mapped))?.source?.address, '203.0.113.9')
    assert.equal(readProxyFrame(frame(0x20, 0x00))?.source, undefined)
    const more = frame(0x21, 0x11, V4, tlv(0x02, 5), tlv(0x04, 3), tlv(0x04, 1), tlv(0xe0, 9))
    assert.equal(readProxyFrame(Buffer.concat([more, Buffer.from('next')]))?.length, more.length)
  })

  const bad: readonly (readonly [string, Buffer])[] = [
    ['version 1', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n')],
    ['a handshake', Buffer.from('16030100', 'hex')],
    [
      'another signature',
      Buffer.concat([Buffer.from('0d0a0d0a000d0a515549540b', 'hex'), GOOD.subarray(12)]),
    ],
    ['version 3', frame(0x31, 0x11, V4)],
    ['an unknown command', frame(0x22, 0x11, V4)],
    ['UDP', frame(0x21, 0x12, V4)],
    ['a Unix socket', frame(0x21, 0x31, Buffer.alloc(216))],
    ['no family', frame(0x21, 0x00)],
    ['addresses cut off', frame(0x21, 0x11, V4.subarray(0, 11))],
    ['IPv4 as IPv6', frame(0x21, 0x21, V4)],
    ['an addition cut off', frame(0x21, 0x11, V4, tlv(0x02, 5, 4))],
    ['half an addition', frame(0x21, 0x11, V4, [0x02, 0])],
    ['an addition twice', frame(0x21, 0x11, V4, tlv(0x02, 1), tlv(0x02, 1))],
    ['an unknown addition', frame(0x21, 0x11, V4, tlv(0x77, 1))],
    ['a checksum', frame(0x21, 0x11, V4, tlv(0x03, 4))],
    ['one that is too long', frame(0x21, 0x11, V4, Buffer.alloc(600))],
  ]
  for (const [what, bytes] of bad) {
    it(`is refused: ${what}`, () => {
      assert.throws(() => readProxyFrame(bytes), { code: 'SP_PROXY_FRAME' })
    })
  }

  it('is waited for byte by byte, and whatever the bytes, it is one, none yet, or refused', () => {
    for (let n = 0; n < GOOD.length; n++)
      assert.equal(readProxyFrame(GOOD.subarray(0, n)), undefined)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(27), (bytes, keep) => {
        try {
          const read = readProxyFrame(Buffer.concat([GOOD.subarray(0, keep), bytes]))
          assert.ok(read === undefined || read.length <= keep + bytes.length)
        } catch (error) {
          assert.equal(errorCode(error), 'SP_PROXY_FRAME')
        }
      }),
    )
  })
})

describe('declared balancers', () => {
  it('are addresses and ranges, never everybody', () => {
    const is = balancers(['10.0.0.0/29', 'fd00::/64', '192.0.2.7'])
    for (const yes of ['10.0.0.7', '::ffff:10.0.0.1', 'fd00::9', '192.0.2.7'])
      assert.ok(is(yes), yes)
    for (const no of ['10.0.0.8', 'fd01::9', '192.0.2.8', '', undefined])
      assert.equal(is(no), false)
    for (const range of [
      '0.0.0.0/0',
      '::/0',
      '10.0.0.0/33',
      '10.0.0.0/8/8',
      'lb.example',
      '',
      '10.0.0.0/x',
    ]) {
      assert.throws(() => balancers([range]), { code: 'SP_PROXY_PEERS' }, range)
    }
  })
})

describe('a port without frames', () => {
  it('takes a balancer’s address for nobody’s', () => {
    const is = balancers(['10.0.0.0/29'])
    assert.equal(directSource('::ffff:10.0.0.1', is), undefined)
    assert.equal(directSource('10.0.0.1', balancers([])), '10.0.0.1')
    assert.equal(directSource('10.0.0.9', is), '10.0.0.9')
    assert.equal(directSource('127.0.0.1', is), undefined)
  })
})

describe('a gateway behind a balancer', () => {
  let world: World

  before(async () => {
    world = await startWorld({ proxyFrom: ['127.0.0.1/32'] })
  })
  after(() => world.close())

  /** One request over a connection that begins with these bytes; what it answers, or undefined where it is cut. */
  async function ask(first: Buffer, from = '127.0.0.1'): Promise<string | undefined> {
    const { port } = world.gateway.address
    const raw: Socket = connect({ host: '127.0.0.1', port, localAddress: from })
    raw.on('error', () => undefined)
    raw.write(first)
    const { chainPem, keyPem } = world.plane.agent('reader', 'i1', 600)
    const socket = tlsConnect({
      ...{ socket: raw, cert: chainPem, key: keyPem, rejectUnauthorized: false },
      ALPNProtocols: ['http/1.1'],
    })
    socket.on('error', () => undefined)
    socket.write(
      'GET /bank/v1/accounts/ACC-1 HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n',
    )
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    await new Promise((resolve) => raw.once('close', resolve))
    return text === '' ? undefined : text
  }
  const recorded = () =>
    [...world.plane.feed.values()].flatMap(({ record }) =>
      record.kind === 'decision' ? [record] : [],
    )
  const refused = (code: string) =>
    [...world.plane.feed.values()].some(
      ({ record }) => record.kind === 'event' && record.code === code,
    )

  it('takes the source from the frame, and the identity from the handshake behind it', async () => {
    assert.match((await ask(GOOD)) ?? '', /^HTTP\/1\.1 200 /)
    await until(() => recorded().length === 1)
    assert.equal(recorded()[0]?.peer.source, '203.0.113.9')
    // A check of the balancer's own says no source, and the balancer's address is none.
    assert.match((await ask(frame(0x20, 0x00))) ?? '', /^HTTP\/1\.1 200 /)
    await until(() => recorded().length === 2)
    assert.equal(recorded()[1]?.peer.source, undefined)
  })

  it('takes no check for a handshake that failed, whichever way it ends', async () => {
    const events = () =>
      [...world.plane.feed.values()].flatMap(({ record }) =>
        record.kind === 'event' && record.event === 'handshake-refused' ? [record.code] : [],
      )
    const check = async (end: (socket: Socket) => unknown): Promise<void> => {
      const socket = connect(world.gateway.address.port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.resume().write(frame(0x20, 0x00), () => end(socket))
      await new Promise((resolve) => socket.once('close', resolve))
    }
    await check((socket) => socket.end())
    await check((socket) => socket.resetAndDestroy())
    // What was refused before is in the log by the time that this is.
    const before = recorded().length
    assert.match((await ask(GOOD)) ?? '', /^HTTP\/1\.1 200 /)
    await until(() => recorded().length > before)
    assert.deepEqual(events(), [])
  })

  it('lets in nobody who is no balancer, and no balancer without a frame', async () => {
    assert.equal(await ask(Buffer.alloc(0)), undefined)
    await until(() => refused('SP_PROXY_FRAME'))
    assert.equal(await ask(GOOD, '127.0.0.2'), undefined)
    await until(() => refused('SP_PROXY_PEER'))
  })

  it('reads no frame where no balancer is declared', async () => {
    // A member that is there and undefined takes away what the world was started with, which the type does not know.
    await world.restart({ proxyFrom: undefined } as never)
    assert.match((await ask(Buffer.alloc(0))) ?? '', /^HTTP\/1\.1 200 /)
    assert.equal(await ask(GOOD), undefined)
  })
})
