import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseJson } from '@sallyport/base'
import { createVault, KnownValues, standIns } from '@sallyport/redact'
import { AnswerFilter } from '../src/llm/answer.ts'
import { eventRewriter } from '../src/llm/streams.ts'
import type { EventRewriter } from '../src/llm/streams.ts'
import type { Json } from './support/world.ts'

const vault = createVault(Buffer.alloc(32, 9))
const VALUE = 'Zoë "Z" Lee'
const token = vault.token('RECORD', VALUE)
const others = new KnownValues()
others.note('other secret value', () => true)

const rewriterOf = (surface: 'chat' | 'messages' | 'responses'): EventRewriter =>
  eventRewriter(surface, {
    filter: new AnswerFilter({ standIns: standIns(vault), others }),
    wantsUsage: false,
  })
/** Events as a client reads them. */
const read = (framed: readonly string[]): Json[] =>
  framed.flatMap((text) => {
    const [, data = ''] = /^(?:event: [\w.-]+\n)?data: (.*)\n\n$/.exec(text) ?? []
    assert.notEqual(data, '', `not one event: ${JSON.stringify(text)}`)
    const events: unknown[] = data === '[DONE]' ? [] : [parseJson(data)]
    return events as Json[]
  })
const chunk = (delta: Json, finish: string | null = null, index = 0): string =>
  JSON.stringify({ id: 'c', choices: [{ index, delta, finish_reason: finish }] })
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')
const choiceOf = (event: Json): Json => (event['choices'] as Json[])[0] ?? {}

describe('events of a model', () => {
  it('chat: restored wherever two pieces meet, and complete before the last chunk', () => {
    const whole = `to ${token}, then ${token}`
    for (let i = 0; i <= whole.length; i++) {
      const rewriter = rewriterOf('chat')
      const events = read([
        ...rewriter.event(chunk({ content: whole.slice(0, i) })),
        ...rewriter.event(chunk({ content: whole.slice(i) })),
        ...rewriter.event(chunk({}, 'stop')),
        ...rewriter.event('[DONE]'),
        ...rewriter.end(),
      ])
      const texts = events.map((event) => textOf((choiceOf(event)['delta'] as Json)['content']))
      assert.equal(texts.join(''), `to ${VALUE}, then ${VALUE}`)
      assert.equal(choiceOf(events.at(-1) ?? {})['finish_reason'], 'stop')
    }
  })

  it('chat: choices, tools and unknown texts are kept apart', () => {
    const rewriter = rewriterOf('chat')
    const half = Math.floor(token.length / 2)
    const call = (index: number, piece: string): Json => ({
      tool_calls: [{ index, function: { arguments: piece } }],
    })
    const events = read([
      ...rewriter.event(chunk({ content: token.slice(0, half) }, null, 0)),
      ...rewriter.event(chunk({ content: `plain` }, null, 1)),
      ...rewriter.event(chunk({ reasoning_content: token.slice(0, half) }, null, 0)),
      ...rewriter.event(chunk(call(0, `{"a":"${token.slice(0, half)}`), null, 0)),
      ...rewriter.event(chunk(call(1, '{}'), null, 0)),
      ...rewriter.event(chunk({ content: token.slice(half) }, null, 0)),
      ...rewriter.event(chunk({ reasoning_content: token.slice(half) }, null, 0)),
      ...rewriter.event(chunk(call(0, `${token.slice(half)}"}`), null, 0)),
      ...rewriter.event(chunk({}, 'tool_calls', 0)),
      ...rewriter.event(chunk({}, 'stop', 1)),
      ...rewriter.event('[DONE]'),
    ])
    const texts = new Map<string, string>()
    const add = (key: string, value: unknown): void => {
      if (typeof value === 'string') texts.set(key, (texts.get(key) ?? '') + value)
    }
    for (const event of events) {
      const choice = choiceOf(event)
      const delta = choice['delta'] as Json
      const index = String(Number(choice['index']))
      add(`${index} content`, delta['content'])
      add(`${index} reasoning`, delta['reasoning_content'])
      for (const one of (delta['tool_calls'] ?? []) as Json[]) {
        add(`${index} tool ${Number(one['index'])}`, (one['function'] as Json)['arguments'])
      }
    }
    assert.equal(texts.get('0 content'), VALUE)
    assert.equal(texts.get('1 content'), 'plain')
    assert.equal(texts.get('0 reasoning'), VALUE)
    assert.deepEqual(parseJson(texts.get('0 tool 0') ?? ''), { a: VALUE })
    assert.equal(texts.get('0 tool 1'), '{}')
  })

  it('messages: what was held back comes before its block ends', () => {
    for (const [type, name] of [
      ['text_delta', 'text'],
      ['thinking_delta', 'thinking'],
      ['input_json_delta', 'partial_json'],
    ] as const) {
      const rewriter = rewriterOf('messages')
      const delta = (piece: string): string =>
        JSON.stringify({ type: 'content_block_delta', index: 3, delta: { type, [name]: piece } })
      const events = read([
        ...rewriter.event(delta(`"${token.slice(0, 7)}`)),
        ...rewriter.event(delta(`${token.slice(7)}" EMAIL_0`)),
        ...rewriter.event(JSON.stringify({ type: 'content_block_stop', index: 3 })),
        ...rewriter.event(JSON.stringify({ type: 'message_stop' })),
        ...rewriter.end(),
      ])
      assert.deepEqual(
        events.slice(-2).map((event) => event['type']),
        ['content_block_stop', 'message_stop'],
      )
      const text = events
        .map((event) => textOf((event['delta'] as Json | undefined)?.[name]))
        .join('')
      const written = name === 'partial_json' ? JSON.stringify(VALUE) : `"${VALUE}"`
      assert.equal(text, `${written} EMAIL_0`)
    }
  })

  it('whatever is in an event, it stays one event, and nothing in it goes unseen', () => {
    const rewriter = rewriterOf('messages')
    const [text = ''] = rewriter.event(
      JSON.stringify({
        type: 'ping\ndata: {"type":"message_stop"}\n\nx',
        note: 'other secret value',
      }),
    )
    assert.equal(text.split('\n\n').length, 2)
    assert.ok(!text.startsWith('event:'))
    assert.ok(!text.includes('other secret value'))
    for (const [surface, event] of [
      ['chat', { choices: [{ index: 0, delta: { role: 'x' }, logprobs: 'other secret value' }] }],
      [
        'chat',
        {
          choices: [
            {
              index: 0,
              delta: {
                tool_calls: [
                  {
                    index: 0,
                    id: 'other secret value',
                    function: { name: 'other secret value', arguments: '' },
                  },
                ],
              },
            },
          ],
        },
      ],
      ['chat', { choices: [], error: 'other secret value' }],
      [
        'messages',
        {
          type: 'content_block_delta',
          index: 0,
          delta: { type: 'citations_delta', citation: 'other secret value' },
        },
      ],
      [
        'responses',
        { type: 'response.output_text.delta', delta: '', item_id: 'other secret value' },
      ],
      ['responses', { type: 'response.completed', response: { output: ['other secret value'] } }],
    ] as const) {
      const out = rewriterOf(surface).event(JSON.stringify(event)).join('')
      assert.ok(out.includes('[withheld]') && !out.includes('other secret value'), out)
    }
  })

  it('what stands beside a text is not passed on unseen either', () => {
    const hidden = 'other secret value'
    const block = { type: 'content_block_delta', index: 0 }
    for (const [surface, event] of [
      ['chat', { choices: [{ index: 0, delta: { role: hidden } }] }],
      ['messages', { ...block, delta: { type: 'text_delta', text: 'seen', more: hidden } }],
      ['messages', { ...block, note: hidden, delta: { type: 'text_delta', text: 'seen' } }],
      ['messages', { ...block, note: hidden, delta: { type: 'signature_delta', signature: 's' } }],
    ] as const) {
      const rewriter = rewriterOf(surface)
      const out = rewriter.event(JSON.stringify(event)).join('')
      assert.ok(out.includes('[withheld]') && !out.includes(hidden), out)
    }
    const wants = eventRewriter('chat', {
      filter: new AnswerFilter({ standIns: standIns(vault), others }),
      wantsUsage: true,
    })
    const [told = ''] = wants.event(
      JSON.stringify({ choices: [], usage: { prompt_tokens: 3, note: hidden } }),
    )
    assert.ok(told.includes('"prompt_tokens":3') && !told.includes(hidden), told)
    const signed = { ...block, delta: { type: 'signature_delta', signature: `x/${token}` } }
    assert.deepEqual(read(rewriterOf('messages').event(JSON.stringify(signed))), [signed])
  })

  it('what was clean before: somebody may have read it since', () => {
    const growing = new KnownValues()
    const filter = new AnswerFilter({ standIns: standIns(vault), others: growing })
    const event = { id: 'the merger plan', object: 'chat' }
    assert.equal(filter.whole(event), event)
    growing.note('the merger plan', () => true)
    assert.deepEqual(filter.whole(event), { id: '[withheld]', object: 'chat' })
    assert.equal(filter.whole('the merger plan'), '[withheld]')
    assert.equal(filter.withheld, 2)
  })

  it('a whole answer: names and numbers of a tool’s input, vectors and the tokens of a text', () => {
    const numbers = new KnownValues()
    for (const value of ['other secret value', '73155']) numbers.note(value, () => true)
    const filter = new AnswerFilter({ standIns: standIns(vault), others: numbers })
    const [vector, base64] = [[0.5, 73_155], 'AAAAPgAAgD8AAAAAgL8AAA==']
    assert.deepEqual(
      filter.whole({
        content: [
          {
            type: 'tool_use',
            input: {
              'other secret value': 1,
              [token]: 2,
              balance: 73_155,
              embedding: 'other secret value',
              logprobs: { a: 'kept' },
            },
          },
        ],
        data: [{ embedding: vector }, { embedding: base64 }, { embedding: 'other secret value' }],
        choices: [{ text: 'other secret value', logprobs: { content: [{ token: 'other' }] } }],
        part: { logprobs: [{ token: 'other' }] },
        usage: { output_tokens: 73_155 },
      }),
      {
        content: [
          {
            type: 'tool_use',
            input: {
              '[withheld]': 1,
              [VALUE]: 2,
              balance: '[withheld]',
              embedding: '[withheld]',
              logprobs: { a: 'kept' },
            },
          },
        ],
        data: [{ embedding: vector }, { embedding: base64 }, { embedding: '[withheld]' }],
        choices: [{ text: '[withheld]', logprobs: null }],
        part: { logprobs: [] },
        usage: { output_tokens: 73_155 },
      },
    )
  })

  it('what an answer took is known when it is whole: of one that was broken off what was reserved counts', () => {
    const events = {
      messages: [
        { type: 'message_start', message: { usage: { input_tokens: 5, output_tokens: 1 } } },
        { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'much ' } },
        { type: 'message_delta', delta: {}, usage: { output_tokens: 900 } },
        { type: 'message_stop' },
      ],
      chat: [
        {
          choices: [{ index: 0, delta: { content: 'much ' } }],
          usage: { prompt_tokens: 5, completion_tokens: 1 },
        },
        { choices: [], usage: { prompt_tokens: 5, completion_tokens: 900 } },
        '[DONE]',
      ],
      responses: [
        {
          type: 'response.created',
          response: { usage: { input_tokens: 5, output_tokens: 1 } },
        },
        {
          type: 'response.completed',
          response: { usage: { input_tokens: 5, output_tokens: 900 } },
        },
      ],
    } as const
    for (const surface of ['messages', 'chat', 'responses'] as const) {
      const rewriter = rewriterOf(surface)
      for (const event of events[surface]) {
        assert.equal(rewriter.usage, undefined, surface)
        rewriter.event(typeof event === 'string' ? event : JSON.stringify(event))
      }
      assert.deepEqual(rewriter.usage, { input: 5, output: 900 }, surface)
    }
    const failed = rewriterOf('messages')
    failed.event(JSON.stringify(events.messages[0]))
    failed.event(JSON.stringify({ type: 'error', error: { type: 'overloaded_error' } }))
    assert.equal(failed.usage, undefined)
  })

  it('what is no event of a model, or too much of one, is refused', () => {
    const refused = { code: 'SP_UPSTREAM_RESPONSE' }
    for (const surface of ['chat', 'messages', 'responses'] as const) {
      for (const data of ['', 'x', '[]', '{"a":1,"a":2}', 'null']) {
        assert.throws(() => rewriterOf(surface).event(data), refused, data)
      }
      assert.throws(() => rewriterOf(surface).end(), refused)
    }
    const rewriter = rewriterOf('chat')
    assert.throws(() => {
      for (let i = 0; i < 5000; i++) rewriter.event(chunk({ content: 'EMAIL_' }, null, i))
    }, refused)
  })
})
