import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { System } from '@sallyport/network'
import { Refusal } from '../src/refusal.ts'
import { AnswerBody } from '../src/upstream/answer-body.ts'
import type { Exchange, UpstreamAnswer } from '../src/upstream/exchange.ts'
import type { McpCall } from '../src/upstream/mcp.ts'
import { McpHttp } from '../src/upstream/mcp-http.ts'
import { DEFAULT_SETTINGS } from '../src/settings.ts'
import { until } from './support/world.ts'
import type { GatewaySettings } from '../src/settings.ts'

const system: System = {
  ...{ name: 'desk', description: '', owner: 'tests', segment: 'zone', criticality: 'low' },
  protocol: 'mcp',
  upstream: { kind: 'service', service: 'desk', port: 1 },
  operations: [],
}

function stream(text: string, ends = true): UpstreamAnswer {
  const body = new AnswerBody({
    abort: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
  })
  body.push(Buffer.from(text))
  if (ends) body.end()
  return {
    ...{ status: 200, contentType: 'text/event-stream', body },
    ...{ retryAfter: undefined, mcpSession: undefined, headers: {} },
  }
}

/** A server that takes the call, and closes its stream to be asked for the rest; what is then asked for comes to `next`. */
function ask(next: () => Promise<UpstreamAnswer>): Promise<unknown> {
  const sent: string[] = []
  const exchange = {
    send: ({ request }: { readonly request: { readonly method: string } }) => {
      sent.push(request.method)
      return sent.length === 1
        ? Promise.resolve(
            stream(
              'id: 1\nretry: 1\ndata: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\n\n',
            ),
          )
        : next()
    },
  }
  const call: McpCall = {
    ...{ session: 's', caller: 'c', delegation: {}, system, decision: 'd', operation: 'pay' },
    ...{ abilities: {}, trace: undefined, signal: AbortSignal.timeout(60_000) },
    request: { method: 'POST', path: '/mcp', body: Buffer.from('{}') },
    ...{ repeatable: false, isWaiting: () => false, aside: () => Promise.resolve() },
  }
  // All that it uses of one: what is to be shown is what becomes of the second answer's failure.
  return new McpHttp(exchange as unknown as Exchange, DEFAULT_SETTINGS).request(call, '7')
}

test('a call that went out is never told as one that did not, whatever stops the rest of its answer', async () => {
  for (const code of ['SP_UPSTREAM_OPEN', 'SP_CREDENTIAL_MISSING']) {
    const stopped = ask(() => Promise.reject(new Refusal(code, 'x', { status: 503 })))
    await assert.rejects(stopped, { code: 'SP_UPSTREAM_RESPONSE' }, code)
  }
  const answered = ask(() =>
    Promise.resolve(stream('data: {"jsonrpc":"2.0","id":"7","result":{"ok":true}}\n\n')),
  )
  assert.deepEqual(JSON.parse(JSON.stringify(await answered)).result, { ok: true })
})

const AGAIN = 'id: 1\nretry: 1\n'
const SAID = 'data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\n\n'
const DONE = 'data: {"jsonrpc":"2.0","id":"7","result":{}}\n\n'

/** A server that answers each request in turn, and a call of it. */
function served(answers: UpstreamAnswer[], settings: Partial<GatewaySettings> = {}) {
  const methods: string[] = []
  const exchange = {
    send: ({ request }: { readonly request: { readonly method: string } }) => {
      methods.push(request.method)
      const next = answers.shift()
      return next ? Promise.resolve(next) : Promise.reject(new Error('nothing more'))
    },
  }
  const call: McpCall = {
    ...{ session: 's', caller: 'c', delegation: {}, system, decision: 'd', operation: 'pay' },
    ...{ abilities: {}, trace: undefined, signal: AbortSignal.timeout(60_000) },
    request: { method: 'POST', path: '/mcp', body: Buffer.from('{}') },
    ...{ repeatable: false, isWaiting: () => false, aside: () => Promise.resolve() },
  }
  // All that it uses of one.
  const link = new McpHttp(exchange as unknown as Exchange, { ...DEFAULT_SETTINGS, ...settings })
  return { link, call, methods }
}

test('an answer that takes too long is no stream that broke off, to be asked for again', async () => {
  const slow = served([stream(AGAIN + SAID, false), stream(DONE)], { upstreamTimeoutMs: 50 })
  await assert.rejects(slow.link.request(slow.call, '7'), { code: 'SP_UPSTREAM_TIMEOUT' })
  assert.deepEqual(slow.methods, ['POST'])
  const broken = served([stream(AGAIN + SAID), stream(DONE)])
  assert.ok(await broken.link.request(broken.call, '7'))
  assert.deepEqual(broken.methods, ['POST', 'GET'])
})

test('what a server says beside an answer is bounded over all the streams that it comes by', async () => {
  const some = (): UpstreamAnswer => stream(AGAIN + SAID.repeat(6000))
  const much = served([some(), some(), stream(DONE)])
  await assert.rejects(much.link.request(much.call, '7'), { code: 'SP_UPSTREAM_RESPONSE' })
  assert.deepEqual(much.methods, ['POST', 'GET'])
  const once = served([some(), stream(DONE)])
  assert.ok(await once.link.request(once.call, '7'))
  const large = (): UpstreamAnswer => stream(`${AGAIN}data: {"a":"${'x'.repeat(600)}"}\n\n`)
  const larger = served([large(), large(), stream(DONE)], { maxResponseBytes: 1000 })
  await assert.rejects(larger.link.request(larger.call, '7'), { code: 'SP_UPSTREAM_RESPONSE' })
})

test('no more is read of a server than is handled', async () => {
  for (const listens of [false, true]) {
    const { link, call } = served([stream(SAID.repeat(3) + DONE)])
    const handled = Promise.withResolvers<undefined>()
    let said = 0
    const aside = async (): Promise<void> => {
      said++
      await handled.promise
    }
    const gone = new AbortController()
    const ask = { ...call, aside, signal: gone.signal }
    const read = listens ? link.listen(ask, aside, () => undefined) : link.request(ask, '7')
    read.catch(() => undefined)
    // Whatever could be read, would be by then.
    for (let i = 0; i < 100; i++) await new Promise(setImmediate)
    assert.equal(said, 1)
    handled.resolve(undefined)
    // To one who only listens, the answer is one more.
    const all = listens ? 4 : 3
    await until(() => said === all)
    gone.abort()
    await read.catch(() => undefined)
  }
})

test('a call that a server keeps talking in ends all the same', async () => {
  const settings = { upstreamTimeoutMs: 60_000, maxStreamMs: 50 }
  const body = new AnswerBody({
    ...{ abort: () => undefined, pause: () => undefined, resume: () => undefined },
  })
  const talking = served([{ ...stream(''), body }], settings)
  const talk = setInterval(() => {
    body.push(Buffer.from(SAID))
  }, 5)
  await assert.rejects(talking.link.request(talking.call, '7'), { code: 'SP_UPSTREAM_TIMEOUT' })
  clearInterval(talk)
})
