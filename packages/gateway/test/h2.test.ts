import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import type { ClientHttp2Session } from 'node:http2'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { readH2Head } from '../src/edge/h2-head.ts'
import { readHeaders } from '../src/edge/headers.ts'
import { Refusal } from '../src/refusal.ts'
import { askH2, END_HEADERS, END_STREAM, frame, FRAME, FrameReader } from './support/h2.ts'
import { h2Session, h2Socket, hpack, PREFACE, u32 } from './support/h2.ts'
import { startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const PATH = '/bank/v1/accounts/ACC-1'
const TRANSFER = '/bank/v1/accounts/A/transfers'
const BODY = '{"amount":1,"to":"bob"}'
const HEAD: readonly (readonly [string, string])[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'gateway.test'],
  [':path', PATH],
]
const POST: readonly (readonly [string, string])[] = [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':authority', 'gateway.test'],
  [':path', TRANSFER],
  ['content-type', 'application/json'],
]
const SETTINGS = frame(FRAME.settings, 0, 0)

describe('HTTP/2 at the edge', () => {
  let world: World
  let agent: TestAgent
  let session: ClientHttp2Session
  before(async () => {
    world = await startWorld({ settings: { headersTimeoutMs: 4000, requestTimeoutMs: 6000 } })
    agent = world.agent('teller')
  })
  after(() => world.close())
  beforeEach(async () => {
    session = await h2Session(world, agent)
  })

  it('serves the calls of HTTP/1.1, many at once on one connection', async () => {
    const replies = await Promise.all(
      Array.from({ length: 20 }, () => askH2(session, { ':path': PATH })),
    )
    for (const { status, text, headers, code } of replies) {
      assert.equal(status, 200)
      assert.equal(code, 0)
      assert.deepEqual(Object.keys(JSON.parse(text) as object), ['account'])
      assert.match(String(headers['sallyport-decision']), /^dec_/)
      assert.equal(headers['cache-control'], 'no-store')
    }
    assert.equal(session.closed, false)
    const over1 = await agent.ask({ path: PATH })
    assert.deepEqual(JSON.parse(replies[0]?.text ?? ''), over1.body)
    session.destroy()
  })

  it('forwards the same canonical request, whatever it came by', async () => {
    const headers = { ':method': 'POST', ':path': TRANSFER, 'content-type': 'application/json' }
    const h2 = await askH2(session, headers, BODY)
    assert.equal(h2.status, 200, h2.text)
    const two = world.bank.seen.at(-1)
    await agent.ask({ path: TRANSFER, body: JSON.parse(BODY) })
    const one = world.bank.seen.at(-1)
    assert.equal(two?.body, one?.body)
    assert.equal(two?.url, one?.url)
    assert.deepEqual(
      two?.rawHeaders.filter((_text, i) => i % 2 === 0),
      one?.rawHeaders.filter((_text, i) => i % 2 === 0),
    )
    // A length that is announced, and right.
    const exact = await askH2(session, { ...headers, 'content-length': String(BODY.length) }, BODY)
    assert.equal(exact.status, 200)
    session.destroy()
  })

  it('refuses as HTTP/1.1 does, and goes on with the connection', async () => {
    const reply = await askH2(session, { ':path': '/bank/v1/../vault' })
    assert.equal(reply.status, 400)
    assert.equal(reply.headers['content-type'], 'application/problem+json')
    assert.equal((JSON.parse(reply.text) as { code: string }).code, 'SP_REQUEST_TARGET')
    assert.equal((await askH2(session, { ':path': '/vault/x' })).status, 403)
    const big = { ':method': 'POST', ':path': TRANSFER, 'content-type': 'application/json' }
    // Often enough for a window that is not opened again to show.
    for (let i = 0; i < 8; i++) {
      const large = await askH2(session, big, Buffer.alloc(400_000, 0x20))
      assert.equal(large.status, 413)
    }
    assert.equal((await askH2(session, { ':path': PATH })).status, 200)
    session.destroy()
  })

  it('serves MCP', async () => {
    const headers = {
      ':method': 'POST',
      ':path': '/desk/mcp',
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    }
    const rpc = (id: number, method: string, params: unknown): string =>
      JSON.stringify({ jsonrpc: '2.0', id, method, params })
    const hello = await askH2(
      session,
      headers,
      rpc(1, 'initialize', {
        protocolVersion: '2025-06-18',
        capabilities: {},
        clientInfo: { name: 't', version: '1' },
      }),
    )
    assert.equal(hello.status, 200, hello.text)
    const id = String(hello.headers['mcp-session-id'])
    const call = await askH2(
      session,
      { ...headers, 'mcp-session-id': id },
      rpc(2, 'tools/call', { name: 'read_note', arguments: { id: 'N-1' } }),
    )
    assert.equal(call.status, 200, call.text)
    assert.match(call.text, /"structuredContent":\{"note"/)
    session.destroy()
  })

  it(
    'streams events, and is cut where the caller is quarantined',
    { timeout: 60_000 },
    async () => {
      world.bank.answer = (_seen, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        res.write('data: {"account":{"status":"open"}}\n\n')
      }
      const reader = world.agent('reader', 'watcher')
      const watching = await h2Session(world, reader)
      const stream = watching.request({ ':path': '/bank/v1/watch', accept: 'text/event-stream' })
      stream.setEncoding('utf8')
      stream.on('error', () => undefined)
      let heard = ''
      stream.on('data', (chunk: string) => {
        heard += chunk
      })
      await until(() => heard.includes('"open"'))
      const closed = new Promise<void>((resolve) => {
        watching.once('close', resolve)
      })
      world.plane.quarantine('spiffe://test.example/agent/reader/watcher')
      await closed
      assert.equal(watching.destroyed, true)
      // Who is not cut off goes on.
      world.bank.answer = (_seen, res) => {
        res.writeHead(200, { 'content-type': 'application/json' }).end('{}')
      }
      assert.equal((await askH2(session, { ':path': PATH })).status, 200)
      session.destroy()
    },
  )

  it('is spoken by curl', async (t) => {
    if (!/HTTP2/.test(spawnSync('curl', ['--version'], { encoding: 'utf8' }).stdout ?? '')) {
      t.skip('no curl with HTTP/2 on this machine')
      return
    }
    const at = (name: string): string => join(world.dataDir, name)
    const { chainPem, keyPem, rootsPem } = agent.material
    await writeFile(at('chain.pem'), chainPem)
    await writeFile(at('key.pem'), keyPem, { mode: 0o600 })
    await writeFile(at('roots.pem'), [rootsPem].flat().join('\n'))
    const { port } = world.gateway.address
    const { stdout } = await promisify(execFile)('curl', [
      ...['--silent', '--http2', '--cert', at('chain.pem'), '--key', at('key.pem')],
      // The name in a gateway's certificate is a SPIFFE id, which curl does not look for.
      ...['--cacert', at('roots.pem'), '--insecure'],
      ...['--write-out', '\n%{http_version} %{http_code}', `https://127.0.0.1:${port}${PATH}`],
    ])
    assert.match(stdout, /\n2 200$/)
    session.destroy()
  })

  /** Says raw frames on a connection of their own. */
  const raw = async (...frames: readonly Uint8Array[]) => {
    const socket = await h2Socket(world, agent)
    const reader = new FrameReader(socket)
    socket.write(Buffer.concat([PREFACE, SETTINGS, ...frames]))
    return { socket, reader, close: () => socket.destroy() }
  }

  const settledBy = async (
    what: Awaited<ReturnType<typeof raw>>,
    stream = 1,
  ): Promise<string | undefined> => {
    await until(() => what.socket.destroyed || what.reader.settled(stream))
    what.close()
    return what.reader.status(stream)
  }

  const get = (
    head: readonly (readonly [string, string])[],
    flags = END_HEADERS | END_STREAM,
  ): Buffer => frame(FRAME.headers, flags, 1, hpack(head))

  it('reads raw frames of the usual kind', async () => {
    session.destroy()
    assert.equal(await settledBy(await raw(get(HEAD))), '200')
    const post = await raw(
      get([...POST, ['content-length', String(BODY.length)]], END_HEADERS),
      frame(FRAME.data, END_STREAM, 1, Buffer.from(BODY)),
    )
    assert.equal(await settledBy(post), '200')
  })

  const without = (name: string): (readonly [string, string])[] =>
    HEAD.filter(([header]) => header !== name)
  const heads: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
    'no method': without(':method'),
    'no path': without(':path'),
    'no scheme': without(':scheme'),
    'no authority': without(':authority'),
    'host in place of authority': [...without(':authority'), ['host', 'gateway.test']],
    'another scheme': [...without(':scheme'), [':scheme', 'http']],
    'an empty path': [...without(':path'), [':path', '']],
    'an absolute path': [...without(':path'), [':path', `https://gateway.test${PATH}`]],
    'two paths': [...HEAD, [':path', '/vault/x']],
    'two methods': [[':method', 'POST'], ...HEAD],
    'a host that disagrees': [...HEAD, ['host', 'evil.test']],
    'a pseudo-header behind a header': [['accept', '*/*'], ...HEAD],
    'a pseudo-header of answers': [...HEAD, [':status', '200']],
    'a pseudo-header that is none': [...HEAD, [':x', '1']],
    'a protocol': [...HEAD, [':protocol', 'websocket']],
    connect: [
      [':method', 'CONNECT'],
      [':authority', 'evil.test:443'],
    ],
    'a name in capitals': [...HEAD, ['X-A', '1']],
    'a line feed in the path': [...without(':path'), [':path', `${PATH} HTTP/1.1\r\nx: y`]],
    'a line feed in the authority': [
      ...without(':authority'),
      [':authority', 'gateway.test\r\nx: y'],
    ],
    'a user in the authority': [...without(':authority'), [':authority', 'me@gateway.test']],
    'transfer-encoding': [...HEAD, ['transfer-encoding', 'chunked']],
    connection: [...HEAD, ['connection', 'x-a'], ['x-a', '1']],
    'keep-alive': [...HEAD, ['keep-alive', 'timeout=5']],
    'proxy-connection': [...HEAD, ['proxy-connection', 'close']],
    upgrade: [...HEAD, ['upgrade', 'websocket']],
    te: [...HEAD, ['te', 'gzip']],
    'an underscore alias': [...HEAD, ['content_length', '5']],
    'a header twice': [...HEAD, ['x-a', '1'], ['x-a', '2']],
    'a length of a body that is not there': [...HEAD, ['content-length', '5']],
    'two lengths': [...HEAD, ['content-length', '0'], ['content-length', '0']],
    'a length that is none': [...HEAD, ['content-length', '+0']],
    'an encoded traversal': [...without(':path'), [':path', '/bank/v1/accounts/..%2f..%2fvault']],
    'a fragment': [...without(':path'), [':path', `${PATH}#/../vault`]],
    'an override of the method': [...HEAD, ['x-http-method-override', 'DELETE']],
    'a header of 20 kB': [...HEAD, ['x-a', 'a'.repeat(20_000)]],
  }
  for (const [what, head] of Object.entries(heads)) {
    it(`refuses ${what}, and forwards nothing`, async () => {
      session.destroy()
      const from = world.bank.seen.length
      const block = hpack(head)
      const said =
        block.length <= 16_000
          ? [get(head)]
          : [
              frame(FRAME.headers, END_STREAM, 1, block.subarray(0, 16_000)),
              frame(FRAME.continuation, END_HEADERS, 1, block.subarray(16_000)),
            ]
      assert.notEqual(await settledBy(await raw(...said)), '200')
      assert.equal(world.bank.seen.length, from)
    })
  }

  // nghttp2 leaves such headers out before anyone sees them. What could have meant something in HTTP/1.1 means nothing.
  const leftOut: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
    'a name with a line feed': [...HEAD, ['x-a: b\nhost', 'evil.test']],
    'a name with a colon': [...HEAD, ['x:a', '1']],
    'a name with a blank': [...HEAD, ['x a', '1']],
    'an empty name': [...HEAD, ['', '1']],
    'a line feed in a value': [...HEAD, ['x-a', 'b\nhost: evil.test']],
    'a carriage return in a value': [...HEAD, ['x-a', 'b\rhost: evil.test']],
    'a whole request in a value': [
      ...HEAD,
      ['x-a', `b\r\n\r\nGET /vault HTTP/1.1\r\nhost: evil.test`],
    ],
    'a NUL in a value': [...HEAD, ['x-a', 'b\0c']],
    'a blank before a value': [...HEAD, ['x-a', ' b']],
    'a blank behind a value': [...HEAD, ['x-a', 'b\t']],
  }
  for (const [what, head] of Object.entries(leftOut)) {
    it(`forwards nothing of ${what}`, async () => {
      session.destroy()
      await settledBy(await raw(get(HEAD)))
      const plain = world.bank.seen.at(-1)
      await settledBy(await raw(get(head)))
      const odd = world.bank.seen.at(-1)
      const names = (seen: typeof odd): unknown => seen?.rawHeaders.filter((_, i) => i % 2 === 0)
      assert.deepEqual(
        [odd?.method, odd?.url, names(odd)],
        [plain?.method, plain?.url, names(plain)],
      )
    })
  }

  const bodies: Readonly<Record<string, readonly Buffer[]>> = {
    'more DATA than announced': [
      get([...POST, ['content-length', '5']], END_HEADERS),
      frame(FRAME.data, END_STREAM, 1, Buffer.from(BODY)),
    ],
    'less DATA than announced': [
      get([...POST, ['content-length', '50']], END_HEADERS),
      frame(FRAME.data, END_STREAM, 1, Buffer.from(BODY)),
    ],
    'DATA where none was announced': [
      get([...POST, ['content-length', '0']], END_HEADERS),
      frame(FRAME.data, END_STREAM, 1, Buffer.from(BODY)),
    ],
    'a body on GET': [get(HEAD, END_HEADERS), frame(FRAME.data, END_STREAM, 1, Buffer.from(BODY))],
    trailers: [
      get(POST, END_HEADERS),
      frame(FRAME.data, 0, 1, Buffer.from(BODY)),
      frame(FRAME.headers, END_HEADERS | END_STREAM, 1, hpack([['x-a', '1']])),
    ],
    'DATA before its head': [frame(FRAME.data, END_STREAM, 1, Buffer.from(BODY))],
    'an even stream': [frame(FRAME.headers, END_HEADERS | END_STREAM, 2, hpack(HEAD))],
    'garbage for HPACK': [
      frame(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.alloc(300, 0xff)),
    ],
    'a frame beyond the largest': [frame(FRAME.data, 0, 1, Buffer.alloc(20_000))],
    'a frame between CONTINUATIONs': [
      get(HEAD, END_STREAM),
      frame(FRAME.ping, 0, 0, Buffer.alloc(8)),
    ],
    'a settings frame on a stream': [frame(FRAME.settings, 0, 1)],
    'a window of nothing': [get(HEAD, END_HEADERS), frame(FRAME.windowUpdate, 0, 1, u32(0))],
  }
  for (const [what, frames] of Object.entries(bodies)) {
    it(`refuses ${what}, and forwards nothing`, async () => {
      session.destroy()
      const from = world.bank.seen.length
      assert.notEqual(await settledBy(await raw(...frames)), '200')
      assert.equal(world.bank.seen.length, from)
    })
  }

  const open = (n: number, flags: number): Buffer =>
    frame(FRAME.headers, flags, 2 * n + 1, hpack(HEAD))

  it('opens no more streams at once than the bound', async () => {
    session.destroy()
    await world.restart({ settings: { maxStreamsPerConnection: 4 } })
    const bounded = await h2Session(world, agent)
    await new Promise((resolve) => {
      bounded.once('remoteSettings', resolve)
    })
    assert.equal(bounded.remoteSettings.maxConcurrentStreams, 4)
    bounded.destroy()
    // One that does not care: what is over the bound is refused, and no call of it is made.
    let held: (() => void)[] = []
    world.bank.answer = (_seen, res) => {
      held.push(() => {
        res.writeHead(200, { 'content-type': 'application/json' }).end('{}')
      })
    }
    const { socket, reader } = await raw(
      ...Array.from({ length: 10 }, (_, n) => open(n, END_HEADERS | END_STREAM)),
    )
    const refused = () => reader.frames.filter(({ type }) => type === FRAME.reset).length
    await until(() => held.length === 4 && refused() >= 6)
    for (const release of held) release()
    held = []
    await until(() => reader.frames.filter(({ type }) => type === FRAME.headers).length === 4)
    socket.destroy()
  })

  it('gives up on silence, on slow bodies and on slow readers', { timeout: 60_000 }, async () => {
    session.destroy()
    await world.restart({
      settings: { headersTimeoutMs: 2000, requestTimeoutMs: 2000, keepAliveTimeoutMs: 2000 },
    })
    const silent = await h2Socket(world, agent)
    silent.on('error', () => undefined)
    silent.resume()
    const idle = await raw()
    const slow = await raw(get(POST, END_HEADERS))
    await until(() => slow.reader.settled(1))
    await until(() => silent.destroyed && idle.socket.destroyed)
    slow.close()
    const wide = 'x'.repeat(200_000)
    world.bank.answer = (_seen, res) => {
      res.writeHead(200, { 'content-type': 'application/json' })
      res.end(JSON.stringify({ account: { memo: wide } }))
    }
    // Its window is 65,535 bytes, and it never opens it further.
    const sleepy = await raw(get(HEAD))
    await until(() => sleepy.reader.frames.some(({ type }) => type === FRAME.reset))
    sleepy.close()
    // The same read to its end, by somebody who is given time.
    await world.restart()
    const reading = await h2Session(world, agent)
    const whole = await askH2(reading, { ':path': PATH })
    assert.equal(whole.code, 0)
    assert.ok(whole.text.length > 200_000)
    reading.destroy()
  })
})

describe('the head of an HTTP/2 request', () => {
  const list = (...more: string[]): string[] => [
    ...[':method', 'GET', ':scheme', 'https', ':authority', 'Gateway.test:8443', ':path', '/a/b'],
    ...more,
  ]

  it('becomes one of HTTP/1.1', () => {
    assert.deepEqual(readH2Head(list('x-a', '1'), 'gateway.TEST', 4096), {
      method: 'GET',
      url: '/a/b',
      rawHeaders: ['host', 'Gateway.test:8443', 'x-a', '1'],
    })
    assert.deepEqual(readH2Head(list('host', 'Gateway.test:8443'), undefined, 4096).rawHeaders, [
      'host',
      'Gateway.test:8443',
    ])
  })

  // A byte that is no blank of HTTP is part of the value, which is then not plain, and never left out of it.
  it('keeps of a value what HTTP/1.1 would keep', () => {
    const value = (text: string) =>
      readHeaders(['host', 'gateway.test', 'x-a', text]).all.get('x-a')
    assert.equal(value('\t 1 2 \t'), '1 2')
    for (const strange of ['\xa01', '1\xa0', '\f1', '1\v', '\ufeff1', '\u20281']) {
      assert.throws(() => value(strange), { code: 'SP_REQUEST_HEADER' }, JSON.stringify(strange))
    }
  })

  const refusedAs = (status: number, given: readonly string[], name?: string): void => {
    assert.throws(
      () => readH2Head(given, name, 4096),
      (error: unknown) => error instanceof Refusal && error.status === status,
      JSON.stringify(given),
    )
  }

  // nghttp2 refuses most of these itself; that it does is not what this rests on.
  it('is refused where it is ambiguous', () => {
    refusedAs(421, list(), 'other.test')
    refusedAs(431, list('x-a', 'a'.repeat(4096)))
    refusedAs(400, list('host', 'other.test'))
    refusedAs(400, list(':path', '/c'))
    refusedAs(400, ['x-a', '1', ...list()])
    refusedAs(400, list('X-A', '1'))
    refusedAs(400, list('x-a', ' 1'))
    refusedAs(400, list('x-a', '1 '))
    refusedAs(400, list(':protocol', 'websocket'))
    const authority = list().indexOf('Gateway.test:8443')
    for (const spelled of ['gateway.test ', '\tgateway.test']) {
      refusedAs(400, list().with(authority, spelled))
    }
    for (const name of ['connection', 'keep-alive', 'transfer-encoding', 'upgrade']) {
      refusedAs(400, list(name, 'x'))
    }
    for (const name of [':method', ':scheme', ':authority', ':path']) {
      const at = list().indexOf(name)
      refusedAs(400, list().toSpliced(at, 2))
    }
  })
})
