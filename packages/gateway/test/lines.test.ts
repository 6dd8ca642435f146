import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { after, before, describe, it } from 'node:test'
import zlib from 'node:zlib'
import type { Declaration, Operation } from '@sallyport/network'
import { LineReader } from '../src/upstream/lines.ts'
import { startWorld, until, word } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const TYPE = 'application/x-ndjson'
const PATH = '/bank/v1/watch'
const line = (more: object = {}): string =>
  `${JSON.stringify({ account: { id: 'ACC-1', owner: 'Ann Lee', balance: 1, hidden: 'h', ...more } })}\n`

describe('lines of an answer', () => {
  it('are the same wherever it is cut', () => {
    const text = '{"a":"é"}\n\r\n  \n[1]\r\n"last"'
    const bytes = Buffer.from(text)
    for (let at = 0; at <= bytes.length; at++) {
      const reader = new LineReader(20)
      const lines = [
        ...reader.push(bytes.subarray(0, at)),
        ...reader.push(bytes.subarray(at)),
        reader.end(),
      ]
      assert.deepEqual(lines.map(String), ['{"a":"é"}', '[1]\r', '"last"'], `cut at ${at}`)
      assert.equal(reader.end(), undefined)
    }
  })
  it('have a bound, each for itself', () => {
    const reader = new LineReader(10)
    assert.equal([...reader.push(Buffer.from('0123456789\n'.repeat(50)))].length, 50)
    assert.throws(() => [...reader.push(Buffer.from('01234567890\n'))], {
      code: 'SP_UPSTREAM_RESPONSE',
    })
    const slow = new LineReader(10)
    const drip = (): void => {
      for (let i = 0; i < 11; i++) assert.equal([...slow.push(Buffer.from(' '))].length, 0)
    }
    assert.throws(drip, { code: 'SP_UPSTREAM_RESPONSE' })
  })
})

/** The operation `watch` as one whose description says that it answers in lines. */
const inLines = (declaration: Declaration): Declaration => {
  const changed = (operation: Operation): Operation =>
    operation.binding.kind === 'http' && operation.name === 'watch'
      ? { ...operation, binding: { ...operation.binding, lines: [TYPE] } }
      : operation
  const systems = declaration.network.systems.map((system) => ({
    ...system,
    operations: system.operations.map(changed),
  }))
  return { ...declaration, network: { ...declaration.network, systems } }
}

describe('answers of one JSON text a line', () => {
  let world: World
  let agent: TestAgent
  before(async () => {
    const settings = { headersTimeoutMs: 10_000, requestTimeoutMs: 15_000, maxEventBytes: 4096 }
    world = await startWorld({ settings }, undefined, inLines)
    agent = world.agent('reader')
  })
  after(() => world.close())

  const answering = (body: string | Buffer, headers: Record<string, string> = {}): void => {
    world.bank.answer = (_seen, res) => {
      res.writeHead(200, { 'content-type': `${TYPE}; charset=utf-8`, ...headers }).end(body)
    }
  }
  const ask = (path = PATH) => agent.pool.request({ method: 'GET', path })
  const outcomeOf = async (decision: string) => {
    const find = () =>
      world.plane.records().find((one) => one.kind === 'outcome' && one.decisionId === decision)
    await until(() => find() !== undefined)
    const found = find()
    if (found?.kind !== 'outcome') throw new Error('no outcome')
    return found
  }

  it('are projected line by line, and recorded', async () => {
    answering(`${line()}\n${line({ balance: 2 })}{"other":1}\n[]`)
    const answer = await ask()
    assert.equal(answer.statusCode, 200)
    assert.equal(answer.headers['content-type'], TYPE)
    const text = await answer.body.text()
    const lines = text.split('\n').map((one) => one.replace(/tok_account_[\w-]+/, 'tok'))
    assert.deepEqual(lines, [
      '{"account":{"id":"tok","owner":"A***","balance":1}}',
      '{"account":{"id":"tok","owner":"A***","balance":2}}',
      '{}',
      '{}',
      '',
    ])
    assert.equal(world.bank.seen.at(-1)?.headers.accept, `${TYPE}, application/json`)
    const outcome = await outcomeOf(String(answer.headers['sallyport-decision']))
    assert.partialDeepStrictEqual(outcome, {
      result: 'completed',
      bytesOut: Buffer.byteLength(text),
      released: { accounts: { records: 2, maxWholeClass: 'confidential' } },
    })
  })

  it('pass as they come, and encoded ones too', async () => {
    const release = Promise.withResolvers<void>()
    world.bank.answer = (_seen, res) => {
      res.writeHead(200, { 'content-type': TYPE, 'content-encoding': 'gzip' })
      const stream = zlib.createGzip()
      stream.pipe(res)
      stream.write(line())
      stream.flush(() => {
        void release.promise.then(() => stream.end(line()))
      })
    }
    const { body } = await ask()
    const pieces: string[] = []
    // The first arrives while the second is not even written.
    for await (const piece of body) {
      pieces.push(String(piece))
      release.resolve()
    }
    assert.equal(pieces.join('').split('\n').length, 3)
  })

  it('may be none, or JSON as ever', async () => {
    answering('')
    assert.equal(await (await ask()).body.text(), '')
    answering(line(), { 'content-type': 'application/json' })
    const answer = await ask()
    assert.equal(answer.headers['content-type'], 'application/json')
    assert.partialDeepStrictEqual(await answer.body.json(), { account: { owner: 'A***' } })
  })

  it('are no answer of an operation that does not declare them', async () => {
    answering(line())
    for (const path of ['/bank/v1/accounts/ACC-1', PATH]) {
      const reply = await agent.ask({ path })
      assert.equal(reply.body['code'], 'SP_UPSTREAM_RESPONSE')
      await outcomeOf(word(reply.body['decision']))
      answering(line(), { 'content-type': 'application/jsonl' })
    }
  })

  const failed = (): number =>
    world.plane.records().filter((one) => one.kind === 'outcome' && one.result === 'upstream-error')
      .length
  const wrong: Readonly<Record<string, string>> = {
    'a name that stands twice': '{"account":{"balance":1,"balance":2}}\n',
    'two texts on a line': '{}{}\n',
    'a text on two lines': '{\n}\n',
    'a line that is too long': `{"x":"${'x'.repeat(5000)}"}\n`,
    'a line without an end': `{"x":"${'x'.repeat(500_000)}`,
  }
  for (const [what, bad] of Object.entries(wrong)) {
    it(`are told of in words, or broken off, for ${what}`, async () => {
      answering(bad)
      const reply = await agent.ask({ path: PATH })
      assert.equal(reply.body['code'], 'SP_UPSTREAM_RESPONSE')
      await outcomeOf(word(reply.body['decision']))
      answering(line() + bad + line())
      // So soon that not even the head may arrive.
      const before = failed()
      await assert.rejects(async () => (await ask()).body.text())
      await until(() => failed() === before + 1)
    })
  }

  /** As many as are read. */
  const endless = async (res: ServerResponse): Promise<void> => {
    res.writeHead(200, { 'content-type': TYPE })
    const some = line({ status: 's'.repeat(3000) }).repeat(20)
    while (!res.destroyed) {
      if (!res.write(some)) await Promise.race([once(res, 'drain'), once(res, 'close')])
    }
  }

  it('are cut when the caller is quarantined', { timeout: 60_000 }, async () => {
    world.bank.answer = (_seen, res) => void endless(res)
    const bad = world.agent('reader', 'bad')
    const answer = await bad.pool.request({ method: 'GET', path: PATH })
    const reading = (async () => {
      let bytes = 0
      for await (const piece of answer.body) bytes += (piece as Buffer).length
      return bytes
    })()
    world.plane.quarantine('spiffe://test.example/agent/reader/bad')
    await assert.rejects(reading)
    await outcomeOf(String(answer.headers['sallyport-decision']))
    assert.equal(world.gateway.stats().openStreams, 0)
  })

  it('wait for a caller that does not read, and give it up', { timeout: 60_000 }, async () => {
    await world.restart({ settings: { headersTimeoutMs: 3000, requestTimeoutMs: 3000 } })
    let sent = 0
    world.bank.answer = (_seen, res) => {
      res.on('close', () => {
        sent = res.socket?.bytesWritten ?? 0
      })
      void endless(res)
    }
    const socket = await world.agent('reader', 'sleepy').raw()
    socket.on('error', () => undefined)
    socket.write(`GET ${PATH} HTTP/1.1\r\nHost: g\r\n\r\n`)
    socket.pause()
    await until(() => world.gateway.stats().openStreams === 1)
    await until(() => world.gateway.stats().openStreams === 0)
    // What is on its way fits into the buffers of sockets.
    assert.ok(sent < 64 * 1024 * 1024, String(sent))
    socket.destroy()
  })
})
