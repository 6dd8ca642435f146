import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { after, before, beforeEach, describe, it } from 'node:test'
import { askH2, h2Session } from './support/h2.ts'
import { json } from './support/service.ts'
import { startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const PATH = '/bank/v1/accounts/ACC-1'
const LIST = '/bank/v1/accounts'
const ITEM = { id: 'ACC-1', owner: 'Ann Lee', balance: 1200, hidden: 'h'.repeat(60) }

/** Writes a list of so many accounts, as fast as it is read. */
async function write(
  res: ServerResponse,
  count: number,
  end: string | Buffer = ']}',
): Promise<void> {
  res.writeHead(200, { 'content-type': 'application/json' })
  res.write('{"accounts":[')
  const item = JSON.stringify(ITEM)
  for (let sent = 0; sent < count && !res.destroyed; sent += 500) {
    const some = Array.from({ length: 500 }, () => item).join(',')
    if (!res.write(sent === 0 ? some : `,${some}`) && !res.destroyed) {
      await Promise.race([once(res, 'drain'), once(res, 'close')])
    }
  }
  res.end(end)
}

/** What of an answer arrived, and whether it is whole. */
async function read(
  stream: AsyncIterable<unknown>,
): Promise<{ readonly text: string; readonly whole: boolean }> {
  let text = ''
  try {
    for await (const chunk of stream) text += String(chunk)
    return { text, whole: true }
  } catch {
    return { text, whole: false }
  }
}

describe('answers that are projected as they pass', () => {
  let world: World
  let agent: TestAgent
  before(async () => {
    world = await startWorld({
      settings: { headersTimeoutMs: 10_000, requestTimeoutMs: 15_000, maxStreamedBytes: 6_000_000 },
    })
    agent = world.agent('reader')
  })
  after(() => world.close())
  beforeEach(() => {
    world.bank.answer = (_seen, res) => {
      void write(res, 20_000)
    }
  })

  const ask = (path = LIST) => agent.pool.request({ method: 'GET', path })

  /** The outcome in the log, once the control plane has it. */
  const outcomeOf = async (decision: string) => {
    const find = () =>
      world.plane
        .records()
        .find((record) => record.kind === 'outcome' && record.decisionId === decision)
    await until(() => find() !== undefined)
    const found = find()
    if (found?.kind !== 'outcome') throw new Error('no outcome')
    return found
  }

  it('lets 2 MB through, each record as its policies say, and records them', async () => {
    const answer = await ask()
    assert.equal(answer.statusCode, 200)
    assert.equal(answer.headers['content-length'], undefined)
    const { text, whole } = await read(answer.body)
    assert.ok(whole)
    assert.doesNotMatch(text, /hidden|hhh/)
    const { accounts } = JSON.parse(text) as { accounts: Record<string, unknown>[] }
    assert.equal(accounts.length, 20_000)
    const { id, ...rest } = accounts.at(-1) ?? {}
    assert.deepEqual(rest, { owner: 'A***', balance: 1200 })
    assert.match(String(id), /^tok_account_/)
    const outcome = await outcomeOf(String(answer.headers['sallyport-decision']))
    assert.equal(outcome.result, 'completed')
    assert.equal(outcome.bytesOut, Buffer.byteLength(text))
    assert.deepEqual(outcome.released, {
      accounts: { records: 20_000, maxWholeClass: 'confidential' },
    })
  })

  it('lets the same through over HTTP/2', async () => {
    const session = await h2Session(world, agent)
    const reply = await askH2(session, { ':path': LIST })
    assert.equal(reply.code, 0)
    const { accounts } = JSON.parse(reply.text) as { accounts: unknown[] }
    assert.equal(accounts.length, 20_000)
    session.destroy()
  })

  it('has the labels in the log before the first byte leaves', async () => {
    const fresh = world.agent('reader', 'labelled')
    const answer = await fresh.pool.request({ method: 'GET', path: LIST })
    const decision = String(answer.headers['sallyport-decision'])
    assert.ok((await read(answer.body)).whole)
    await outcomeOf(decision)
    const kinds = world.plane
      .records()
      .filter((record) =>
        record.kind === 'decision'
          ? record.id === decision
          : 'decisionId' in record && record.decisionId === decision,
      )
      .map(({ kind }) => kind)
    assert.deepEqual(kinds, ['decision', 'labels', 'outcome'])
  })

  const broken: Readonly<Record<string, (res: ServerResponse) => unknown>> = {
    'a name that stands twice': (res) => write(res, 5000, '],"total":1,"total":2}'),
    'a text that is not whole': (res) => write(res, 5000, ']'),
    'something behind the text': (res) => write(res, 5000, ']}{'),
    'bytes that are no UTF-8': (res) => write(res, 5000, Buffer.from('],"x":"\u00ff"}', 'latin1')),
    'a connection that breaks off': async (res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': '9000000' })
      res.write(
        `{"accounts":[${Array.from({ length: 5000 }, () => JSON.stringify(ITEM)).join(',')}`,
      )
      await until(() => world.gateway.stats().openStreams === 1)
      res.destroy()
    },
    'more than the bound': (res) => write(res, 60_000),
  }
  for (const [what, answer] of Object.entries(broken)) {
    it(`breaks an answer off, so that it is none, for ${what}`, { timeout: 60_000 }, async () => {
      world.bank.answer = (_seen, res) => {
        void answer(res)
      }
      const over1 = await ask()
      assert.equal(over1.statusCode, 200)
      assert.equal((await read(over1.body)).whole, false)
      const decision = String(over1.headers['sallyport-decision'])
      assert.equal((await outcomeOf(decision)).result, 'upstream-error')
      const session = await h2Session(world, agent)
      assert.notEqual((await askH2(session, { ':path': LIST })).code, 0)
      session.destroy()
    })
  }

  it('tells in words what is wrong with an answer of which nothing left', async () => {
    world.bank.answer = (_seen, res) => {
      res.writeHead(200, { 'content-type': 'application/json' })
      res.end(`{"hidden":"${'h'.repeat(500_000)}","account":{"status":"open"},"account":1}`)
    }
    const fresh = world.agent('reader', 'told')
    const reply = await fresh.ask({ path: PATH })
    assert.equal(reply.status, 502)
    assert.equal(reply.body['code'], 'SP_UPSTREAM_RESPONSE')
    // What the system goes on to say is not waited for, nor is its connection kept.
    const gone: boolean[] = []
    world.bank.answer = (_seen, res) => {
      res.once('close', () => gone.push(res.writableFinished))
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': '9000000' })
      res.write(`{"account":1,"account":1,"hidden":"${'h'.repeat(500_000)}`)
    }
    assert.equal((await fresh.ask({ path: PATH })).body['code'], 'SP_UPSTREAM_RESPONSE')
    await until(() => gone.length === 1)
    // The same without the second name.
    world.bank.answer = (_seen, res) => {
      json(res, { hidden: 'h'.repeat(500_000), account: { status: 'open' } })
    }
    assert.deepEqual((await fresh.ask({ path: PATH })).body, { account: { status: 'open' } })
  })

  it('answers with nothing where there is nothing', async () => {
    world.bank.answer = (_seen, res) => {
      res.writeHead(204).end()
    }
    const answer = await ask()
    assert.equal(answer.statusCode, 204)
    assert.equal(await answer.body.text(), '')
  })

  /** An answer without end, as fast as it is read. */
  const endless = (): void => {
    world.bank.answer = (_seen, res) => {
      void write(res, Number.POSITIVE_INFINITY)
    }
  }

  it('cuts an answer on its way when the caller is quarantined', { timeout: 60_000 }, async () => {
    await world.restart({ settings: { maxStreamedBytes: Number.MAX_SAFE_INTEGER } })
    endless()
    const bad = world.agent('reader', 'bad')
    const answer = await bad.pool.request({ method: 'GET', path: LIST })
    const reading = read(answer.body)
    world.plane.quarantine('spiffe://test.example/agent/reader/bad')
    assert.equal((await reading).whole, false)
    const decision = String(answer.headers['sallyport-decision'])
    await outcomeOf(decision)
    assert.equal(world.gateway.stats().openStreams, 0)
  })

  it('gives up on a caller that does not read', { timeout: 60_000 }, async () => {
    await world.restart({
      settings: {
        maxStreamedBytes: Number.MAX_SAFE_INTEGER,
        headersTimeoutMs: 3000,
        requestTimeoutMs: 3000,
      },
    })
    endless()
    const sleepy = world.agent('reader', 'sleepy')
    const socket = await sleepy.raw()
    socket.on('error', () => undefined)
    socket.write(`GET ${LIST} HTTP/1.1\r\nHost: g\r\n\r\n`)
    await until(() => world.gateway.stats().openStreams === 1)
    await until(() => world.gateway.stats().openStreams === 0)
    socket.destroy()
  })
})
