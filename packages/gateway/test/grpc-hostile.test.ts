import assert from 'node:assert/strict'
import { constants } from 'node:http2'
import type {
  ClientHttp2Session,
  IncomingHttpHeaders,
  IncomingHttpStatusHeader,
  OutgoingHttpHeaders,
} from 'node:http2'
import { after, before, describe, it } from 'node:test'
import { status } from '@grpc/grpc-js'
import { readHeaders } from '../src/edge/headers.ts'
import { encode, startLedgerWorld } from './support/grpc.ts'
import type { LedgerWorld } from './support/grpc.ts'
import {
  END_HEADERS,
  FRAME,
  frame,
  h2Session,
  h2Socket,
  hpack,
  PREFACE,
  u32,
} from './support/h2.ts'
import { until } from './support/world.ts'

const GET = encode('GetAccountRequest', { account_id: 'ACC-1' })
const HEAD = {
  ':method': 'POST',
  ':path': '/ledger.v1.Ledger/GetAccount',
  'content-type': 'application/grpc',
  te: 'trailers',
}
const TRANSFER = { ...HEAD, ':path': '/ledger.v1.Ledger/Transfer' }

/** With a length of its own, where it lies. */
const framed = (message: Uint8Array, flags = 0, length = message.length): Buffer => {
  const prefix = Buffer.alloc(5)
  prefix.writeUInt8(flags)
  prefix.writeUInt32BE(length, 1)
  return Buffer.concat([prefix, message])
}

interface Ended {
  readonly http: number
  /** `grpc-status`, wherever it stood. */
  readonly grpc: number
  readonly code: string
  readonly text: string
}

/** One call, said byte for byte. */
function say(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: Buffer,
  { ends = true, trailers }: { ends?: boolean; trailers?: OutgoingHttpHeaders } = {},
): Promise<Ended> {
  return new Promise((resolve) => {
    const stream = session.request(headers, { waitForTrailers: trailers !== undefined })
    const all: IncomingHttpHeaders & IncomingHttpStatusHeader = {}
    let text = ''
    stream.on('response', (given) => Object.assign(all, given))
    stream.on('trailers', (given) => Object.assign(all, given))
    stream.on('wantTrailers', () => {
      stream.sendTrailers(trailers ?? {})
    })
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
    })
    stream.on('error', () => undefined)
    stream.on('close', () => {
      const grpc = all['grpc-status'] === undefined ? -1 : Number(all['grpc-status'])
      const said = `${String(all['grpc-message'])} ${text}`
      resolve({ http: Number(all[':status']), grpc, code: /SP_\w+/.exec(said)?.[0] ?? '', text })
    })
    if (ends) stream.end(body)
    else stream.write(body)
  })
}

describe('hostile calls of gRPC', () => {
  let world: LedgerWorld
  let session: ClientHttp2Session
  before(async () => {
    world = await startLedgerWorld()
    session = await h2Session(world, world.agent('teller'))
  })
  after(async () => {
    session.destroy()
    await world.close()
  })

  const refused = async (what: Promise<Ended>, grpc: number, code: string): Promise<void> => {
    const calls = world.ledger.seen.length
    const ended = await what
    assert.deepEqual([ended.http, ended.grpc, ended.code], [200, grpc, code])
    assert.equal(world.ledger.seen.length, calls)
  }

  it('are told from honest ones', async () => {
    const { http, grpc, text } = await say(session, HEAD, framed(GET))
    assert.deepEqual([http, grpc], [200, status.OK])
    assert.ok(text.length > 5)
    const proto = { ...HEAD, 'content-type': 'application/grpc+proto', 'grpc-timeout': '5S' }
    assert.equal((await say(session, proto, framed(GET))).grpc, status.OK)
    const identity = { ...HEAD, 'grpc-encoding': 'identity', 'x-more': 'is dropped' }
    assert.equal((await say(session, identity, framed(GET))).grpc, status.OK)
    assert.equal(world.ledger.seen.at(-1)?.metadata.get('x-more').length, 0)
    // Neither what names itself ours, nor binary metadata, nor what a system could take for the words of a proxy.
    const smuggled = {
      ...{
        'sallyport-call-token': 'forged',
        'x-forwarded-for': '10.0.0.1',
        'x-role-bin': 'YWRtaW4',
      },
      ...{ 'grpc-previous-rpc-attempts': '9', 'grpc-trace-bin': 'AAAA', 'lb-token': 'x' },
    }
    assert.equal((await say(session, { ...HEAD, ...smuggled }, framed(GET))).grpc, status.OK)
    const got = world.ledger.seen.at(-1)?.metadata
    assert.ok(got)
    assert.notEqual(got.get('sallyport-call-token')[0], 'forged')
    for (const name of Object.keys(smuggled).slice(1)) assert.deepEqual(got.get(name), [], name)
    assert.equal((await say(session, HEAD, framed(Buffer.alloc(0)))).grpc, status.OK)
    const named = { ...HEAD, 'sallyport-system': 'ledger' }
    assert.equal((await say(session, named, framed(GET))).grpc, status.OK)
  })

  const FRAMES: Readonly<Record<string, readonly [Buffer, number, string]>> = {
    'a frame that is not whole': [framed(GET, 0, 99), 3, 'SP_GRPC_MESSAGE'],
    'half a prefix': [Buffer.from([0, 0, 0]), 3, 'SP_GRPC_MESSAGE'],
    'bytes behind the message': [
      Buffer.concat([framed(GET), Buffer.from([0])]),
      3,
      'SP_GRPC_MESSAGE',
    ],
    'a compressed message': [framed(GET, 1), 12, 'SP_GRPC_UNIMPLEMENTED'],
    'unknown flags': [framed(GET, 2), 3, 'SP_GRPC_MESSAGE'],
    'compressed, and unknown flags': [framed(GET, 3), 3, 'SP_GRPC_MESSAGE'],
    'the highest flag': [framed(GET, 0x80), 3, 'SP_GRPC_MESSAGE'],
    'a length that is too short': [framed(GET, 0, GET.length - 1), 3, 'SP_GRPC_MESSAGE'],
    'an empty message behind the message': [
      Buffer.concat([framed(GET), framed(Buffer.alloc(0))]),
      3,
      'SP_GRPC_REQUEST',
    ],
    'two messages': [Buffer.concat([framed(GET), framed(GET)]), 3, 'SP_GRPC_REQUEST'],
  }
  for (const [what, [body, grpc, code]] of Object.entries(FRAMES)) {
    it(`is refused: ${what}`, () => refused(say(session, HEAD, body), grpc, code))
  }

  it('is refused: no message', async () => {
    await refused(say(session, HEAD, Buffer.alloc(0)), 3, 'SP_GRPC_REQUEST')
  })

  it('waits for no byte of a message that is too large', { timeout: 60_000 }, async () => {
    const giant = framed(Buffer.alloc(0), 0, 0xffff_ffff)
    await refused(say(session, HEAD, giant, { ends: false }), 8, 'SP_GRPC_MESSAGE')
    const large = framed(Buffer.alloc(400_000))
    // Often enough for a window that is not opened again to show.
    for (let i = 0; i < 8; i++) await refused(say(session, HEAD, large), 8, 'SP_GRPC_MESSAGE')
    assert.equal((await say(session, HEAD, framed(GET))).grpc, status.OK)
  })

  const { NGHTTP2_NO_ERROR, NGHTTP2_CANCEL } = constants
  for (const code of [NGHTTP2_NO_ERROR, NGHTTP2_CANCEL]) {
    it(`does not take a reset for the end of its message, by code ${code}`, async () => {
      const socket = await h2Socket(world, world.agent('teller', 'resets'))
      socket.on('error', () => undefined)
      const head = [[':scheme', 'https'], [':authority', 'gateway.test'], ...Object.entries(HEAD)]
      const list = head
        .toSorted(([a = ''], [b = '']) => Number(b.startsWith(':')) - Number(a.startsWith(':')))
        .map(([name = '', value = '']): [string, string] => [name, value])
      const { requests, refused: before } = world.gateway.stats()
      const calls = world.ledger.seen.length
      socket.write(
        Buffer.concat([
          PREFACE,
          frame(FRAME.settings, 0, 0),
          frame(FRAME.headers, END_HEADERS, 1, hpack(list)),
          frame(FRAME.data, 0, 1, framed(GET)),
        ]),
      )
      await until(() => world.gateway.stats().requests > requests)
      socket.write(frame(FRAME.reset, 0, 1, u32(code)))
      await until(() => world.gateway.stats().refused > before || world.ledger.seen.length > calls)
      assert.equal(world.ledger.seen.length, calls)
      socket.destroy()
    })
  }

  it('brings no trailers', async () => {
    const trailers = { 'sallyport-mandate': 'x', 'content-type': 'application/json' }
    await refused(say(session, HEAD, framed(GET), { trailers }), 3, 'SP_GRPC_REQUEST')
  })

  const HEADS: Readonly<Record<string, readonly [OutgoingHttpHeaders, number, string]>> = {
    'without `te`': [{ te: undefined }, 3, 'SP_GRPC_REQUEST'],
    'of JSON': [{ 'content-type': 'application/grpc+json' }, 12, 'SP_GRPC_UNIMPLEMENTED'],
    'of gRPC-Web': [{ 'content-type': 'application/grpc-web' }, 12, 'SP_GRPC_UNIMPLEMENTED'],
    'with parameters of its type': [
      { 'content-type': 'application/grpc; charset=utf-8' },
      12,
      'SP_GRPC_UNIMPLEMENTED',
    ],
    'that is compressed': [{ 'grpc-encoding': 'gzip' }, 12, 'SP_GRPC_UNIMPLEMENTED'],
    'with a query': [{ ':path': '/ledger.v1.Ledger/GetAccount?x=1' }, 3, 'SP_GRPC_REQUEST'],
    'below another path': [
      { ':path': '/ledger/ledger.v1.Ledger/GetAccount' },
      3,
      'SP_GRPC_REQUEST',
    ],
    'with dots in its path': [
      { ':path': '/x/../ledger.v1.Ledger/GetAccount' },
      3,
      'SP_REQUEST_TARGET',
    ],
    'by another method': [{ ':method': 'PUT' }, 3, 'SP_GRPC_REQUEST'],
    'with a timeout without a unit': [{ 'grpc-timeout': '10' }, 3, 'SP_GRPC_REQUEST'],
    'with a timeout below zero': [{ 'grpc-timeout': '-1S' }, 3, 'SP_GRPC_REQUEST'],
    'with a timeout with a fraction': [{ 'grpc-timeout': '1.5S' }, 3, 'SP_GRPC_REQUEST'],
    'with a timeout of an unknown unit': [{ 'grpc-timeout': '5s' }, 3, 'SP_GRPC_REQUEST'],
    'with two timeouts in one': [{ 'grpc-timeout': '5S, 9H' }, 3, 'SP_GRPC_REQUEST'],
    'that says how it was compressed, of several ways': [
      { 'grpc-encoding': 'identity, gzip' },
      12,
      'SP_GRPC_UNIMPLEMENTED',
    ],
    'with a forged token of the gateway': [{ sallyport_call_token: 'x' }, 3, 'SP_REQUEST_HEADER'],
    'with a timeout of nine digits': [{ 'grpc-timeout': '123456789S' }, 3, 'SP_GRPC_REQUEST'],
    'of a method that nobody declared': [
      { ':path': '/ledger.v1.Ledger/Close' },
      7,
      'SP_NO_OPERATION',
    ],
    'of another system': [{ 'sallyport-system': 'bank' }, 7, 'SP_NO_OPERATION'],
  }
  for (const [what, [over, grpc, code]] of Object.entries(HEADS)) {
    it(`is refused: a call ${what}`, () =>
      refused(
        say(
          session,
          Object.fromEntries(
            Object.entries({ ...HEAD, ...over }).filter(([, value]) => value !== undefined),
          ),
          framed(GET),
        ),
        grpc,
        code,
      ))
  }

  it('takes `te` for nothing but what gRPC needs', () => {
    const read = (...rest: string[]) => readHeaders(['host', 'x.test', ...rest])
    const grpc = ['content-type', 'application/grpc']
    assert.equal(read(...grpc, 'te', 'trailers').all.get('te'), 'trailers')
    for (const headers of [
      [...grpc, 'te', 'trailers, deflate'],
      [...grpc, 'te', 'gzip'],
      ['content-type', 'application/json', 'te', 'trailers'],
      ['te', 'trailers'],
    ]) {
      assert.throws(() => read(...headers), { code: 'SP_REQUEST_HEADER' })
    }
  })

  it('reaches no method by anything but gRPC', async () => {
    for (const type of ['application/json', 'application/grpcx', 'application/x-protobuf']) {
      const { te: _te, ...rest } = HEAD
      const ended = await say(session, { ...rest, 'content-type': type }, framed(GET))
      assert.deepEqual([ended.http, ended.grpc, ended.code], [403, -1, 'SP_NO_OPERATION'])
    }
    const json = { ':method': 'POST', ':path': '/ledger/x', 'content-type': 'application/json' }
    assert.equal((await say(session, json, Buffer.from('{}'))).code, 'SP_NO_OPERATION')
    const { 'content-type': _type, ...untyped } = HEAD
    assert.equal((await say(session, untyped, framed(GET))).code, 'SP_REQUEST_HEADER')
    // HTTP/1.1 has no trailers that anyone waits for.
    const teller = world.agent('teller', 'other')
    const over1 = await teller.ask({
      method: 'POST',
      path: HEAD[':path'],
      headers: { 'content-type': 'application/grpc' },
    })
    assert.equal(over1.status, 400)
    assert.equal(over1.body['code'], 'SP_GRPC_REQUEST')
  })

  // Fields of TransferRequest: account_id 0x0a, amount 0x10, to_account 0x1a, to_party 0x22, tags 0x2a, notes 0x32.
  const A = [0x0a, 1, 0x41]
  const MESSAGES: Readonly<Record<string, readonly [number[], string]>> = {
    'a field that is not declared': [[...A, 0xf8, 0x01, 1], 'SP_GRPC_MESSAGE'],
    'a field twice': [[...A, ...A], 'SP_GRPC_MESSAGE'],
    'two of a oneof': [[...A, 0x1a, 0, 0x22, 0], 'SP_GRPC_MESSAGE'],
    'a key of a map twice': [
      [...A, 0x32, 3, 0x0a, 1, 0x41, 0x32, 3, 0x0a, 1, 0x41],
      'SP_GRPC_MESSAGE',
    ],
    'a text that is not UTF-8': [[0x0a, 2, 0xc3, 0x28], 'SP_GRPC_MESSAGE'],
    'an Any': [[...A, 0x52, 0], 'SP_GRPC_MESSAGE'],
    'a group': [[...A, 0x13, 0x14], 'SP_GRPC_MESSAGE'],
    'an enum value without a name': [[...A, 0x38, 9], 'SP_GRPC_MESSAGE'],
    'a length beyond the message': [[0x0a, 0x7f, 0x41], 'SP_GRPC_MESSAGE'],
    'a message inside itself': [[...A, 0x22, 2, 0x12, 0], 'SP_INPUT_UNKNOWN'],
    'a number that has no exact reading': [
      [...A, 0x10, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
      'SP_INPUT_TYPE',
    ],
    'the same item twice': [[...A, 0x2a, 1, 0x41, 0x2a, 1, 0x41], 'SP_INPUT_VALUE'],
  }
  for (const [what, [given, code]] of Object.entries(MESSAGES)) {
    it(`is refused: ${what}`, () =>
      refused(say(session, TRANSFER, framed(Buffer.from(given))), 3, code))
  }
})
