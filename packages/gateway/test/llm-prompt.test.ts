import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { JsonValue } from '@sallyport/base'
import type { LlmSystem } from '@sallyport/network'
import { createVault, KnownValues, standIns } from '@sallyport/redact'
import { beyond, charactersOf, demandLimit, usageOf } from '../src/llm/budget.ts'
import { redactPrompt } from '../src/llm/prompt.ts'
import { readModelRequest, surfaceAt } from '../src/llm/surfaces.ts'
import type { JsonObject, ModelRequest } from '../src/llm/surfaces.ts'

const vault = createVault(Buffer.alloc(32, 3))
const known = new KnownValues()
known.note('Blue Boar', () => true)

const llmOf = (mayRead: LlmSystem['mayRead']): LlmSystem => ({
  dialect: 'openai',
  vendor: {
    name: 'Acme',
    region: 'eu',
    retentionDays: 0,
    reviewer: 'olga',
    reviewed: '2020-01-01',
    reviewBy: '2999-12-31',
  },
  mayRead,
  above: 'redact',
  find: ['identifiers'],
  answerTags: [],
  models: [],
})
const redact = (body: JsonObject, mayRead: LlmSystem['mayRead'] = 'internal'): JsonObject =>
  redactPrompt(body, { llm: llmOf(mayRead), known, standIns: standIns(vault) }).body
const said = (...content: JsonObject[]): JsonObject => ({ messages: [{ role: 'user', content }] })
const TEXT = { type: 'text', text: 'hello' }
const PIXEL = 'data:image/png;base64,AAAA'
const FAR = 'https://elsewhere.example/x'

const SURFACES = {
  chat: surfaceAt('openai', ['v1', 'chat', 'completions']),
  responses: surfaceAt('openai', ['v1', 'responses']),
  messages: surfaceAt('anthropic', ['v1', 'messages']),
}
function request(name: keyof typeof SURFACES, body: Record<string, JsonValue>): ModelRequest {
  const surface = SURFACES[name]
  assert.ok(surface)
  return readModelRequest(surface, { model: 'small', ...body })
}

describe('a prompt', () => {
  it('goes out where it consists of texts, and in no other part of it', () => {
    const refused = { code: 'SP_LLM_OPAQUE' }
    assert.deepEqual(redact(said(TEXT)), said(TEXT))
    for (const part of [
      { type: 'video_url', video_url: { url: PIXEL } },
      { video_url: PIXEL },
      { type: 'audio_url', audio_url: { url: PIXEL } },
      { type: 'image_embeds', image_embeds: 'AAAA' },
      { type: 'text', text: 'x', input_audio: { data: 'AAAA' } },
      { type: 'what comes next year', payload: 'AAAA' },
      { type: 'input_file', source: { type: 'text' }, file_data: 'AAAA' },
      { type: 'document', source: { type: 'base64', data: 'AAAA' } },
      { type: 'tool_result', content: [{ type: 'image', source: { type: 'text' } }] },
    ]) {
      assert.throws(() => redact(said(TEXT, part)), refused, JSON.stringify(part))
    }
    for (const input of [[15339, 1917], [[15339, 1917]]]) {
      assert.throws(() => redact({ input }), refused)
      assert.deepEqual(redact({ input }, 'restricted'), { input })
    }
    const document = { type: 'document', source: { type: 'text', data: 'hello' } }
    assert.deepEqual(redact(said(document)), said(document))
  })

  it('names nothing that its vendor would fetch, whatever that may read', () => {
    const inside = said(TEXT, { type: 'image_url', image_url: { url: PIXEL } })
    assert.deepEqual(redact(inside, 'restricted'), inside)
    for (const part of [
      { type: 'image_url', image_url: { url: FAR } },
      { type: 'image_url', image_url: FAR },
      { type: 'image_url', image_url: { url: ` ${PIXEL}` } },
      { type: 'input_image', image_url: 'file:///etc/passwd' },
      { type: 'video_url', video_url: { url: FAR } },
      { type: 'input_file', file_url: FAR },
      { type: 'input_file', file_id: 'file-1' },
      { type: 'file', file: { file_id: 'file-1' } },
      { type: 'image', source: { type: 'url', url: FAR } },
      { type: 'document', source: { type: 'file', file_id: 'file-1' } },
      { type: 'item_reference', id: 'msg_1' },
      { type: 'tool_result', content: [{ type: 'image', source: { type: 'url', url: FAR } }] },
    ]) {
      const refused = { code: 'SP_LLM_REQUEST' }
      assert.throws(() => redact(said(part), 'restricted'), refused, JSON.stringify(part))
    }
  })

  it('a tool’s input is content, whatever its members are called', () => {
    const use = (input: JsonObject): JsonObject => said({ type: 'tool_use', id: 't', input })
    const text = JSON.stringify(
      redact(use({ signature: 'bob@example.com', 'ann@example.com': 1, note: 'Blue Boar' })),
    )
    assert.ok(!/example\.com|Blue/.test(text), text)
    assert.equal(vault.restore(text).match(/(?:bob|ann)@example\.com|Blue Boar/g)?.length, 3)
    assert.deepEqual(redact(use({ signature: 'plain' })), use({ signature: 'plain' }))
    assert.throws(() => redact(use({ 'Blue Boar': 1 })), { code: 'SP_LLM_DATA' })
  })
})

describe('a request to a model', () => {
  const refused = { code: 'SP_LLM_REQUEST' }

  it('has one limit of tokens: the vendor must not go by another than was counted', () => {
    for (const name of ['max_tokens', 'max_completion_tokens']) {
      assert.equal(request('chat', { messages: [], [name]: 7 }).maxOutput(10), 7)
    }
    const both = { messages: [], max_completion_tokens: 1, max_tokens: 1_000_000 }
    assert.throws(() => request('chat', both), refused)
    const none = { messages: [], max_completion_tokens: null, max_tokens: 7 }
    assert.equal(request('chat', none).maxOutput(10), 7)
  })

  it('tells a server the limit by the name that it knows', () => {
    const small = { name: 'small', maxOutputTokens: 10 }
    for (const [asked, most] of [
      [{}, 10],
      [{ max_tokens: 7 }, 7],
      [{ max_completion_tokens: 7, store: false }, 7],
    ] as const) {
      const { body } = request('chat', { messages: [], ...asked })
      const old = { model: 'small', messages: [], max_tokens: most }
      assert.deepEqual(body(small, 'max_tokens'), old)
      const { max_tokens: older, max_completion_tokens: newer } = body(small)
      assert.equal(newer ?? older, most)
      assert.ok(newer === undefined || older === undefined)
    }
    assert.equal(request('messages', {}).body(small, 'max_tokens')['max_tokens'], 10)
  })

  it('has tools of one name each: the vendor must not read another than policies do', () => {
    const safe = { name: 'safe' }
    const tool = { type: 'function', function: safe }
    assert.deepEqual(request('chat', { tools: [tool] }).tools, ['safe'])
    assert.deepEqual(request('messages', { tools: [{ ...safe, input_schema: {} }] }).tools, [
      'safe',
    ])
    assert.deepEqual(request('chat', { tools: [{ type: 'custom', custom: safe }] }).tools, ['safe'])
    for (const surface of ['chat', 'responses', 'messages'] as const) {
      for (const two of [
        { ...tool, name: 'wire_money' },
        { type: 'custom', name: 'safe', custom: { name: 'wire_money' } },
        { type: 'custom', function: safe, custom: { name: 'wire_money' } },
      ]) {
        assert.throws(() => request(surface, { tools: [two] }), refused)
      }
    }
  })

  it('leaves nothing with the vendor and refers to nothing there', () => {
    const small = { name: 'small', maxOutputTokens: 10 }
    assert.equal(request('responses', { input: 'x' }).body(small)['store'], false)
    assert.equal(request('chat', { messages: [] }).body(small)['store'], false)
    assert.equal(request('chat', { messages: [], store: null }).body(small)['store'], false)
    assert.ok(!('store' in request('messages', { messages: [] }).body(small)))
    assert.equal(request('chat', { messages: [], store: null }).stream, false)
    for (const store of [true, 'true', 1, {}]) {
      assert.throws(() => request('chat', { messages: [], store }), refused)
    }
    const spoken = { role: 'user', content: 'x' }
    assert.equal(request('responses', { input: [spoken, { type: 'reasoning' }] }).model, 'small')
    for (const item of [{ id: 'msg_1' }, { id: 'msg_1', type: null }]) {
      assert.throws(() => request('responses', { input: [spoken, item] }), refused)
    }
  })
})

describe('what a vendor says that a call took', () => {
  it('counts where it is a count: otherwise what was reserved does', () => {
    const both = { prompt_tokens: 3, completion_tokens: 4 }
    assert.deepEqual(usageOf(both, false), { input: 3, output: 4 })
    const cached = { input_tokens: 3, output_tokens: 4, cache_read_input_tokens: 5 }
    assert.deepEqual(usageOf(cached, false), { input: 8, output: 4 })
    assert.deepEqual(usageOf({ prompt_tokens: 3 }, true), { input: 3, output: 0 })
    for (const output of [undefined, null, -4, 0.5, '4', 2 ** 60]) {
      const odd = { ...both, completion_tokens: output }
      assert.equal(usageOf(odd, false), undefined, String(output))
    }
    for (const odd of [undefined, null, 7, {}, { prompt_tokens: -3 }]) {
      assert.equal(usageOf(odd, true), undefined)
    }
    assert.equal(usageOf({ ...cached, cache_read_input_tokens: -3 }, false), undefined)
  })
})

describe('what a call took of which its vendor says nothing', () => {
  const most = { input: 5, output: 100 }

  it('is what was reserved, or more where the answer is longer', () => {
    assert.equal(beyond(most, 400), undefined)
    assert.deepEqual(beyond(most, 401), { input: 5, output: 101 })
    // An embedding is no text.
    assert.equal(beyond({ input: 5, output: 0 }, 401), undefined)
  })

  it('an answer without end is broken off', () => {
    demandLimit(most, 100 * 32 + 4096)
    assert.throws(
      () => {
        demandLimit(most, 100 * 32 + 4097)
      },
      { code: 'SP_UPSTREAM_RESPONSE' },
    )
  })

  it('is counted in the texts of the answer', () => {
    const { chat, messages } = SURFACES
    assert.ok(chat && messages)
    const choices = [{ message: { content: 'four', tool_calls: [{ arguments: 'five.' }] } }]
    assert.equal(charactersOf(chat, { id: 'chatcmpl-1', choices }), 9)
    assert.equal(charactersOf(messages, { content: [{ text: 'four', n: 1 }], model: 'x' }), 4)
  })
})
