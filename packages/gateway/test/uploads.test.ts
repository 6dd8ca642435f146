import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ClientHttp2Session } from 'node:http2'
import { Readable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Declaration, InputSchema, Operation } from '@sallyport/network'
import type { OutcomeRecord } from '@sallyport/wire'
import type { GatewaySettings } from '../src/settings.ts'
import { heldBytes } from './support/memory.ts'
import { h2Session } from './support/h2.ts'
import { Outside } from './support/outside.ts'
import { json } from './support/service.ts'
import { startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const PATH = '/rates/v1/files/a'
const MAX = 250_000_000
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const digestOf = (bytes: Buffer): string =>
  `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`

const BODY: InputSchema = {
  type: 'record',
  members: {
    type: {
      schema: { type: 'string', maxLength: 127, pattern: '^(?:application/pdf|text/csv|x/y)$' },
      required: true,
    },
    size: { schema: { type: 'long', minimum: 0, maximum: MAX }, required: true },
    sha256: {
      schema: { type: 'string', maxLength: 64, pattern: '^[0-9a-f]{64}$' },
      required: false,
    },
  },
}

const PUT: Operation = {
  name: 'put',
  description: 'Takes a file.',
  kind: 'write',
  binding: {
    kind: 'http',
    method: 'PUT',
    path: '/v1/files/{id}',
    parameters: { id: 'path', body: 'body' },
    body: { kind: 'raw' },
  },
  input: {
    type: 'record',
    members: {
      id: { schema: { type: 'string', maxLength: 20 }, required: true },
      body: { schema: BODY, required: true },
    },
  },
  returns: { id: 'public' },
}

const POLICIES = {
  puts: `permit (principal, action == Action::"rates.put", resource)
    when { context.input.body.type != "x/y" };`,
  asks: `permit (principal, action == Action::"rates.put", resource)
    when { context.input.body.type == "x/y" && context.evidence.approvals >= 1 };`,
  csv: `forbid (principal, action == Action::"rates.put", resource)
    when { context.input.body.type == "text/csv" && !(context.input.body has sha256) };`,
}

const withPut = (declaration: Declaration): Declaration => {
  const { network, policies } = declaration
  return {
    network: {
      ...network,
      systems: network.systems.map((system) =>
        system.name === 'rates' ? { ...system, operations: [...system.operations, PUT] } : system,
      ),
      flows: network.flows.map((flow) =>
        flow.to === 'rates' ? { ...flow, operations: [...flow.operations, 'put'] } : flow,
      ),
    },
    policies: [
      ...policies,
      ...Object.entries(POLICIES).map(([id, source]) => ({ id, source, file: 'p.cedar', line: 1 })),
    ],
  }
}

/** What the system saw of one request. */
interface Saw {
  readonly headers: IncomingMessage['headers']
  readonly bytes: () => number
  sha256: string | undefined
  isBroken: boolean
}

/** What an agent says on a connection of its own, and what it hears. */
class Line {
  heard = ''
  isClosed = false
  readonly socket: TLSSocket

  constructor(socket: TLSSocket) {
    this.socket = socket
    socket.on('error', () => undefined)
    socket.on('data', (bytes: Buffer) => (this.heard += bytes.toString('latin1')))
    socket.on('close', () => (this.isClosed = true))
  }

  async hears(what: RegExp): Promise<void> {
    try {
      await until(() => what.test(this.heard), 20_000)
    } catch {
      assert.match(this.heard, what)
    }
  }
}

const head = (length: number | undefined, ...more: readonly string[]): string =>
  [
    `PUT ${PATH} HTTP/1.1`,
    'Host: g',
    'Content-Type: application/pdf',
    ...(length === undefined ? [] : [`Content-Length: ${length}`]),
    ...more,
    '\r\n',
  ].join('\r\n')

const uploadsOver = (codec: GatewaySettings['codec']) => (): void => {
  const settings = {
    ...{ codec, maxRawBodyBytes: 300_000_000, maxRawBodiesPerInstance: 3, maxRawBodies: 8 },
    ...{
      requestTimeoutMs: 1500,
      headersTimeoutMs: 1500,
      upstreamTimeoutMs: 3000,
      streamRecheckMs: 200,
    },
  }
  const saw: Saw[] = []
  let outside: Outside
  let world: World
  let agent: TestAgent
  /** What the system does instead of reading all of it and saying so. */
  let act: ((req: IncomingMessage, res: ServerResponse) => void) | undefined
  before(async () => {
    outside = new Outside((req, res) => {
      const hash = createHash('sha256')
      let bytes = 0
      const one: Saw = {
        headers: req.headers,
        bytes: () => bytes,
        sha256: undefined,
        isBroken: false,
      }
      saw.push(one)
      req.on('error', () => (one.isBroken = true))
      req.on('aborted', () => (one.isBroken = true))
      if (act) {
        act(req, res)
        return
      }
      req.on('data', (piece: Buffer) => {
        bytes += piece.length
        hash.update(piece)
      })
      req.on('end', () => {
        one.sha256 = hash.digest('hex')
        json(res, { id: 'F-1' })
      })
    })
    await outside.listen()
    world = await startWorld({ settings }, undefined, (declaration) =>
      withPut(outside.in(declaration)),
    )
    agent = world.agent('reader')
  })
  after(async () => {
    await world.close()
    outside.close()
  })
  afterEach(async () => {
    await until(() => world.gateway.stats().inFlight === 0)
    // Records come a moment later.
    await until(() => world.gateway.stats().allowed === outcomes().length)
    saw.length = 0
    act = undefined
  })

  const put = async (
    bytes: Buffer,
    headers: Record<string, string> = {},
    from = agent,
  ): Promise<{ status: number; body: Record<string, unknown> }> => {
    const answer = await from.pool.request({
      method: 'PUT',
      path: PATH,
      headers: { 'content-type': 'application/pdf', ...headers },
      body: bytes,
    })
    return {
      status: answer.statusCode,
      body: (await answer.body.json()) as Record<string, unknown>,
    }
  }
  const raw = async (text: string, from = agent): Promise<Line> => {
    const line = new Line(await from.raw())
    line.socket.write(text, 'latin1')
    return line
  }
  const outcomes = (): OutcomeRecord[] =>
    world.plane.records().filter((one) => one.kind === 'outcome')
  /** The outcome that comes behind these. */
  const next = async (before: number): Promise<OutcomeRecord> => {
    await until(() => outcomes().length > before)
    const [one] = outcomes().slice(before)
    assert.ok(one)
    return one
  }
  /** What a request gets is refused before the system sees anything of it. */
  const refused = async (text: string, expected: RegExp): Promise<void> => {
    const line = await raw(text)
    await line.hears(expected)
    line.socket.destroy()
    assert.equal(saw.length, 0)
  }

  it('hand a body on as it is, decided by what is stated, and recorded as what went', async () => {
    const bytes = randomBytes(3_000_001)
    const before = outcomes().length
    const reply = await put(bytes, { 'content-digest': digestOf(bytes), 'x-other': 'a' })
    assert.deepEqual(reply, { status: 200, body: { id: 'F-1' } })
    const [one] = saw
    assert.equal(one?.sha256, sha256(bytes))
    assert.equal(one.headers['content-length'], '3000001')
    assert.equal(one.headers['content-type'], 'application/pdf')
    assert.equal(one.headers['content-digest'], digestOf(bytes))
    assert.equal(one.headers['transfer-encoding'], undefined)
    assert.equal(one.headers['x-other'], undefined)
    const outcome = await next(before)
    assert.equal(outcome.bytesIn, 3_000_001)
    assert.equal(outcome.bodySha256, sha256(bytes))
    assert.equal(outcome.result, 'completed')
    // Without a digest, what went is recorded all the same.
    assert.equal((await put(bytes)).status, 200)
    assert.equal((await next(before + 1)).bodySha256, sha256(bytes))
    assert.equal(saw[1]?.headers['content-digest'], undefined)
  })

  it('hand on bodies of no bytes, and of one', async () => {
    for (const size of [0, 1]) {
      const bytes = Buffer.alloc(size)
      const reply = await put(bytes, {
        'content-digest': digestOf(bytes),
        'content-length': String(size),
      })
      assert.deepEqual(reply, { status: 200, body: { id: 'F-1' } }, String(size))
      assert.equal(saw.at(-1)?.sha256, sha256(bytes))
    }
    const other = Buffer.from('x')
    const reply = await put(Buffer.alloc(0), {
      'content-digest': digestOf(other),
      'content-length': '0',
    })
    assert.equal(reply.body['code'], 'SP_REQUEST_DIGEST')
    assert.equal(saw.length, 2)
  })

  it('are denied by type, by size and for want of a digest before a byte is read', async () => {
    const csv = (...more: string[]): string =>
      head(100, ...more).replace('application/pdf', 'text/csv')
    await refused(csv(), /^HTTP\/1\.1 403 [^]*SP_DENIED_FORBIDDEN/)
    await refused(head(MAX + 1), /^HTTP\/1\.1 400 [^]*SP_INPUT_VALUE/)
    await refused(head(300_000_001), /^HTTP\/1\.1 413 [^]*SP_REQUEST_TOO_LARGE/)
    await refused(head(9).replace('application/pdf', 'image/png'), /SP_INPUT_VALUE/)
    await refused(
      head(9).replace('application/pdf', 'text/csv; charset=x'),
      /415 [^]*SP_REQUEST_BODY/,
    )
    await refused(head(9).replace('Content-Type', 'X-Type'), /415 [^]*SP_REQUEST_BODY/)
    // Whoever approves of a body must know which.
    await refused(head(9).replace('application/pdf', 'x/y'), /400 [^]*SP_REQUEST_DIGEST/)
    const bytes = Buffer.from('123456789')
    await refused(
      head(9, `Content-Digest: ${digestOf(bytes)}`).replace('application/pdf', 'x/y'),
      /403 [^]*SP_NEEDS_/,
    )
    const line = await raw(csv(`Content-Digest: ${digestOf(Buffer.alloc(100))}`))
    line.socket.write(Buffer.alloc(100))
    await line.hears(/^HTTP\/1\.1 200 /)
    line.socket.destroy()
  })

  it('need a length, and one plain digest or none', async () => {
    await refused(
      `${head(undefined, 'Transfer-Encoding: chunked')}1\r\na\r\n0\r\n\r\n`,
      /411 [^]*SP_REQUEST_LENGTH/,
    )
    await refused(head(undefined), /400 [^]*SP_INPUT_MISSING/)
    await refused(head(5, 'Transfer-Encoding: chunked'), /^HTTP\/1\.1 400 /)
    const good = digestOf(Buffer.from('x'))
    const sha512 = `sha-512=:${'A'.repeat(86)}==:`
    for (const digest of [
      `${good}, ${good}`,
      `${good}, ${sha512}`,
      sha512,
      `md5=:${Buffer.alloc(16).toString('base64')}:`,
      good.replace('=:', '='),
      `${good};a=1`,
      good.replace('sha-256', 'SHA-256'),
      // The same bytes in a second spelling.
      good.replace(/.=:$/, (end) => `${String.fromCodePoint((end.codePointAt(0) ?? 0) + 1)}=:`),
      '',
    ]) {
      await refused(head(1, `Content-Digest: ${digest}`), /400 [^]*SP_REQUEST_DIGEST/)
    }
    await refused(
      head(1, `Content-Digest: ${good}`, `Content-Digest: ${good}`),
      /SP_REQUEST_HEADER/,
    )
    await refused(head(1).replace(PATH, '/rates/v1/rate').replace('PUT', 'GET'), /SP_REQUEST_BODY/)
  })

  it('never end at the system where they are not what their digest states', async () => {
    const bytes = randomBytes(1_000_000)
    const before = outcomes().length
    const connections = outside.sockets.length
    const other = Buffer.from(bytes)
    other[999_999] = (other[999_999] ?? 0) ^ 1
    const reply = await put(other, { 'content-digest': digestOf(bytes) })
    assert.equal(reply.status, 400)
    assert.equal(reply.body['code'], 'SP_REQUEST_DIGEST')
    const outcome = await next(before)
    assert.equal(outcome.result, 'cut')
    assert.ok((outcome.bytesIn ?? 0) < 1_000_000)
    await until(() => saw[0]?.isBroken === true)
    assert.equal(saw[0]?.sha256, undefined)
    // The next call has a connection of its own.
    assert.equal((await put(bytes, { 'content-digest': digestOf(bytes) })).status, 200)
    assert.ok(outside.sockets.length > connections)
    assert.equal(outside.sockets.filter(({ destroyed }) => !destroyed).length, 1)
  })

  it('never end at the system where they are shorter than announced', async () => {
    const before = outcomes().length
    const line = await raw(head(200_000))
    line.socket.write(Buffer.alloc(199_999))
    await until(() => (saw[0]?.bytes() ?? 0) > 0)
    line.socket.destroy()
    const outcome = await next(before)
    assert.equal(outcome.result, 'aborted')
    assert.ok((outcome.bytesIn ?? 0) < 200_000)
    await until(() => saw[0]?.isBroken === true)
    assert.equal(saw[0]?.sha256, undefined)
  })

  it('are no longer than announced: what stands behind is another request', async () => {
    const line = await raw(head(10))
    line.socket.write('0123456789GARBAGE\r\n\r\n')
    await line.hears(/HTTP\/1\.1 400 /)
    await until(() => line.isClosed)
    for (const one of saw) assert.ok(one.bytes() <= 10)
    const ahead = await raw(head(10))
    ahead.socket.write(`0123456789GET /rates/v1/none HTTP/1.1\r\nHost: g\r\n\r\n`)
    await ahead.hears(/^HTTP\/1\.1 200 [^]*HTTP\/1\.1 403 /)
    ahead.socket.destroy()
    assert.equal(saw.at(-1)?.sha256, sha256(Buffer.from('0123456789')))
  })

  it('that are slow, or stop, are cut; slow is not what takes long', async () => {
    const before = outcomes().length
    const line = await raw(head(300_000))
    const drip = setInterval(() => line.socket.write('x'), 100)
    await line.hears(/^HTTP\/1\.1 408 [^]*SP_REQUEST_SLOW/)
    clearInterval(drip)
    line.socket.destroy()
    assert.equal((await next(before)).result, 'cut')
    // Longer than a whole request may take, and never slow.
    const steady = await raw(head(3_000_000))
    for (let i = 0; i < 30; i++) {
      steady.socket.write(Buffer.alloc(100_000))
      await sleep(100)
    }
    await steady.hears(/^HTTP\/1\.1 200 /)
    steady.socket.destroy()
    assert.equal((await next(before + 1)).bytesIn, 3_000_000)
  })

  it('end where the system answers before they do', async () => {
    const before = outcomes().length
    act = (_req, res) => {
      res.writeHead(413).end()
    }
    const line = await raw(head(3_000_000))
    line.socket.write(Buffer.alloc(100_000))
    await line.hears(/^HTTP\/1\.1 413 [^]*SP_UPSTREAM_REFUSED/)
    assert.equal((await next(before)).result, 'upstream-error')
    // What it makes of half a body nobody knows.
    act = (_req, res) => {
      json(res, { id: 'F-2' })
    }
    const early = await raw(head(3_000_000))
    early.socket.write(Buffer.alloc(100_000))
    await early.hears(/^HTTP\/1\.1 502 [^]*SP_UPSTREAM_RESPONSE/)
    act = undefined
    assert.equal((await put(Buffer.from('x'))).status, 200)
    line.socket.destroy()
    early.socket.destroy()
  })

  it('wait for the system, which has to take them in time', async () => {
    const before = outcomes().length
    act = () => undefined
    const line = await raw(head(MAX))
    let sent = 0
    const feed = setInterval(() => {
      if (line.socket.writableNeedDrain || sent >= 40_000_000) return
      line.socket.write(Buffer.alloc(100_000))
      sent += 100_000
    }, 5)
    await line.hears(/^HTTP\/1\.1 504 [^]*SP_UPSTREAM_TIMEOUT/)
    clearInterval(feed)
    line.socket.destroy()
    const outcome = await next(before)
    assert.ok((outcome.bytesIn ?? MAX) < MAX)
    assert.equal(outcome.result, 'upstream-error')
  })

  it('are asked for where callers wait for that, once they are allowed', async () => {
    const line = await raw(head(5, 'Expect: 100-continue'))
    await line.hears(/^HTTP\/1\.1 100 Continue\r\n\r\n$/)
    line.socket.write('abcde')
    await line.hears(/\r\n\r\nHTTP\/1\.1 200 /)
    line.socket.destroy()
    saw.length = 0
    await refused(
      head(5, 'Expect: 100-continue').replace('application/pdf', 'text/csv'),
      /^HTTP\/1\.1 403 /,
    )
    await refused(head(5, 'Expect: something'), /^HTTP\/1\.1 400 [^]*SP_REQUEST_HEADER/)
    // Nowhere else.
    await refused(
      `POST /bank/v1/accounts/A/transfers HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`,
      /^HTTP\/1\.1 400 [^]*SP_REQUEST_HEADER/,
    )
  })

  it('are never held: 200 MB take no more room than a few pieces', async () => {
    const piece = Buffer.alloc(1_000_000, 7)
    const hash = createHash('sha256')
    for (let i = 0; i < 200; i++) hash.update(piece)
    const digest = hash.digest()
    const held: number[] = []
    const answer = await agent.pool.request({
      method: 'PUT',
      path: PATH,
      headers: {
        'content-type': 'application/pdf',
        'content-length': '200000000',
        'content-digest': `sha-256=:${digest.toString('base64')}:`,
      },
      body: Readable.from(
        (function* () {
          for (let i = 0; i < 200; i++) {
            if (i % 10 === 0) held.push(heldBytes())
            yield piece
          }
        })(),
      ),
    })
    assert.equal(answer.statusCode, 200)
    await answer.body.dump()
    assert.equal(saw[0]?.sha256, digest.toString('hex'))
    // The client, the gateway and the system are all in this process, and what was collected is freed a little later.
    const most = Math.max(...held) - Math.min(...held)
    assert.ok(most < 100_000_000, `${most} bytes`)
  })

  it('have so many places at once, which they give back', async () => {
    const lines: Line[] = []
    for (let i = 0; i < 3; i++) lines.push(await raw(head(100)))
    await until(() => world.gateway.stats().inFlight === 3)
    assert.equal((await put(Buffer.from('x'))).body['code'], 'SP_OVERLOADED')
    assert.equal((await put(Buffer.from('x'), {}, world.agent('reader', 'i2'))).status, 200)
    for (const { socket } of lines) socket.destroy()
    await until(() => world.gateway.stats().inFlight === 0)
    assert.equal((await put(Buffer.from('x'))).status, 200)
  })

  it('of one agent leave room for the others, however many instances it has', async () => {
    const lines: Line[] = []
    const enough = (): boolean => world.gateway.stats().inFlight === lines.length
    for (const instance of ['s1', 's1', 's1', 's2', 's2', 's2']) {
      lines.push(await raw(head(100), world.agent('reader', instance)))
      await until(enough)
    }
    const more = await put(Buffer.from('x'), {}, world.agent('reader', 's3'))
    assert.equal(more.body['code'], 'SP_OVERLOADED')
    for (const { socket } of lines) socket.destroy()
    await until(() => world.gateway.stats().inFlight === 0)
    assert.equal((await put(Buffer.from('x'), {}, world.agent('reader', 's3'))).status, 200)
  })

  it('are approved by their digest, and no others are by that', async () => {
    const bytes = randomBytes(200_000)
    const other = Buffer.from(bytes)
    other[199_999] = (other[199_999] ?? 0) ^ 1
    const asking = (one: Buffer, stated: Buffer, approval?: string) =>
      put(one, {
        ...{ 'content-type': 'x/y', 'content-digest': digestOf(stated) },
        ...(approval === undefined ? {} : { 'sallyport-approval': approval }),
      })
    const needed = async (): Promise<string> => {
      const { body } = await asking(bytes, bytes)
      assert.equal(body['code'], 'SP_NEEDS_APPROVAL')
      const [need] = body['needs'] as readonly { readonly approval: string }[]
      return need?.approval ?? ''
    }
    const id = await needed()
    world.plane.approve(id)
    const elsewhere = await asking(other, other, id)
    assert.deepEqual([elsewhere.status, elsewhere.body['code']], [403, 'SP_NEEDS_APPROVAL'])
    assert.equal(saw.length, 0)
    assert.equal((await asking(bytes, bytes, id)).status, 200)
    assert.equal(saw[0]?.sha256, sha256(bytes))
    assert.equal((await asking(bytes, bytes, id)).body['code'], 'SP_APPROVAL_USED')
    assert.equal(saw.length, 1)
    // Who sends others than those that were approved has used it up, and the system has no end of them.
    const again = await needed()
    world.plane.approve(again)
    await until(() => world.gateway.stats().allowed === outcomes().length)
    const before = outcomes().length
    assert.equal((await asking(other, bytes, again)).body['code'], 'SP_REQUEST_DIGEST')
    assert.equal((await next(before)).result, 'cut')
    await until(() => saw[1]?.isBroken === true)
    assert.equal(saw[1]?.sha256, undefined)
    assert.equal((await asking(bytes, bytes, again)).body['code'], 'SP_APPROVAL_USED')
  })

  it('go on with another declaration, unless it is one that they were not decided by', async () => {
    const { declaration } = world.plane
    const { network } = declaration
    const taken = async (change: Partial<Operation>, name: string): Promise<void> => {
      const { revision } = world.gateway.stats()
      world.plane.redeclare({
        ...declaration,
        network: {
          ...network,
          name,
          systems: network.systems.map((system) => ({
            ...system,
            operations: system.operations.map((one) =>
              one.name === 'put' ? { ...one, ...change } : one,
            ),
          })),
        },
      })
      await until(() => world.gateway.stats().revision?.n !== revision?.n)
    }
    const rows: readonly (readonly [string, Partial<Operation>, boolean])[] = [
      ['another name', {}, true],
      [
        'another place',
        { binding: { ...PUT.binding, path: '/v1/other/{id}' } as Operation['binding'] },
        false,
      ],
      ['other input', { input: { ...PUT.input, members: { ...PUT.input.members } } }, true],
      [
        'another bound',
        {
          input: {
            ...PUT.input,
            members: {
              ...PUT.input.members,
              id: { schema: { type: 'string', maxLength: 9 }, required: true },
            },
          },
        },
        false,
      ],
    ]
    for (const [name, change, goesOn] of rows) {
      const before = outcomes().length
      saw.length = 0
      const line = await raw(head(200_000))
      line.socket.write(Buffer.alloc(100_000))
      await until(() => (saw.at(-1)?.bytes() ?? 0) > 0)
      await taken(change, name)
      if (goesOn) {
        line.socket.write(Buffer.alloc(100_000))
        await line.hears(/^HTTP\/1\.1 200 /)
        assert.equal(saw.at(-1)?.sha256, sha256(Buffer.alloc(200_000)))
      } else {
        await line.hears(/^HTTP\/1\.1 503 [^]*SP_DECLARATION_CHANGED/)
        await until(() => saw.at(-1)?.isBroken === true)
        assert.equal(saw.at(-1)?.sha256, undefined)
      }
      line.socket.destroy()
      assert.equal((await next(before)).result, goesOn ? 'completed' : 'cut', name)
      await taken({}, `${name}, over`)
    }
  })

  it('are broken off by a quarantine in the middle', async () => {
    const before = outcomes().length
    const bad = world.agent('reader', 'bad')
    const line = await raw(head(200_000), bad)
    line.socket.write(Buffer.alloc(100_000))
    await until(() => (saw[0]?.bytes() ?? 0) > 0)
    world.plane.quarantine('spiffe://test.example/agent/reader/bad')
    await until(() => line.isClosed)
    await until(() => saw[0]?.isBroken === true)
    const outcome = await next(before)
    assert.equal(outcome.result, 'cut')
    assert.equal(saw[0]?.sha256, undefined)
  })

  describe('over HTTP/2', () => {
    let session: ClientHttp2Session
    before(async () => {
      session = await h2Session(world, agent)
    })
    after(() => {
      session.destroy()
    })
    const open = (headers: Record<string, string | number>, waitForTrailers = false) => {
      const stream = session.request(
        { ':method': 'PUT', ':path': PATH, 'content-type': 'application/pdf', ...headers },
        { waitForTrailers },
      )
      let status = 0
      let text = ''
      stream.setEncoding('utf8')
      stream.on('error', () => undefined)
      stream.on('response', (given) => (status = given[':status'] ?? 0))
      stream.on('data', (chunk: string) => (text += chunk))
      return {
        stream,
        ends: async () => {
          await until(() => stream.closed)
          return { status, text }
        },
      }
    }

    it('goes the same way', async () => {
      const bytes = randomBytes(2_000_000)
      const { stream, ends } = open({
        'content-length': bytes.length,
        'content-digest': digestOf(bytes),
      })
      stream.end(bytes)
      assert.equal((await ends()).status, 200)
      assert.equal(saw[0]?.sha256, sha256(bytes))
    })

    it('needs a length, which has to be true', async () => {
      const none = open({})
      none.stream.end('abc')
      const answer = await none.ends()
      assert.equal(answer.status, 411)
      assert.match(answer.text, /SP_REQUEST_LENGTH/)
      assert.equal(saw.length, 0)
      const before = outcomes().length
      const long = open({ 'content-length': 70_000 })
      long.stream.end(Buffer.alloc(69_999))
      await long.ends()
      assert.equal((await next(before)).result !== 'completed', true)
      assert.equal(saw[0]?.sha256, undefined)
    })

    it('is broken off with a reset, and refused with trailers', async () => {
      const before = outcomes().length
      const { stream, ends } = open({ 'content-length': 200_000 })
      stream.write(Buffer.alloc(100_000))
      await until(() => (saw[0]?.bytes() ?? 0) > 0)
      stream.close(8)
      await ends()
      assert.equal((await next(before)).result, 'aborted')
      await until(() => saw[0]?.isBroken === true)
      const trailing = open({ 'content-length': 5 }, true)
      trailing.stream.on('wantTrailers', () => {
        trailing.stream.sendTrailers({ 'content-digest': 'sha-256=:x:' })
      })
      trailing.stream.end('abcde')
      assert.match((await trailing.ends()).text, /SP_REQUEST_HEADER/)
      assert.equal(saw.filter((one) => one.sha256 !== undefined).length, 0)
    })

    it('is asked for where callers wait for that', async () => {
      const { stream, ends } = open({ 'content-length': 5, expect: '100-continue' })
      let told = false
      stream.on('continue', () => {
        told = true
        stream.end('abcde')
      })
      assert.equal((await ends()).status, 200)
      assert.ok(told)
    })
  })
}

describe('bodies that are handed on to services of the network', () => {
  it('need a digest, for their call token is for one request', async () => {
    const post: Operation = {
      ...PUT,
      binding: { ...PUT.binding, path: '/v1/files/{id}' } as Operation['binding'],
    }
    const policy = `permit (principal, action == Action::"bank.put", resource);`
    const world = await startWorld({}, undefined, ({ network, policies }) => ({
      network: {
        ...network,
        systems: network.systems.map((system) =>
          system.name === 'bank' ? { ...system, operations: [...system.operations, post] } : system,
        ),
        flows: network.flows.map((flow) =>
          flow.from === 'teller' && flow.to === 'bank'
            ? { ...flow, operations: [...flow.operations, 'put'] }
            : flow,
        ),
      },
      policies: [...policies, { id: 'put', source: policy, file: 'p.cedar', line: 1 }],
    }))
    try {
      const bytes = randomBytes(300_000)
      const put = async (headers: Record<string, string>) => {
        const answer = await world.agent('teller').pool.request({
          ...{ method: 'PUT', path: PATH.replace('rates', 'bank'), body: bytes },
          headers: { 'content-type': 'application/pdf', ...headers },
        })
        return { status: answer.statusCode, text: await answer.body.text() }
      }
      const without = await put({})
      assert.equal(without.status, 400)
      assert.match(without.text, /SP_REQUEST_DIGEST/)
      assert.equal(world.bank.seen.length, 0)
      // The service verifies its token over what it got.
      assert.equal((await put({ 'content-digest': digestOf(bytes) })).status, 200)
      assert.equal(world.bank.refusals, 0)
    } finally {
      await world.close()
    }
  })
})

describe('bodies that are handed on, with llhttp', uploadsOver('llhttp'))
describe('bodies that are handed on, with the lean codec', uploadsOver('lean'))
