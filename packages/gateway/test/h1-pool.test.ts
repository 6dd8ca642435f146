import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import type { Duplex } from 'node:stream'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { Connector } from '@sallyport/transport'
import { ClientConnection } from '../src/h1/client.ts'
import { LeanPool } from '../src/h1/pool.ts'
import type { AnswerControl } from '../src/upstream/connections.ts'
import { askPool, NearServer } from './support/near-server.ts'
import { until } from './support/world.ts'

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'
const LONG = 32 * 1024 * 1024

describe('connections of our own codec', () => {
  let server: NearServer
  let pool: LeanPool
  const newPool = (connections = 4): LeanPool =>
    new LeanPool({
      ...{ host: 'bank_1.test:8443', connector: server.connector, connections },
      bounds: { maxBytes: 16_384, maxHeaders: 64 },
    })
  beforeEach(async () => {
    server = new NearServer()
    await server.listen()
    pool = newPool()
  })
  afterEach(async () => {
    await pool.destroy()
    await server.close()
  })

  it('say exactly what was asked, and one request after the other on one connection', async () => {
    const heard: string[] = []
    server.onData = (socket, all, connection) => {
      heard.push(all)
      server.heard[connection] = ''
      socket.write(OK)
    }
    const body = Buffer.from('{"é":1}')
    const headers = { accept: 'x/y', 'x-a': 'b\xe9' }
    const answer = await askPool(pool, { method: 'POST', path: '/v1/a?b=c', headers, body })
    assert.deepEqual([answer.status, answer.body], [200, '{}'])
    await askPool(pool)
    await askPool(pool, { method: 'DELETE' })
    await askPool(pool, { method: 'PUT' })
    const common = 'HTTP/1.1\r\nhost: bank_1.test:8443\r\nconnection: keep-alive\r\n'
    assert.deepEqual(heard, [
      `POST /v1/a?b=c ${common}accept: x/y\r\nx-a: b\xe9\r\ncontent-length: 8\r\n\r\n{"\xc3\xa9":1}`,
      `GET /v1/a ${common}\r\n`,
      `DELETE /v1/a ${common}\r\n`,
      `PUT /v1/a ${common}content-length: 0\r\n\r\n`,
    ])
    assert.equal(server.sockets.length, 1)
  })

  it('say nothing at all of what would not be exactly one request', async () => {
    server.answers(OK)
    const bad = [
      { headers: { 'x-a': 'b\r\nx-c: d' } },
      { headers: { 'x-a': 'b\0' } },
      { headers: { 'x-a': '\u0100' } },
      { headers: { 'x a': 'b' } },
      { headers: { '': 'b' } },
      { headers: { Host: 'evil' } },
      { headers: { 'transfer-encoding': 'chunked' } },
      { headers: { 'content-length': '0' } },
      { headers: { connection: 'upgrade' } },
      { path: '/a b' },
      { path: '/a\r\n' },
      { path: 'http://evil/' },
      { path: '/a#b' },
      { method: 'GET /x' },
      { method: '' },
    ]
    for (const one of bad) {
      await assert.rejects(askPool(pool, one), { code: 'H1_UNWRITABLE' }, JSON.stringify(one))
    }
    assert.equal(server.heard.join(''), '')
    // The positive control, on the very connection.
    assert.equal((await askPool(pool)).status, 200)
    assert.equal(server.sockets.length, 1)
  })

  const refused: Readonly<Record<string, readonly [code: string, bytes: string]>> = {
    'a bare line feed': ['CONTROL', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
    'a bare carriage return': ['CONTROL', 'HTTP/1.1 200 OK\r\nA: b\rC: d\r\n'],
    'a NUL': ['HEADER', 'HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 0\r\n\r\n'],
    'an empty line before it': ['STATUS', '\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
    'no HTTP at all': ['CONTROL', '\x15\x03\x03\0\x02\x02\x28'],
    'HTTP/1.0': ['VERSION', 'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
    'HTTP/2': ['VERSION', 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
    'a status of two digits': ['STATUS', 'HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n'],
    'a status beyond all': ['STATUS', 'HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n'],
    'obsolete folding': ['HEADER', 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n'],
    'a blank before the colon': ['HEADER', 'HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n'],
    'a line without a colon': ['HEADER', 'HTTP/1.1 200 OK\r\nA\r\nContent-Length: 0\r\n\r\n'],
    'a name of nothing': ['HEADER', 'HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n'],
    'two lengths': [
      'TWO_FRAMINGS',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}',
    ],
    'a length and chunks': [
      'TWO_FRAMINGS',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    'a list as length': ['CONTENT_LENGTH', 'HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}'],
    'a signed length': ['CONTENT_LENGTH', 'HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}'],
    'a length beyond all': [
      'CONTENT_LENGTH',
      `HTTP/1.1 200 OK\r\nContent-Length: ${'9'.repeat(20)}\r\n\r\n{}`,
    ],
    'another coding': [
      'TRANSFER_ENCODING',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n',
    ],
    'an answer that ends with its connection': ['NO_FRAMING', 'HTTP/1.1 200 OK\r\n\r\n{}'],
    'a body where there is none': [
      'TWO_FRAMINGS',
      'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    'another protocol': ['UPGRADE', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n'],
    'nine interim answers': ['INTERIM', 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(9)],
    'an interim answer that is the last': [
      'INTERIM',
      `HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n${OK}`,
    ],
    'a chunk extension': ['CHUNK', chunked('1;a=b\r\n{\r\n0\r\n\r\n')],
    'a size of nothing': ['CHUNK', chunked('\r\n{\r\n0\r\n\r\n')],
    'a size that never ends': ['CHUNK', chunked('0'.repeat(10))],
    'a chunk without its end': ['CHUNK', chunked('1\r\n{}\r\n0\r\n\r\n')],
    'a size with a bare line feed': ['CHUNK', chunked('1\n{\r\n0\r\n\r\n')],
    'two digits with a bare line feed': ['CHUNK', chunked('11\n{\r\n0\r\n\r\n')],
    'a trailer that frames': ['TRAILER', chunked('0\r\nContent-Length: 2\r\n\r\n')],
    'a trailer that is none': ['HEADER', chunked('0\r\n a\r\n\r\n')],
    'two answers to one request': ['BEHIND_THE_ANSWER', OK + OK],
    'a head of 20 kB': ['HEAD_TOO_LARGE', `HTTP/1.1 200 OK\r\nA: ${'a'.repeat(20_000)}`],
    'trailers of 20 kB': ['HEAD_TOO_LARGE', chunked(`0\r\nA: ${'a'.repeat(20_000)}`)],
    'headers beyond the bound': [
      'TOO_MANY_HEADERS',
      `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(64)}Content-Length: 0\r\n\r\n`,
    ],
  }
  it('take no answer that has another reading, and nothing more on its connection', async () => {
    for (const [what, [code, bytes]] of Object.entries(refused)) {
      server.answers(bytes)
      await assert.rejects(askPool(pool), { code: `H1_${code}` }, what)
      const [last] = server.sockets.slice(-1)
      await until(() => last?.destroyed === true)
    }
    assert.equal(server.sockets.length, Object.keys(refused).length)
    server.answers(OK)
    assert.equal((await askPool(pool)).status, 200)
  })

  it('take what is plain: chunks, interim answers, answers without a body, names that stand twice', async () => {
    const taken: readonly (readonly [
      method: string,
      bytes: string,
      status: number,
      body: string,
    ])[] = [
      ['GET', chunked('2\r\n{"\r\n03\r\na":\r\n2\r\n1}\r\n0\r\nx-sum: 1\r\n\r\n'), 200, '{"a":1}'],
      ['GET', `HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${OK}`, 200, '{}'],
      ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n', 200, ''],
      ['HEAD', 'HTTP/1.1 200 OK\r\n\r\n', 200, ''],
      ['GET', 'HTTP/1.1 204 No Content\r\n\r\n', 204, ''],
      ['GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n', 304, ''],
      ['GET', 'HTTP/1.1 200 \r\nContent-Length:\t 2 \t\r\n\r\n{}', 200, '{}'],
    ]
    for (const [method, bytes, status, body] of taken) {
      server.answers(bytes)
      const answer = await askPool(pool, { method })
      assert.deepEqual([answer.status, answer.body], [status, body], bytes)
    }
    server.answers(
      'HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\n__proto__: c\r\nContent-Length: 0\r\n\r\n',
    )
    const { headers } = await askPool(pool)
    assert.deepEqual(headers['set-cookie'], ['a', 'b'])
    assert.deepEqual(Object.keys(headers), ['set-cookie', '__proto__', 'content-length'])
    assert.equal(server.sockets.length, 1)
  })

  it('end with bytes that nobody asked for', async () => {
    // Without a pool around it, so that no time limit ends it first.
    const wire = Object.assign(new PassThrough(), { setNoDelay: () => undefined })
    const nobody = { free: () => undefined, gone: () => undefined }
    const bounds = { maxBytes: 16_384, maxHeaders: 64 }
    assert.ok(new ClientConnection(wire, 'bank.test', bounds, nobody))
    wire.push('HTTP')
    await new Promise(setImmediate)
    assert.equal(wire.destroyed, true)
    server.answers(OK)
    await askPool(pool)
    const [first] = server.sockets
    first?.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsplit')
    await until(() => first?.destroyed === true)
    assert.equal((await askPool(pool)).body, '{}')
    assert.equal(server.sockets.length, 2)
  })

  it('end with what came before anybody could have asked, which fails the call that they were made for', async () => {
    await pool.destroy()
    const sockets: (Duplex | null)[] = []
    const connector: Connector = (options, callback, onread) => {
      server.connector(
        options,
        (...result) => {
          if (sockets.length === 0) onread?.callback(4, Buffer.from('HTTP'))
          sockets.push(result[1])
          callback(...result)
        },
        onread,
      )
    }
    const bounds = { maxBytes: 16_384, maxHeaders: 64 }
    pool = new LeanPool({ host: 'bank.test', connector, connections: 4, bounds })
    server.answers(OK)
    await assert.rejects(askPool(pool), { code: 'H1_UNASKED' })
    assert.deepEqual([sockets.length, sockets[0]?.destroyed], [1, true])
    assert.equal(server.heard.join(''), '')
    // The positive control.
    assert.equal((await askPool(pool)).body, '{}')
  })

  it('take nothing for an answer that came before its request had left', async () => {
    // Of just the size of a record of TLS: what stands behind it comes together with it, and is read on its own.
    const head = 'HTTP/1.1 200 OK\r\nContent-Length: 16342\r\n\r\n'
    const answer = head + 'x'.repeat(16_384 - head.length)
    const behind = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsplit'
    server.onData = (socket, _all, connection) => {
      socket.write(connection === 0 ? answer + behind : OK)
    }
    await pool.destroy()
    pool = newPool(1)
    const both = await Promise.all([askPool(pool), askPool(pool)])
    assert.deepEqual(
      both.map(({ body }) => body),
      ['x'.repeat(16_342), '{}'],
    )
    assert.equal(server.sockets.length, 2)
  })

  it('are not used again when the server is about to end them', async () => {
    server.answers('HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\n{}')
    await askPool(pool)
    await askPool(pool)
    assert.equal(server.sockets.length, 2)
  })

  it('end with an answer that says so, and with one that breaks off', async () => {
    server.answers(
      'HTTP/1.1 200 OK\r\nConnection: keep-alive, Close\r\nContent-Length: 2\r\n\r\n{}',
    )
    assert.equal((await askPool(pool)).body, '{}')
    // At once: one that is idle ends of itself after a while.
    assert.equal((await askPool(pool)).body, '{}')
    assert.equal(server.sockets.length, 2)
    await until(() => server.sockets[0]?.destroyed === true)
    for (const part of ['', 'HTTP/1.1 200 OK\r\n', OK.slice(0, -1), chunked('2\r\n{}\r\n')]) {
      server.onData = (socket) => socket.end(part)
      await assert.rejects(askPool(pool), { code: 'H1_CLOSED' }, part)
    }
  })

  it('end with an answer that came before its request had left', async () => {
    server.onData = (socket, _all, connection) => {
      if (connection > 0) socket.write(OK)
      else {
        socket.pause()
        socket.removeAllListeners('data')
        socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n')
      }
    }
    const early = await askPool(pool, { method: 'POST', body: Buffer.alloc(LONG) })
    assert.equal(early.status, 413)
    assert.equal((await askPool(pool)).status, 200)
    assert.equal(server.sockets.length, 2)
  })

  it('give up on a head that is slow, however it trickles, and on a body that stops', async () => {
    const trickle: NodeJS.Timeout[] = []
    server.onData = (socket) => {
      let at = 0
      trickle.push(setInterval(() => socket.writable && socket.write(OK[at++ % 9] ?? ''), 20))
    }
    await assert.rejects(askPool(pool, { headersTimeout: 300 }), { code: 'H1_TIMEOUT_HEAD' })
    for (const timer of trickle) clearInterval(timer)
    server.answers(OK.slice(0, -1))
    await assert.rejects(askPool(pool, { bodyTimeout: 300 }), { code: 'H1_TIMEOUT_BODY' })
    await until(() => server.sockets.every(({ destroyed }) => destroyed))
  })

  it('let a server wait while nobody reads, and lose nothing by it', async () => {
    const body = Buffer.alloc(LONG, 'x')
    server.onData = (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LONG}\r\n\r\n`)
      socket.write(body)
    }
    let held: AnswerControl | undefined
    let received = 0
    const whole = askPool(pool, {
      onData: (control, piece) => {
        received += piece.length
        if (held) return
        held = control
        control.pause()
      },
    })
    await until(() => held !== undefined)
    // Meanwhile as much comes, all of it, on another connection.
    assert.equal((await askPool(pool)).body.length, LONG)
    assert.ok(received < LONG / 4, `${received} bytes were taken`)
    held?.resume()
    assert.equal((await whole).body.length, LONG)
    server.heard[0] = server.heard[1] = ''
    server.answers(OK)
    assert.equal((await askPool(pool)).body, '{}')
    assert.equal(server.sockets.length, 2)
  })

  it('are no more than the bound; others wait, in turn', async () => {
    await pool.destroy()
    pool = newPool(2)
    const paths: string[] = []
    server.onData = (socket, all, connection) => {
      paths.push(all.split(' ')[1] ?? '')
      server.heard[connection] = ''
      setImmediate(() => socket.write(OK))
    }
    const all = Array.from({ length: 20 }, (_, i) => askPool(pool, { path: `/${i}` }))
    assert.equal((await Promise.all(all)).length, 20)
    assert.equal(server.sockets.length, 2)
    assert.equal(new Set(paths).size, 20)
  })

  it('end with a call that is given up, and with no other', async () => {
    const other = newPool()
    server.onData = () => undefined
    let control: AnswerControl | undefined
    const given = askPool(pool, { onStart: (one) => (control = one) })
    await until(() => server.heard[0] !== undefined && server.heard[0] !== '')
    const stays = askPool(other)
    await until(() => server.heard[1] !== undefined && server.heard[1] !== '')
    control?.abort(new Error('gone'))
    await assert.rejects(given, /gone/)
    await until(() => server.sockets[0]?.destroyed === true)
    assert.equal(server.sockets[1]?.destroyed, false)
    // An answer that is over can be given up without harm to the next on its connection.
    server.answers(OK)
    server.sockets[1]?.write(OK)
    await stays
    await other.destroy()
    let over: AnswerControl | undefined
    await askPool(pool, { onStart: (one) => (over = one) })
    over?.abort(new Error('late'))
    over?.pause()
    const count = server.sockets.length
    await askPool(pool)
    assert.equal(server.sockets.length, count)
  })

  it('never begin a call whose caller went while it waited', async () => {
    server.answers(OK)
    const gone = askPool(pool, {
      path: '/gone',
      onStart: (control) => {
        control.abort(new Error('gone'))
      },
    })
    await assert.rejects(gone, /gone/)
    assert.equal((await askPool(pool)).status, 200)
    assert.doesNotMatch(server.heard.join(''), /gone/)
    assert.equal(server.sockets.length, 1)
  })

  it('let what is in flight end when they are closed, and nothing when they are destroyed', async () => {
    let answer: () => void = () => undefined
    server.onData = (socket) => {
      answer = () => socket.write(OK)
    }
    const last = askPool(pool)
    await until(() => server.heard.join('') !== '')
    const closed = pool.close()
    await assert.rejects(askPool(pool), { code: 'H1_GIVEN_UP' })
    answer()
    assert.equal((await last).body, '{}')
    await closed
    await until(() => server.sockets.every(({ destroyed }) => destroyed))
    pool = newPool(1)
    const [flying, waiting] = [askPool(pool), askPool(pool)]
    const both = Promise.all([
      assert.rejects(flying, { code: 'H1_GIVEN_UP' }),
      assert.rejects(waiting, { code: 'H1_GIVEN_UP' }),
    ])
    const before = server.sockets.length
    await until(() => server.sockets.length > before)
    await pool.destroy()
    await both
  })

  it('fail one call for each connection that does not come about', async () => {
    await server.close()
    const calls = await Promise.allSettled(Array.from({ length: 5 }, () => askPool(pool)))
    for (const call of calls) {
      assert.equal(call.status, 'rejected')
      assert.equal((call.reason as { code?: string }).code, 'SP_CONNECT_FAILED')
    }
  })
})

function chunked(body: string): string {
  return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`
}
