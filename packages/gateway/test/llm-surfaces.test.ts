import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import Anthropic from '@anthropic-ai/sdk'
import { SECRET_MEMO, TOKEN, lastText, manyModels } from './support/many-models.ts'
import { inSlices } from './support/models.ts'
import { json } from './support/service.ts'
import { until, word } from './support/world.ts'
import type { Json } from './support/world.ts'

describe('the other surfaces of models', () => {
  const models = manyModels()
  const { first } = models

  it('serves the Responses API, whole and streamed', async () => {
    const response = (text: string, status = 'completed'): Json => ({
      id: 'resp_1',
      object: 'response',
      created_at: 1,
      status,
      model: 'small',
      output: [
        {
          type: 'message',
          id: 'msg_1',
          role: 'assistant',
          status: 'completed',
          content: [{ type: 'output_text', text, annotations: [] }],
        },
      ],
      usage: { input_tokens: 3, output_tokens: 4, total_tokens: 7 },
    })
    first.answer = (asked, res) => {
      const text = `You said: ${word(asked.body['input'])}`
      if (asked.body['stream'] !== true) {
        json(res, response(text))
        return
      }
      let sequence = 0
      const event = (type: string, more: Json): string =>
        `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...more })}\n\n`
      const place = { item_id: 'msg_1', output_index: 0, content_index: 0 }
      let out = event('response.created', {
        response: { ...response('', 'in_progress'), output: [] },
      })
      out += event('response.output_item.added', {
        output_index: 0,
        item: {
          type: 'message',
          id: 'msg_1',
          role: 'assistant',
          status: 'in_progress',
          content: [],
        },
      })
      out += event('response.content_part.added', {
        ...place,
        part: { type: 'output_text', text: '', annotations: [] },
      })
      for (let i = 0; i < text.length; i += 5) {
        out += event('response.output_text.delta', { ...place, delta: text.slice(i, i + 5) })
      }
      out += event('response.output_text.done', { ...place, text })
      out += event('response.completed', { response: response(text) })
      void inSlices(res, out, 13)
    }
    const input = `about ACC-00417`
    const whole = await models.openai.responses.create({ model: 'small', input })
    assert.equal(whole.output_text, `You said: ${input}`)
    assert.equal(first.last.body['store'], false)
    assert.ok(!first.last.text.includes('ACC-00417'))
    const stream = models.openai.responses.stream({ model: 'small', input })
    let out = ''
    let last = -1
    for await (const event of stream) {
      assert.ok(event.sequence_number > last)
      last = event.sequence_number
      if (event.type === 'response.output_text.delta') out += event.delta
    }
    assert.equal(out, `You said: ${input}`)
    assert.equal((await stream.finalResponse()).output_text, `You said: ${input}`)
  })

  it('serves embeddings', async () => {
    first.answer = (_asked, res) => {
      json(res, {
        object: 'list',
        model: 'small',
        data: [{ object: 'embedding', index: 0, embedding: [0.125, -0.25] }],
        usage: { prompt_tokens: 2, total_tokens: 2 },
      })
    }
    const input = 'ACC-00417 and more'
    const { data } = await models.openai.embeddings.create({
      model: 'small',
      input,
      encoding_format: 'float',
    })
    assert.deepEqual(data[0]?.embedding, [0.125, -0.25])
    assert.match(first.last.text, TOKEN)
    assert.equal(first.last.path, '/v1/embeddings')
  })

  it('answers Anthropic’s own client, whole and streamed, and labels the session', async () => {
    const message = (content: Json[]): Json => ({
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      model: 'opus',
      content,
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { input_tokens: 5, output_tokens: 6 },
    })
    first.answer = (asked, res) => {
      const text = `You said: ${lastText(asked)}`
      const [memo = ''] = TOKEN.exec(text) ?? []
      const tool = { type: 'tool_use', id: 'toolu_1', name: 'note' }
      if (asked.body['stream'] !== true) {
        json(
          res,
          message([
            { type: 'text', text },
            { ...tool, input: { note: memo } },
          ]),
        )
        return
      }
      const event = (type: string, more: Json): string =>
        `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`
      let out = event('message_start', { message: message([]) })
      const blocks: [Json, string, string, string][] = [
        [{ type: 'text', text: '' }, 'text_delta', 'text', text],
        [{ ...tool, input: {} }, 'input_json_delta', 'partial_json', `{"note": "${memo}"}`],
      ]
      blocks.forEach(([block, type, name, whole], index) => {
        out += event('content_block_start', { index, content_block: block })
        for (let i = 0; i < whole.length; i += 4) {
          out += event('content_block_delta', {
            index,
            delta: { type, [name]: whole.slice(i, i + 4) },
          })
        }
        out += event('content_block_stop', { index })
      })
      out += event('message_delta', {
        delta: { stop_reason: 'tool_use', stop_sequence: null },
        usage: { output_tokens: 9 },
      })
      void inSlices(res, out + event('message_stop', {}), 17)
    }
    const ask = {
      model: 'opus',
      max_tokens: 100,
      messages: [{ role: 'user' as const, content: SECRET_MEMO }],
    }
    const whole = await models.claude.messages.create(ask)
    const expected = [
      { type: 'text', text: `You said: ${SECRET_MEMO}` },
      { type: 'tool_use', id: 'toolu_1', name: 'note', input: { note: SECRET_MEMO } },
    ]
    assert.deepEqual(whole.content, expected)
    assert.equal(first.last.headers['x-api-key'], 'vendor-key-0')
    assert.equal(first.last.headers['anthropic-version'], '2023-06-01')
    assert.ok(!first.last.text.includes('Blue Boar'))
    const { instance } = (await models.teller.ask({ path: '/.sallyport/whoami' })).body
    const labelled = (): boolean =>
      models.world.plane
        .records()
        .some(
          (record) =>
            record.kind === 'labels' &&
            record.instance === instance &&
            record.added.includes('model-output'),
        )
    await until(labelled)
    const final = await models.claude.messages.stream(ask).finalMessage()
    assert.deepEqual(
      final.content.map((block) =>
        Object.fromEntries(Object.entries(block).filter(([key]) => key !== 'citations')),
      ),
      expected,
    )
    await assert.rejects(
      models.claude.messages.create({ ...ask, max_tokens: 5000 }),
      Anthropic.BadRequestError,
    )
  })
})
