import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { System } from '@sallyport/network'
import { Refusal } from '../src/refusal.ts'
import { AnswerBody } from '../src/upstream/answer-body.ts'
import type { Exchange, UpstreamAnswer } from '../src/upstream/exchange.ts'
import type { McpCall } from '../src/upstream/mcp.ts'
import { McpHttp } from '../src/upstream/mcp-http.ts'
import { DEFAULT_SETTINGS } from '../src/settings.ts'

const system: System = {
  ...{ name: 'desk', description: '', owner: 'tests', segment: 'zone', criticality: 'low' },
  protocol: 'mcp',
  upstream: { kind: 'service', service: 'desk', port: 1 },
  operations: [],
}

function stream(text: string): UpstreamAnswer {
  const body = new AnswerBody({
    abort: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
  })
  body.push(Buffer.from(text))
  body.end()
  return {
    ...{ status: 200, contentType: 'text/event-stream', body },
    ...{ retryAfter: undefined, mcpSession: undefined },
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
    ...{ abilities: {}, signal: AbortSignal.timeout(60_000) },
    request: { method: 'POST', path: '/mcp', body: Buffer.from('{}') },
    ...{ repeatable: false, isWaiting: () => false, aside: () => undefined },
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
