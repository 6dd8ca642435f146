import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { setTimeout as sleep } from 'node:timers/promises'
import { startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const GET = 'GET /bank/v1/accounts/A HTTP/1.1\r\nHost: g\r\n'
const POST = 'POST /bank/v1/accounts/A/transfers HTTP/1.1\r\nHost: g\r\n'
const JSON_TYPE = 'Content-Type: application/json\r\n'
const BODY = '{"amount":1,"to":"bob"}'

/**
 * Everything the gateway says on a socket until it closes, or falls silent after as many answers as are waited for: a busy
 * machine is silent between two of them, too.
 */
async function say(
  socket: TLSSocket,
  answers: number,
  ...pieces: readonly string[]
): Promise<string> {
  let heard = ''
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1')
  })
  socket.on('error', () => undefined)
  for (const piece of pieces) {
    if (socket.destroyed) break
    socket.write(piece, 'latin1')
    await sleep(20)
  }
  for (let length = -1; !socket.destroyed; length = heard.length) {
    if (length === heard.length && statuses(heard).length >= answers) break
    await sleep(100)
  }
  return heard
}

const statuses = (heard: string): string[] =>
  [...heard.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status = '']) => status)

describe('bytes on the wire', () => {
  let world: World
  let agent: TestAgent
  before(async () => {
    world = await startWorld({
      settings: { headersTimeoutMs: 4000, requestTimeoutMs: 6000, handshakeTimeoutMs: 6000 },
    })
    agent = world.agent('teller')
  })
  after(() => world.close())

  const exchange = async (bytes: string, answers = 1): Promise<string> => {
    const socket = await agent.raw()
    try {
      return await say(socket, answers, bytes)
    } finally {
      socket.destroy()
    }
  }

  it('serves plain requests, also pipelined ones, in order', async () => {
    assert.deepEqual(statuses(await exchange(`${GET}\r\n`)), ['200'])
    assert.deepEqual(statuses(await exchange(`${GET}\r\n${GET}\r\n`, 2)), ['200', '200'])
    const post = `${POST}${JSON_TYPE}Content-Length: ${BODY.length}\r\n\r\n${BODY}`
    assert.deepEqual(statuses(await exchange(post)), ['200'])
    const chunks = `${POST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`
    assert.deepEqual(statuses(await exchange(chunks)), ['200'])
  })

  const smuggled = `${GET}X-Smuggled: 1\r\n\r\n`
  const corpus: Readonly<Record<string, string>> = {
    'CL and TE': `${POST}${JSON_TYPE}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    'TE and CL': `${POST}${JSON_TYPE}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${smuggled}`,
    'two CL that differ': `${POST}${JSON_TYPE}Content-Length: 0\r\nContent-Length: 23\r\n\r\n${smuggled}`,
    'two CL that agree': `${POST}${JSON_TYPE}Content-Length: 0\r\nContent-Length: 0\r\n\r\n${smuggled}`,
    'a list as CL': `${POST}${JSON_TYPE}Content-Length: 0, 0\r\n\r\n${smuggled}`,
    'a signed CL': `${POST}${JSON_TYPE}Content-Length: +0\r\n\r\n${smuggled}`,
    'a blank before the colon': `${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    'a coding behind a tab': `${POST}Transfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n${smuggled}`,
    'an unknown coding': `${POST}Transfer-Encoding: xchunked\r\n\r\n${smuggled}`,
    'TE twice': `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${smuggled}`,
    'obsolete folding': `${GET}X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n${smuggled}`,
    'a bare line feed': `GET /bank/v1/accounts/A HTTP/1.1\nHost: g\n\n${smuggled}`,
    'a bare carriage return': `${GET}X-A: b\rHost: evil\r\n\r\n${smuggled}`,
    'a NUL in a value': `${GET}X-A: b\0c\r\n\r\n${smuggled}`,
    'a body on GET': `${GET}Content-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
    'chunks on GET': `${GET}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    'two hosts': `${GET}Host: evil\r\n\r\n`,
    'no host': 'GET /bank/v1/accounts/A HTTP/1.1\r\n\r\n',
    'another authority': 'GET http://evil/bank/v1/accounts/A HTTP/1.1\r\nHost: g\r\n\r\n',
    'HTTP/1.0': 'GET /bank/v1/accounts/A HTTP/1.0\r\nHost: g\r\n\r\n',
    'HTTP/1.0 with TE':
      'POST /bank/v1/accounts/A/transfers HTTP/1.0\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HTTP/0.9': 'GET /bank/v1/accounts/A\r\n\r\n',
    'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    CONNECT: 'CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n',
    TRACE: 'TRACE /bank/v1/accounts/A HTTP/1.1\r\nHost: g\r\n\r\n',
    'an upgrade': `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    'an upgrade to h2c': `${GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`,
    expect: `${POST}${JSON_TYPE}Expect: 100-continue\r\nContent-Length: 23\r\n\r\n`,
    'another expectation': `${POST}${JSON_TYPE}Expect: x\r\nContent-Length: 23\r\n\r\n`,
    'an encoded traversal': 'GET /bank/v1/accounts/..%2f..%2fvault HTTP/1.1\r\nHost: g\r\n\r\n',
    'a fragment': 'GET /bank/v1/accounts/A#/../vault HTTP/1.1\r\nHost: g\r\n\r\n',
    'raw UTF-8 in the path': 'GET /bank/v1/accounts/\xc3\xa4 HTTP/1.1\r\nHost: g\r\n\r\n',
    'an underscore alias': `${POST}${JSON_TYPE}Content_Length: 5\r\n\r\n`,
    'a header of 20 kB': `${GET}X-A: ${'a'.repeat(20_000)}\r\n\r\n`,
    'a trailer': `${POST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n17\r\n${BODY}\r\n0\r\nHost: evil\r\n\r\n`,
    'a chunk size that is none': `${POST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n-1\r\n${BODY}\r\n0\r\n\r\n`,
    'a chunk size beyond all': `${POST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n${BODY}\r\n0\r\n\r\n`,
    'a chunk extension that hides a chunk': `${POST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n2;\n{}\r\n0\r\n\r\n${smuggled}`,
    'a chunk extension with a bare line feed': `${POST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n17;a\nb\r\n${BODY}\r\n0\r\n\r\n`,
    'a chunk size in hexadecimal of C': `${POST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n0x17\r\n${BODY}\r\n0\r\n\r\n`,
    'a chunk without its end': `${POST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n17\r\n${BODY}0\r\n\r\n`,
    'a coding behind a vertical tab': `${POST}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n${smuggled}`,
    'a quoted coding': `${POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n${smuggled}`,
    'a coding twice in one': `${POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    'a coding with an underscore': `${POST}${JSON_TYPE}Transfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n`,
    'an empty CL': `${POST}${JSON_TYPE}Content-Length:\r\n\r\n${smuggled}`,
    'a CL with leading zeros': `${POST}${JSON_TYPE}Content-Length: 00\r\n\r\n${smuggled}`,
    'a negative CL': `${POST}${JSON_TYPE}Content-Length: -1\r\n\r\n${smuggled}`,
    'absolute form, the same authority':
      'GET https://g/bank/v1/accounts/A HTTP/1.1\r\nHost: g\r\n\r\n',
    'a host with a user': 'GET /bank/v1/accounts/A HTTP/1.1\r\nHost: me@g\r\n\r\n',
    'a host with a path': 'GET /bank/v1/accounts/A HTTP/1.1\r\nHost: g/bank\r\n\r\n',
    'an encoded dot': 'GET /bank/v1/accounts/%2e%2e HTTP/1.1\r\nHost: g\r\n\r\n',
    'a path parameter': 'GET /bank;a=b/v1/accounts/A HTTP/1.1\r\nHost: g\r\n\r\n',
    'a backslash': 'GET /bank\\v1\\accounts\\A HTTP/1.1\r\nHost: g\r\n\r\n',
    'a slash at the end': 'GET /bank/v1/accounts/A/ HTTP/1.1\r\nHost: g\r\n\r\n',
    'a slash at the end of another protocol': 'GET /.sallyport/whoami/ HTTP/1.1\r\nHost: g\r\n\r\n',
    'an empty segment': 'GET /bank//v1/accounts/A HTTP/1.1\r\nHost: g\r\n\r\n',
    'an overlong encoding of a slash': 'GET /bank/v1/accounts/%c0%af HTTP/1.1\r\nHost: g\r\n\r\n',
    'a target of 9 kB': `GET /bank/v1/accounts/${'a'.repeat(9000)} HTTP/1.1\r\nHost: g\r\n\r\n`,
    'a target of 20 kB': `GET /bank/v1/accounts/${'a'.repeat(20_000)} HTTP/1.1\r\nHost: g\r\n\r\n`,
    'a WebSocket': `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`,
    'a body in gzip': `${POST}${JSON_TYPE}Content-Encoding: gzip\r\nContent-Length: 23\r\n\r\n${BODY}`,
    'JSON that nests deep': `${POST}${JSON_TYPE}Content-Length: 40000\r\n\r\n${'['.repeat(20_000)}${']'.repeat(20_000)}`,
    'JSON that names a member twice': `${POST}${JSON_TYPE}Content-Length: 35\r\n\r\n{"amount":1,"to":"bob","amount":999}`,
    'more JSON than the bound': `${POST}${JSON_TYPE}Content-Length: 300000\r\n\r\n${' '.repeat(300_000)}`,
    'a name of nothing but blanks': `${GET} : x\r\n\r\n`,
    'TLS inside TLS': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  }
  for (const [what, bytes] of Object.entries(corpus)) {
    it(`answers ${what} with one refusal at most, and forwards nothing`, async () => {
      const from = world.bank.seen.length
      const heard = statuses(await exchange(bytes))
      assert.ok(heard.length <= 1, heard.join(' '))
      assert.ok(
        heard.every((status) => /^4\d\d$/.test(status)),
        heard.join(' '),
      )
      assert.equal(world.bank.seen.length, from)
    })
  }

  it('refuses more headers than the bound, and survives all of it', async () => {
    const many = Array.from({ length: 200 }, (_, i) => `X-${i}: 1\r\n`).join('')
    const from = world.bank.seen.length
    const heard = statuses(await exchange(`${GET}${many}\r\n`))
    assert.deepEqual(heard, ['400'])
    assert.equal(world.bank.seen.length, from)
    assert.equal((await agent.ask({ path: '/bank/v1/accounts/A' })).status, 200)
  })

  it('takes what is sent ahead in turn, and nothing of it after an answer that ends the connection', async () => {
    const call = (id: string): string => `GET /bank/v1/accounts/${id} HTTP/1.1\r\nHost: g\r\n\r\n`
    const refused = `${POST}${JSON_TYPE}Content-Length: 00\r\n\r\n`
    const from = world.bank.seen.length
    const seen = (): string[] => world.bank.seen.slice(from).map(({ url }) => url)
    const usual = world.bank.answer
    const held: (() => void)[] = []
    world.bank.answer = (one, res) => {
      held.push(() => usual(one, res))
    }
    const socket = await agent.raw()
    try {
      const heard = say(socket, 4, call('A') + call('B') + refused + call('C'))
      await until(() => held.length === 1)
      await sleep(200)
      assert.equal(seen().length, 1, 'the second waits for the answer to the first')
      held[0]?.()
      await until(() => held.length === 2)
      held[1]?.()
      assert.deepEqual(statuses(await heard), ['200', '200', '400'])
      await sleep(200)
      assert.deepEqual(seen(), ['/v1/accounts/A', '/v1/accounts/B'])
    } finally {
      world.bank.answer = usual
      socket.destroy()
    }
  })

  it('holds few requests that are sent ahead, and ends a connection that sends more', async () => {
    const call = `${GET}\r\n`
    const heard = statuses(await exchange(call.repeat(10), 10))
    assert.deepEqual(
      heard,
      Array.from({ length: 10 }, () => '200'),
    )
    const socket = await agent.raw()
    assert.ok(statuses(await say(socket, 18, call.repeat(18))).length < 18)
    assert.ok(socket.destroyed)
  })

  for (const [what, pieces] of Object.entries({
    'a request line that never ends': ['GET /bank'],
    'headers that never end': [GET, 'X-A: 1\r\n', 'X-B: 1\r\n'],
    'a body that never comes': [`${POST}${JSON_TYPE}Content-Length: 23\r\n\r\n`, '{'],
    'silence after the handshake': [],
  })) {
    it(`gives up on ${what}`, { timeout: 60_000 }, async () => {
      const socket = await agent.raw()
      socket.on('error', () => undefined)
      socket.resume()
      for (const piece of pieces) {
        socket.write(piece)
        await sleep(50)
      }
      if (pieces.length > 0) await until(() => socket.destroyed)
      socket.destroy()
    })
  }

  it('bounds connections of one instance and calls in flight', async () => {
    await world.restart({ settings: { maxConnectionsPerInstance: 2, maxInFlightPerInstance: 1 } })
    const crowded = world.agent('teller', 'crowd')
    const open = [await crowded.raw(), await crowded.raw()]
    const third = await crowded.raw().catch(() => undefined)
    third?.on('error', () => undefined)
    await until(() => third === undefined || third.destroyed)
    for (const socket of open) assert.equal(socket.destroyed, false)
    for (const socket of open) socket.destroy()
    await until(() => world.gateway.stats().openConnections === 0)
    const two = world.agent('teller', 'two')
    const replies = await Promise.all([0, 1].map(() => two.ask({ path: '/bank/v1/accounts/A' })))
    assert.deepEqual(
      replies.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, 503],
    )
  })
})
