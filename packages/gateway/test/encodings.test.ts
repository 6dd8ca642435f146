import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { after, before, describe, it } from 'node:test'
import zlib from 'node:zlib'
import { Decoder, decoderOf } from '../src/upstream/decode.ts'
import { startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const ENCODERS: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  gzip: (bytes) => zlib.gzipSync(bytes),
  'x-gzip': (bytes) => zlib.gzipSync(bytes),
  deflate: (bytes) => zlib.deflateSync(bytes),
  br: (bytes) => zlib.brotliCompressSync(bytes),
  zstd: (bytes) => zlib.zstdCompressSync(bytes),
}
const NO_CONTROLLER: Parameters<typeof decoderOf>[1] = {
  abort: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
}
const BOUNDS = { maxRatio: 200, maxBytes: 10_000_000 }

function decoder(coding: string, bounds = BOUNDS, controller = NO_CONTROLLER): Decoder {
  const made = decoderOf(coding, controller, bounds)
  if (!made) throw new Error('nothing to decode')
  return made
}

/** What becomes of an answer that comes in these pieces. */
async function decoded(
  coding: string,
  pieces: readonly Buffer[],
  bounds = BOUNDS,
): Promise<Buffer> {
  const one = decoder(coding, bounds)
  for (const piece of pieces) one.push(piece)
  one.end()
  const out: Buffer[] = []
  for await (const piece of one.body) out.push(piece)
  return Buffer.concat(out)
}

const refused = { code: 'SP_UPSTREAM_ENCODING' }

describe('answers that come encoded', () => {
  const text = Buffer.from(JSON.stringify({ memo: 'é'.repeat(500), id: 'A' }))

  for (const [coding, encode] of Object.entries(ENCODERS)) {
    const bytes = encode(text)

    it(`decodes ${coding}, cut anywhere`, async () => {
      assert.deepEqual(await decoded(coding, [bytes]), text)
      assert.deepEqual(await decoded(coding.toUpperCase(), [bytes]), text)
      for (let at = 0; at <= bytes.length; at++) {
        const pieces = [bytes.subarray(0, at), bytes.subarray(at)]
        assert.deepEqual(await decoded(coding, pieces), text, `cut at ${at}`)
      }
    })

    it(`refuses ${coding} that is not whole, altered, or goes on behind its end`, async () => {
      for (let end = 1; end < bytes.length; end++) {
        await assert.rejects(decoded(coding, [bytes.subarray(0, end)]), refused, `ends at ${end}`)
      }
      for (const behind of [Buffer.from('garbage'), Buffer.alloc(5)]) {
        await assert.rejects(decoded(coding, [Buffer.concat([bytes, behind])]), refused)
        await assert.rejects(decoded(coding, [bytes, behind]), refused)
      }
      await assert.rejects(decoded(coding, [text]), refused)
    })

    it(`gives up on ${coding} that becomes far more than came`, async () => {
      const bomb = encode(Buffer.alloc(16 * 1024 * 1024, 0x20))
      assert.ok(bomb.length < 70_000)
      const one = decoder(coding)
      one.push(bomb)
      one.end()
      let out = 0
      await assert.rejects(async () => {
        for await (const piece of one.body) out += piece.length
      }, refused)
      // What an answer may be worth, and what one step of decoding adds to it.
      assert.ok(out <= Math.max(1024 * 1024, bomb.length * BOUNDS.maxRatio) + 65_536, String(out))
      // The same, where it may.
      const free = { ...BOUNDS, maxRatio: 1e9 }
      assert.equal((await decoded(coding, [bomb], free)).length, 16 * 1024 * 1024)
    })
  }

  it('takes an answer without a body as one, whatever its coding was to be', async () => {
    assert.equal((await decoded('gzip', [])).length, 0)
  })

  it('refuses codings it does not know, and more than one', () => {
    const several = ['gzip', 'identity'] as const
    for (const coding of ['', 'compress', 'gzip, gzip', 'gzip,identity', 'constructor', several]) {
      assert.throws(() => decoderOf(coding, NO_CONTROLLER, BOUNDS), refused, String(coding))
    }
    for (const coding of [undefined, 'identity', 'Identity']) {
      assert.equal(decoderOf(coding, NO_CONTROLLER, BOUNDS), undefined)
    }
  })

  it('bounds what comes in, even if nothing comes of it', async () => {
    // Stored blocks of no bytes.
    const blocks = Buffer.concat([
      Buffer.from([0x78, 0x9c]),
      Buffer.concat(Array.from({ length: 1000 }, () => Buffer.from([0, 0, 0, 0xff, 0xff]))),
    ])
    const bounds = { maxRatio: 200, maxBytes: 4000 }
    await assert.rejects(decoded('deflate', [blocks], bounds), { detail: 'it is too large' })
  })

  it('decodes no faster than it is read, and waits with what comes', async () => {
    const calls: string[] = []
    const one = decoder('gzip', BOUNDS, {
      abort: () => void calls.push('abort'),
      pause: () => void calls.push('pause'),
      resume: () => void calls.push('resume'),
    })
    const plain = randomBytes(1_000_000)
    one.push(zlib.gzipSync(plain))
    one.end()
    assert.ok(calls.includes('pause'))
    const out: Buffer[] = []
    for await (const piece of one.body) out.push(piece)
    assert.deepEqual(Buffer.concat(out), plain)
    assert.ok(!calls.includes('abort'))
  })

  it('gives the connection up with an answer that is given up', async () => {
    const aborted: Error[] = []
    const one = decoder('gzip', BOUNDS, {
      ...NO_CONTROLLER,
      abort: (reason: Error) => void aborted.push(reason),
    })
    one.push(zlib.gzipSync(text).subarray(0, 20))
    one.body.destroy()
    assert.equal(aborted.length, 1)
    await assert.rejects(one.body.next())
  })
})

describe('encoded answers through the gateway', () => {
  let world: World
  let agent: TestAgent
  before(async () => {
    world = await startWorld()
    agent = world.agent('reader')
  })
  after(() => world.close())

  const ACCOUNT = { id: 'ACC-1', owner: 'Ann Lee', balance: 1200, hidden: 'never' }
  // Node sends several values as several headers.
  const answering = (coding: string | string[], bytes: Buffer): void => {
    world.bank.answer = (_seen, res) => {
      res.writeHead(200, {
        'content-type': 'application/json',
        'content-encoding': coding,
      } as OutgoingHttpHeaders)
      res.end(bytes)
    }
  }

  it('asks for none, and projects what comes encoded all the same', async () => {
    const bytes = Buffer.from(JSON.stringify({ account: ACCOUNT }))
    for (const [coding, encode] of Object.entries(ENCODERS)) {
      answering(coding, encode(bytes))
      const reply = await agent.ask({ path: '/bank/v1/accounts/ACC-1' })
      assert.equal(reply.status, 200, coding)
      assert.equal(reply.headers['content-encoding'], undefined)
      assert.partialDeepStrictEqual(reply.body, { account: { owner: 'A***', balance: 1200 } })
      assert.doesNotMatch(JSON.stringify(reply.body), /never/)
      assert.equal(world.bank.seen.at(-1)?.headers['accept-encoding'], 'identity')
    }
  })

  it('tells in words what is wrong before anything left', async () => {
    const bytes = zlib.gzipSync(JSON.stringify({ account: ACCOUNT }))
    const wrong: readonly (readonly [string | string[], Buffer])[] = [
      ['gzip, gzip', zlib.gzipSync(bytes)],
      [['gzip', 'gzip'], zlib.gzipSync(bytes)],
      [['identity', 'gzip'], bytes],
      ['snappy', bytes],
      ['br', bytes],
      ['gzip', bytes.subarray(0, -3)],
      ['gzip', zlib.gzipSync(Buffer.alloc(32 * 1024 * 1024, 0x20))],
    ]
    for (const [coding, body] of wrong) {
      answering(coding, body)
      const reply = await agent.ask({ path: '/bank/v1/accounts/ACC-1' })
      assert.equal(reply.status, 502, String(coding))
      assert.equal(reply.body['code'], 'SP_UPSTREAM_ENCODING')
      assert.equal(reply.body['detail'], undefined)
    }
  })

  it(
    'breaks off a long answer that turns into a bomb on its way',
    { timeout: 60_000 },
    async () => {
      const send = async (res: ServerResponse, tail: string): Promise<void> => {
        res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' })
        const stream = zlib.createGzip()
        stream.pipe(res)
        const some = Array.from({ length: 3000 }, () => ({
          ...ACCOUNT,
          hidden: randomBytes(60).toString('hex'),
        }))
        const first = JSON.stringify(some).slice(0, -1)
        if (!stream.write(`{"accounts":${first}`)) await once(stream, 'drain')
        stream.end(tail)
      }
      const ask = async (tail: string): Promise<readonly [whole: boolean, decision: string]> => {
        world.bank.answer = (_seen, res) => {
          void send(res, tail)
        }
        const answer = await agent.pool.request({ method: 'GET', path: '/bank/v1/accounts' })
        assert.equal(answer.statusCode, 200)
        const whole = await answer.body.text().then(
          (text) => text.endsWith(']}'),
          () => false,
        )
        return [whole, String(answer.headers['sallyport-decision'])]
      }
      assert.equal((await ask(']}'))[0], true)
      const [whole, decision] = await ask(`]${' '.repeat(100_000_000)}}`)
      assert.equal(whole, false)
      const outcome = () =>
        world.plane.records().find((one) => one.kind === 'outcome' && one.decisionId === decision)
      await until(() => outcome() !== undefined)
      assert.partialDeepStrictEqual(outcome(), { result: 'upstream-error' })
    },
  )

  it('takes no encoded body of a caller', async () => {
    const from = world.bank.seen.length
    const body = zlib.gzipSync('{"amount":1,"to":"bob"}')
    const answer = await agent.pool.request({
      method: 'POST',
      path: '/bank/v1/accounts/A/transfers',
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body,
    })
    assert.equal(answer.statusCode, 415)
    assert.equal(answer.headers['accept-encoding'], 'identity')
    assert.partialDeepStrictEqual(await answer.body.json(), { code: 'SP_REQUEST_ENCODING' })
    assert.equal(world.bank.seen.length, from)
  })
})
