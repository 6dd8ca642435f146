import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, it, test } from 'node:test'
import type { DecisionRecord } from '@sallyport/wire'
import { readTraceparent, traceparentOf } from '../src/edge/trace.ts'
import type { GatewaySettings } from '../src/settings.ts'
import { encode, GrpcAgent, startLedgerWorld } from './support/grpc.ts'
import { askH2, h2Session } from './support/h2.ts'
import { Outside } from './support/outside.ts'
import { json } from './support/service.ts'
import { startWorld, TestAgent, until, word } from './support/world.ts'
import type { Json, World } from './support/world.ts'

// Those of the recommendation's examples.
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`
const ACCOUNT = '/bank/v1/accounts/ACC-1'
const TRANSFER = '/bank/v1/accounts/A/transfers'

const spanOf = (decision: string): string =>
  createHash('sha256').update(decision).digest('hex').slice(0, 16)

/** What goes on of a trace that came in as this. */
const onward = (text: string): string | undefined => {
  const trace = readTraceparent(text)
  return trace && traceparentOf(trace, 'dec_1')
}

const ZEROS = '0'.repeat(32)
const MALFORMED: Readonly<Record<string, string>> = {
  'no trace': `00-${ZEROS}-${PARENT}-01`,
  'no parent': `00-${TRACE}-${ZEROS.slice(0, 16)}-01`,
  'the version that never is': `ff-${TRACE}-${PARENT}-01`,
  'capital letters': `00-${TRACE.toUpperCase()}-${PARENT}-01`,
  'no hexadecimal digits': `00-${TRACE.replace('4', 'g')}-${PARENT}-01`,
  'a short trace': `00-${TRACE.slice(1)}-${PARENT}-01`,
  'a long parent': `00-${TRACE}-${PARENT}0-01`,
  'no flags': `00-${TRACE}-${PARENT}`,
  'more behind it': `00-${TRACE}-${PARENT}-01-what-else`,
  'more behind a later version': `01-${TRACE}-${PARENT}-01what-else`,
  'two in one': `${TRACEPARENT},${TRACEPARENT}`,
  'another line': `${TRACEPARENT}\n`,
  nothing: '',
}

describe('A `traceparent`', () => {
  it('goes on as the same trace, from a span that is found by the decision', () => {
    assert.equal(onward(TRACEPARENT), `00-${TRACE}-${spanOf('dec_1')}-01`)
    assert.deepEqual(readTraceparent(TRACEPARENT)?.ids, { parentId: PARENT, traceId: TRACE })
    assert.match(spanOf('dec_1'), /^[0-9a-f]{16}$/)
    assert.notEqual(spanOf('dec_1'), spanOf('dec_2'))
  })

  it('keeps the flags that mean something, and no others', () => {
    for (const [given, kept] of [
      ['00', '00'],
      ['02', '02'],
      ['03', '03'],
      ['ff', '03'],
      ['f4', '00'],
    ]) {
      assert.equal(onward(`00-${TRACE}-${PARENT}-${given}`)?.slice(-3), `-${kept}`, given)
    }
  })

  it('of a version to come is taken for what this one knows of it', () => {
    const here = `00-${TRACE}-${spanOf('dec_1')}-01`
    assert.equal(onward(`01-${TRACE}-${PARENT}-01`), here)
    assert.equal(onward(`cc-${TRACE}-${PARENT}-03-what-the-future.brings`), here)
  })

  for (const [what, text] of Object.entries(MALFORMED)) {
    it(`is none: ${what}`, () => {
      assert.equal(readTraceparent(text), undefined)
    })
  }
})

const calls = (codec: GatewaySettings['codec']) => (): void => {
  let world: World
  /** What comes with each request to the system outside. */
  const outside: string[][] = []
  const rates = new Outside((req, res) => {
    outside.push(req.rawHeaders)
    json(res, { rate: 42 })
  })
  let reader: TestAgent
  let teller: TestAgent
  before(async () => {
    await rates.listen()
    world = await startWorld({ settings: { codec } }, undefined, (declaration) =>
      rates.in(declaration),
    )
    reader = world.agent('reader')
    teller = world.agent('teller')
  })
  after(async () => {
    await world.close()
    rates.close()
  })

  async function recordOf(decision: unknown): Promise<DecisionRecord> {
    const find = () =>
      world.plane.records().find((one) => one.kind === 'decision' && one.id === decision)
    await until(() => find() !== undefined)
    const found = find()
    assert.ok(found?.kind === 'decision')
    return found
  }
  const headersOfBank = () => world.bank.seen.at(-1)?.headers ?? {}

  it('go on in the trace of their caller, and are found by it', async () => {
    const headers = { traceparent: TRACEPARENT, tracestate: 'vendor=smuggled' }
    const reply = await teller.ask({ path: ACCOUNT, headers })
    assert.equal(reply.status, 200)
    const decision = word(reply.headers['sallyport-decision'])
    assert.equal(headersOfBank()['traceparent'], `00-${TRACE}-${spanOf(decision)}-01`)
    assert.deepEqual((await recordOf(decision)).trace, { parentId: PARENT, traceId: TRACE })
    assert.ok(!JSON.stringify(world.bank.seen.at(-1)).includes('smuggled'))
    assert.ok(!JSON.stringify(world.bank.seen.at(-1)?.rawHeaders).includes(PARENT))
  })

  it('have none where their caller names none, though it named one before', async (t) => {
    const single = new TestAgent(world, teller.material, 1)
    t.after(() => single.pool.destroy())
    await single.ask({ path: ACCOUNT, headers: { traceparent: TRACEPARENT } })
    assert.match(String(headersOfBank()['traceparent']), new RegExp(TRACE))
    const reply = await single.ask({ path: ACCOUNT })
    assert.equal(headersOfBank()['traceparent'], undefined)
    assert.ok(!('trace' in (await recordOf(reply.headers['sallyport-decision']))))
  })

  it('that are refused are in the trace, too', async () => {
    const headers = { traceparent: TRACEPARENT }
    for (const ask of [
      { path: TRANSFER, body: { to: 'bob', amount: 5000 } },
      { path: '/nowhere/at/all' },
    ]) {
      const reply = await teller.ask({ ...ask, headers })
      assert.equal(reply.status, 403)
      const { trace } = await recordOf(reply.body['decision'])
      assert.deepEqual(trace, { parentId: PARENT, traceId: TRACE })
    }
    const plain = await teller.ask({ path: '/nowhere/at/all' })
    assert.ok(!('trace' in (await recordOf(plain.body['decision']))))
  })

  it('are made all the same where it is malformed or stands twice, and go on without', async () => {
    const { '': _none, 'another line': _line, ...sendable } = MALFORMED
    const all = [...Object.values(sendable), 'x'.repeat(2000)]
    for (const headers of [
      ...all.map((text) => ['traceparent', text]),
      ['traceparent', TRACEPARENT, 'traceparent', TRACEPARENT],
      ['traceparent', TRACEPARENT, 'Traceparent', TRACEPARENT, 'traceparent', TRACEPARENT],
    ]) {
      const answer = await teller.pool.request({ method: 'GET', path: ACCOUNT, headers })
      await answer.body.dump()
      assert.equal(answer.statusCode, 200, headers.join())
      assert.equal(headersOfBank()['traceparent'], undefined, headers.join())
      assert.ok(!('trace' in (await recordOf(answer.headers['sallyport-decision']))))
    }
    // Nothing else may stand twice.
    const headers = ['tracestate', 'a=b', 'tracestate', 'a=b']
    const answer = await teller.pool.request({ method: 'GET', path: ACCOUNT, headers })
    await answer.body.dump()
    assert.equal(answer.statusCode, 400)
  })

  it('tell systems outside of no trace', async () => {
    const headers = { traceparent: TRACEPARENT, tracestate: 'vendor=smuggled' }
    const reply = await reader.ask({ path: '/rates/v1/rate', headers })
    assert.equal(reply.status, 200)
    const sent = outside.at(-1)?.join(' ').toLowerCase() ?? ''
    assert.ok(sent.includes('brokered-secret') && !sent.includes('trace'), sent)
    assert.ok(!sent.includes(TRACE) && !sent.includes('smuggled'))
    const { trace } = await recordOf(reply.headers['sallyport-decision'])
    assert.equal(trace?.traceId, TRACE)
  })

  it('over HTTP/2 go on in it as well', async () => {
    const session = await h2Session(world, teller)
    const reply = await askH2(session, { ':path': ACCOUNT, traceparent: TRACEPARENT })
    assert.equal(reply.status, 200)
    const span = spanOf(String(reply.headers['sallyport-decision']))
    assert.equal(headersOfBank()['traceparent'], `00-${TRACE}-${span}-01`)
    session.destroy()
  })

  it('of MCP are each in the trace of their own request, on a session that is kept', async () => {
    let id = 0
    let session = ''
    const rpc = async (method: string, params: Json, traceparent?: string): Promise<void> => {
      const reply = await teller.ask({
        path: '/desk/mcp',
        body: { jsonrpc: '2.0', id: ++id, method, params },
        headers: {
          accept: 'application/json, text/event-stream',
          ...(session === '' ? {} : { 'mcp-session-id': session }),
          ...(traceparent === undefined ? {} : { traceparent }),
        },
      })
      assert.equal(reply.status, 200)
      assert.ok(reply.body['result'], JSON.stringify(reply.body))
      session ||= word(reply.headers['mcp-session-id'])
    }
    const note = { name: 'read_note', arguments: { id: 'N-1' } }
    const clientInfo = { name: 't', version: '1' }
    await rpc('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo })
    await rpc('tools/call', note, TRACEPARENT)
    const first = world.desk.seen.at(-1)
    const span = spanOf(first?.token.decision ?? '')
    assert.equal(first?.headers['traceparent'], `00-${TRACE}-${span}-01`)
    assert.equal((await recordOf(first.token.decision)).trace?.traceId, TRACE)
    await rpc('tools/call', note)
    const second = world.desk.seen.at(-1)
    assert.notEqual(second?.token.decision, first.token.decision)
    assert.equal(second?.headers['traceparent'], undefined)
  })
}

describe('Calls over llhttp', calls('llhttp'))
describe('Calls over the lean codec', calls('lean'))

test('calls over gRPC go on in the trace of their caller', async (t) => {
  const world = await startLedgerWorld()
  t.after(() => world.close())
  const teller = new GrpcAgent(world, world.agent('teller'))
  t.after(() => {
    teller.close()
  })
  const get = encode('GetAccountRequest', { account_id: 'ACC-1' })
  const metadata = { traceparent: TRACEPARENT, tracestate: 'vendor=smuggled' }
  const { error } = await teller.ask('GetAccount', get, metadata)
  assert.equal(error, undefined)
  const seen = world.ledger.seen.at(-1)
  assert.ok(seen)
  const span = spanOf(seen.token.decision)
  assert.deepEqual(seen.metadata.get('traceparent'), [`00-${TRACE}-${span}-01`])
  assert.deepEqual(seen.metadata.get('tracestate'), [])
  await teller.ask('GetAccount', get)
  assert.deepEqual(world.ledger.seen.at(-1)?.metadata.get('traceparent'), [])
})
