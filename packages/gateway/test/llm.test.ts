import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { fetchOf, inSlices, ModelServer, modelSystem, worldOfModels } from './support/models.ts'
import type { Asked } from './support/models.ts'
import { json } from './support/service.ts'
import { TestIssuer } from './support/tokens.ts'
import { ACCOUNT, until, word } from './support/world.ts'
import type { Json, TestAgent, World } from './support/world.ts'

const SECRET_MEMO = 'meet Zoë at the "Blue Boar" in Elm Street'
const TOKEN = /RECORD_[0-9A-Z]{12}/

const usage = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 }
const completion = (content: string | null, more: Json = {}): unknown => ({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1,
  model: 'small',
  choices: [{ index: 0, message: { role: 'assistant', content, ...more }, finish_reason: 'stop' }],
  usage,
})
const chunk = (delta: unknown, finish: string | null = null): string =>
  `data: ${JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'small',
    choices: [{ index: 0, delta, finish_reason: finish }],
  })}\n\n`
const lastText = ({ body }: Asked): string => {
  const messages = (body['messages'] ?? body['input']) as Json[]
  return word(messages.at(-1)?.['content'])
}

describe('models behind a gateway', () => {
  const first = new ModelServer()
  const second = new ModelServer()
  const third = new ModelServer()
  const issuer = new TestIssuer()
  let world: World
  let teller: TestAgent
  let openai: OpenAI
  let claude: Anthropic
  const clientOf = (agent: TestAgent, system = 'models', more: object = {}): OpenAI =>
    new OpenAI({
      apiKey: 'sallyport',
      baseURL: `https://gateway.invalid/${system}/v1`,
      fetch: fetchOf(agent),
      ...more,
    })

  before(async () => {
    await Promise.all([first, second, third].map((server) => server.listen()))
    const price = { input: 100, output: 400 }
    world = await worldOfModels(
      [
        modelSystem('models', first, {
          dialect: 'openai',
          models: [
            {
              name: 'small',
              maxOutputTokens: 1000,
              price,
              fallback: ['spare/small', 'loose/small'],
            },
            { name: 'lone', maxOutputTokens: 1000, price },
          ],
        }),
        modelSystem('spare', second, {
          dialect: 'openai',
          mayRead: 'confidential',
          models: [{ name: 'small', maxOutputTokens: 500 }],
        }),
        modelSystem('loose', third, {
          dialect: 'openai',
          mayRead: 'public',
          models: [{ name: 'small', maxOutputTokens: 500 }],
        }),
        modelSystem('strict', first, {
          dialect: 'openai',
          above: 'deny',
          models: [{ name: 'small', maxOutputTokens: 1000 }],
        }),
        modelSystem('lapsed', first, {
          dialect: 'openai',
          vendor: {
            name: 'Old',
            region: 'eu',
            retentionDays: 0,
            reviewer: 'olga',
            reviewed: '2020-01-01',
            reviewBy: '2021-01-01',
          },
          models: [{ name: 'small', maxOutputTokens: 1000 }],
        }),
        modelSystem('guest', first, {
          dialect: 'openai',
          models: [{ name: 'small', maxOutputTokens: 1000, fallback: ['personal/small'] }],
        }),
        {
          ...modelSystem('personal', third, {
            dialect: 'openai',
            models: [{ name: 'small', maxOutputTokens: 1000 }],
          }),
          onBehalfOf: 'person',
        },
        modelSystem('claude', first, {
          dialect: 'anthropic',
          answerTags: ['model-output'],
          models: [{ name: 'opus', maxOutputTokens: 1000, price }],
        }),
      ],
      {
        tokens: issuer.trust(),
        policies: `forbid (principal, action == Action::"models.chat", resource)
          when { context.input.tools.contains("wire_money") };`,
        limits: [
          {
            id: 'model-tokens',
            description: 'Tokens.',
            agents: ['teller'],
            operations: ['models.chat', 'claude.message'],
            windowSeconds: 60,
            maxSum: { input: 'tokens', max: 1_000_000 },
          },
          {
            id: 'model-money',
            description: 'Money.',
            agents: ['teller'],
            operations: ['models.chat'],
            windowSeconds: 60,
            maxSum: { input: 'cost', max: 1_000_000_000 },
          },
        ],
      },
    )
    world.bank.answer = (_seen, res) => {
      json(res, { account: { ...ACCOUNT, id: 'ACC-00417', memo: SECRET_MEMO, balance: 73_155 } })
    }
    teller = world.agent('teller')
    openai = clientOf(teller)
    claude = new Anthropic({
      apiKey: 'sallyport',
      baseURL: 'https://gateway.invalid/claude',
      fetch: fetchOf(teller),
    })
    const read = await teller.ask({ path: '/bank/v1/accounts/ACC-00417' })
    assert.deepEqual((read.body['account'] as Json)['memo'], SECRET_MEMO)
  })
  after(async () => {
    await world.close()
    for (const server of [first, second, third]) server.close()
  })
  beforeEach(() => {
    first.answer = (asked, res) => {
      json(res, completion(`You said: ${lastText(asked)}`))
    }
    for (const server of [second, third]) {
      server.answer = (_asked, res) => {
        json(res, completion('from another'))
      }
    }
    world.plane.limit = 'grant'
  })

  const say = (content: string, client = openai, model = 'small'): Promise<string> =>
    client.chat.completions
      .create({ model, messages: [{ role: 'user', content }] })
      .then(({ choices }) => choices[0]?.message.content ?? '')

  it('answers OpenAI’s own client, with the key of the gateway and none of the agent’s', async () => {
    assert.equal(await say('Hello there'), 'You said: Hello there')
    const { path, headers, body } = first.last
    assert.equal(path, '/v1/chat/completions')
    assert.equal(headers['authorization'], 'Bearer vendor-key-0')
    assert.equal(headers['x-stainless-lang'], undefined)
    assert.equal(body['max_completion_tokens'], 1000)
    const names = (await openai.models.list()).data.map(({ id }) => id)
    assert.deepEqual(names, ['small', 'lone'])
  })

  it('what the session read above the vendor’s class is replaced on the way, and is back in the answer', async () => {
    const text = `Account ACC-00417 holds 73155: ${SECRET_MEMO}. Write to bob@example.com.`
    assert.equal(await say(text), `You said: ${text}`)
    const sent = first.last.text
    for (const value of ['ACC-00417', '73155', 'Blue Boar', 'Elm Street', 'bob@example.com']) {
      assert.ok(!sent.includes(value), value)
    }
    assert.match(sent, TOKEN)
    assert.match(sent, /EMAIL_[0-9A-Z]{12}/)
  })

  it('whatever form it takes: other case, escapes, tool arguments, numbers', async () => {
    const hidden = ['ACC-00417', 'acc 00417', '73155', 'Zoë', 'Zo\\\\u00eb', 'Blue', 'BOAR']
    await openai.chat.completions.create({
      model: 'small',
      messages: [
        { role: 'system', content: `notes: ${SECRET_MEMO.toUpperCase()}` },
        { role: 'user', content: [{ type: 'text', text: 'and acc 00417?' }] },
        {
          role: 'assistant',
          content: null,
          tool_calls: [
            {
              id: 'call_1',
              type: 'function',
              function: {
                name: 'read_account',
                arguments:
                  '{"id":"ACC-00417","balance":73155,"note":"meet Zo\\u00eb at the \\"Blue Boar\\" in Elm Street"}',
              },
            },
          ],
        },
        {
          role: 'tool',
          tool_call_id: 'call_1',
          content: JSON.stringify({ memo: `x\n${SECRET_MEMO}\ny` }).replaceAll('ë', '\\u00eb'),
        },
        { role: 'user', content: 'go on' },
      ],
    })
    const sent = first.last.text
    for (const value of hidden) assert.ok(!sent.includes(value), `${value} in ${sent}`)
    const messages = first.last.body['messages'] as Json[]
    const { tool_calls: calls } = messages[2] ?? {}
    const { function: called } = (calls as Json[])[0] ?? {}
    const parsed = JSON.parse(word((called as Json)['arguments'])) as Json
    assert.deepEqual(Object.keys(parsed), ['id', 'balance', 'note'])
  })

  it('a vendor that may read it gets it as it is; one instance’s reading is not another’s', async () => {
    const spare = clientOf(teller, 'spare')
    second.answer = first.answer
    assert.equal(await say('ACC-00417 please', spare), 'You said: ACC-00417 please')
    assert.ok(second.last.text.includes('ACC-00417'))
    const other = clientOf(world.agent('teller', 'i2'))
    assert.equal(await say('ACC-00417 please', other), 'You said: ACC-00417 please')
    assert.ok(first.last.text.includes('ACC-00417'))
  })

  it('of a long answer every value counts, in its last record too', async () => {
    const usual = world.bank.answer
    const accounts = Array.from({ length: 1500 }, (_, i) => ({
      ...ACCOUNT,
      memo: `parcel ${i}-QX`,
    }))
    world.bank.answer = (_seen, res) => {
      json(res, { accounts })
    }
    const reader = world.agent('reader')
    try {
      const reply = await reader.ask({ path: '/bank/v1/accounts' })
      assert.equal((reply.body['accounts'] as Json[]).length, 1500)
    } finally {
      world.bank.answer = usual
    }
    const text = 'is parcel 1499-QX, or parcel 1500-QX, late?'
    assert.equal(await say(text, clientOf(reader)), `You said: ${text}`)
    assert.ok(!first.last.text.includes('1499'))
    assert.ok(first.last.text.includes('1500-QX'))
  })

  it('a system that denies does not send anything', async () => {
    const before = first.asked.length
    const strict = clientOf(teller, 'strict')
    const failed = await say('about ACC-00417', strict).catch((error: unknown) => error)
    assert.ok(failed instanceof OpenAI.PermissionDeniedError)
    assert.equal(failed.code, 'SP_LLM_DATA')
    assert.match(failed.message, /SP_LLM_DATA, decision dec_\w+\): leave out the data/)
    assert.equal(first.asked.length, before)
    assert.equal(await say('about nothing', strict), 'You said: about nothing')
  })

  it('values stand nowhere else in a request either', async () => {
    const before = first.asked.length
    for (const body of [
      { messages: [{ role: 'user', name: 'ACC-00417', content: 'x' }] },
      { messages: [{ role: 'user', content: 'x', 'ACC-00417': 1 }] },
      { messages: [{ role: 'tool', tool_call_id: 'ACC-00417', content: 'x' }] },
      { messages: [{ role: 'user', name: 'bob@example.com', content: 'x' }] },
    ]) {
      const reply = await teller.ask({
        path: '/models/v1/chat/completions',
        body: { model: 'small', ...body },
      })
      assert.equal(reply.status, 403)
      assert.equal((reply.body['error'] as Json)['code'], 'SP_LLM_DATA')
    }
    assert.equal(first.asked.length, before)
    const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }
    for (const content of [[image], [{ type: 'input_file', file_id: 'f' }]]) {
      const reply = await teller.ask({
        path: '/models/v1/chat/completions',
        body: { model: 'small', messages: [{ role: 'user', content }] },
      })
      assert.equal((reply.body['error'] as Json)['code'], 'SP_LLM_OPAQUE')
    }
  })

  it('what a vendor would do by itself is refused', async () => {
    const before = first.asked.length
    for (const [path, more] of [
      ['chat/completions', { messages: [], web_search_options: {} }],
      ['chat/completions', { messages: [], tools: [{ type: 'web_search', name: 'x' }] }],
      ['chat/completions', { messages: [], store: true }],
      ['chat/completions', { messages: [], max_tokens: 1001 }],
      ['chat/completions', { messages: [], n: 100 }],
      ['responses', { input: 'x', previous_response_id: 'resp_1' }],
      [
        'responses',
        { input: 'x', tools: [{ type: 'mcp', name: 'x', server_url: 'https://evil.example' }] },
      ],
      ['embeddings', { input: 'x', stream: true }],
    ] as const) {
      const reply = await teller.ask({
        path: `/models/v1/${path}`,
        body: { model: 'small', ...more },
      })
      assert.equal(reply.status, 400, JSON.stringify(reply.body))
      assert.equal((reply.body['error'] as Json)['code'], 'SP_LLM_REQUEST')
    }
    for (const path of ['/models/v1/files', '/models/v1/messages', '/claude/v1/responses']) {
      assert.equal((await teller.ask({ path, body: { model: 'small' } })).status, 403)
    }
    assert.equal(first.asked.length, before)
  })

  it('denials are what the clients raise, at once and not again', async () => {
    const lapsed = clientOf(teller, 'lapsed')
    const before = [world.gateway.stats().refused, first.asked.length]
    const failed = await say('hello', lapsed).catch((error: unknown) => error)
    assert.ok(failed instanceof OpenAI.PermissionDeniedError)
    assert.equal(failed.code, 'SP_LLM_REVIEW_EXPIRED')
    assert.match(failed.message, /reviewed again/)
    assert.deepEqual(
      [world.gateway.stats().refused, first.asked.length],
      [Number(before[0]) + 1, before[1]],
    )

    const policy = openai.chat.completions.create({
      model: 'small',
      messages: [{ role: 'user', content: 'x' }],
      tools: [{ type: 'function', function: { name: 'wire_money', parameters: {} } }],
    })
    await assert.rejects(policy, (error: unknown) => {
      assert.ok(error instanceof OpenAI.PermissionDeniedError)
      assert.equal(error.code, 'SP_DENIED_FORBIDDEN')
      return true
    })
    await assert.rejects(say('x', openai, 'unheard-of'), OpenAI.PermissionDeniedError)
    await assert.rejects(say('x', clientOf(world.agent('stranger'))), { code: 'SP_NO_FLOW' })
    const key = say('x', clientOf(teller, 'models', { apiKey: 'sk-a-key-of-my-own' }))
    await assert.rejects(key, OpenAI.AuthenticationError)

    world.plane.limit = 'refuse'
    const limited = await say('x').catch((error: unknown) => error)
    assert.ok(limited instanceof OpenAI.RateLimitError)
    assert.equal(limited.code, 'SP_LIMIT_REACHED')
    const other = await claude.messages
      .create({ model: 'opus', max_tokens: 5, messages: [{ role: 'user', content: 'x' }] })
      .catch((error: unknown) => error)
    assert.ok(other instanceof Anthropic.RateLimitError)
    assert.match(other.message, /SP_LIMIT_REACHED, decision dec_/)
  })

  it('budgets are reserved for the most a call may take, and settled for what it took', async () => {
    const { plane } = world
    await say('budget')
    const [tokens, money] = plane.reserved
      .slice(-2)
      .toSorted((a, b) => word(b['limitId']).localeCompare(word(a['limitId'])))
    assert.equal(tokens?.['limitId'], 'model-tokens')
    assert.ok(Number(tokens?.['amount']) > 1000)
    assert.ok(Number(money?.['amount']) > 400_000)
    const before = plane.settled.length
    await until(() => plane.settled.length >= before || plane.settled.length >= 2)
    await until(() => plane.settled.slice(-2).every(({ commit }) => commit))
    const amounts = plane.settled.slice(-2).map(({ amount }) => amount)
    assert.deepEqual(
      amounts.toSorted((a, b) => Number(a) - Number(b)),
      [18, 11 * 100 + 7 * 400],
    )
  })

  const script = (text: string): string => {
    let out = chunk({ role: 'assistant', content: '' })
    for (let i = 0; i < text.length; i += 3) out += chunk({ content: text.slice(i, i + 3) })
    return `${out}${chunk({}, 'stop')}data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'small', choices: [], usage })}\n\ndata: [DONE]\n\n`
  }

  it('streams are restored wherever they are cut', async () => {
    const text = `Account ACC-00417 holds 73155: ${SECRET_MEMO}`
    for (const size of [1, 2, 3, 7, 64, 100_000]) {
      first.answer = (asked, res) =>
        void inSlices(res, script(`You said: ${lastText(asked)} ☕`), size)
      const stream = await openai.chat.completions.create({
        model: 'small',
        stream: true,
        messages: [{ role: 'user', content: text }],
      })
      let out = ''
      let finish: unknown
      for await (const part of stream) {
        assert.equal(part.choices.length, 1, 'nobody asked for the usage')
        out += part.choices[0]?.delta.content ?? ''
        finish = part.choices[0]?.finish_reason ?? finish
      }
      assert.equal(out, `You said: ${text} ☕`)
      assert.equal(finish, 'stop')
      assert.deepEqual(first.last.body['stream_options'], { include_usage: true })
    }
  })

  it('tool calls in a stream are valid JSON with what they mean in it', async () => {
    first.answer = (asked, res) => {
      const [memo = ''] = TOKEN.exec(lastText(asked)) ?? []
      const args = JSON.stringify({ note: `the "${memo}"`, n: 1 })
      const call = (more: Json): string => chunk({ tool_calls: [{ index: 0, ...more }] })
      let out = chunk({ role: 'assistant', content: null })
      out += call({ id: 'call_1', type: 'function', function: { name: 'note', arguments: '' } })
      for (let i = 0; i < args.length; i += 2) {
        out += call({ function: { arguments: args.slice(i, i + 2) } })
      }
      void inSlices(res, `${out}${chunk({}, 'tool_calls')}data: [DONE]\n\n`, 11)
    }
    const runner = openai.chat.completions.stream({
      model: 'small',
      messages: [{ role: 'user', content: SECRET_MEMO }],
    })
    const final = await runner.finalChatCompletion()
    const [call] = final.choices[0]?.message.tool_calls ?? []
    assert.ok(call?.type === 'function')
    assert.deepEqual(JSON.parse(call.function.arguments), { note: `the "${SECRET_MEMO}"`, n: 1 })
  })

  it('a stream that stops in the middle is an error, not an answer', async () => {
    first.answer = (_asked, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.end(chunk({ content: 'half an ans' }))
    }
    const stream = await openai.chat.completions.create({
      model: 'lone',
      stream: true,
      messages: [{ role: 'user', content: 'x' }],
    })
    await assert.rejects(async () => {
      for await (const _part of stream);
    })
  })

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
    const whole = await openai.responses.create({ model: 'small', input })
    assert.equal(whole.output_text, `You said: ${input}`)
    assert.equal(first.last.body['store'], false)
    assert.ok(!first.last.text.includes('ACC-00417'))
    const stream = openai.responses.stream({ model: 'small', input })
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
    const { data } = await openai.embeddings.create({
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
    const whole = await claude.messages.create(ask)
    const expected = [
      { type: 'text', text: `You said: ${SECRET_MEMO}` },
      { type: 'tool_use', id: 'toolu_1', name: 'note', input: { note: SECRET_MEMO } },
    ]
    assert.deepEqual(whole.content, expected)
    assert.equal(first.last.headers['x-api-key'], 'vendor-key-0')
    assert.equal(first.last.headers['anthropic-version'], '2023-06-01')
    assert.ok(!first.last.text.includes('Blue Boar'))
    const { instance } = (await teller.ask({ path: '/.sallyport/whoami' })).body
    const labelled = (): boolean =>
      world.plane
        .records()
        .some(
          (record) =>
            record.kind === 'labels' &&
            record.instance === instance &&
            record.added.includes('model-output'),
        )
    await until(labelled)
    const final = await claude.messages.stream(ask).finalMessage()
    assert.deepEqual(
      final.content.map((block) =>
        Object.fromEntries(Object.entries(block).filter(([key]) => key !== 'citations')),
      ),
      expected,
    )
    await assert.rejects(
      claude.messages.create({ ...ask, max_tokens: 5000 }),
      Anthropic.BadRequestError,
    )
  })

  it('secrets, and what only others read, do not come out of a model', async () => {
    const other = world.agent('teller', 'i3')
    const key = `ghp_${'a1B2'.repeat(9)}`
    first.answer = (_asked, res) => {
      json(res, completion(`key ${key}, account ACC-00417, memo ${SECRET_MEMO}, done`))
    }
    const said = await say('tell me', clientOf(other))
    assert.equal(said, 'key [withheld], account [withheld], memo [withheld], done')
    // Whose it is gets it.
    assert.equal(
      await say('tell me'),
      `key [withheld], account ACC-00417, memo ${SECRET_MEMO}, done`,
    )
    first.answer = (_asked, res) =>
      void inSlices(res, script(`key ${key}, account ACC-00417, done`), 5)
    const stream = await clientOf(other).chat.completions.create({
      model: 'lone',
      stream: true,
      messages: [{ role: 'user', content: 'tell me' }],
    })
    let out = ''
    for await (const part of stream) out += part.choices[0]?.delta.content ?? ''
    assert.equal(out, 'key [withheld], account [withheld], done')
    await until(() =>
      world.plane
        .records()
        .some((record) => record.kind === 'event' && record.event === 'model-output-withheld'),
    )
  })

  it('another model stands in for one that does not answer, never one whose vendor may read less', async () => {
    for (const fail of [
      (_asked: Asked, res: Parameters<ModelServer['answer']>[1]) => res.writeHead(500).end('boom'),
      (_asked: Asked, res: Parameters<ModelServer['answer']>[1]) => res.writeHead(429).end('{}'),
      (_asked: Asked, res: Parameters<ModelServer['answer']>[1]) => res.destroy(),
    ]) {
      first.answer = fail
      assert.equal(await say('hello'), 'from another')
      assert.equal(second.last.path, '/v1/chat/completions')
    }
    second.answer = first.answer
    const before = third.asked.length
    await assert.rejects(
      say('hello', clientOf(teller, 'models', { maxRetries: 0 })),
      OpenAI.InternalServerError,
    )
    assert.equal(third.asked.length, before)
    await assert.rejects(say('hello', clientOf(teller, 'models', { maxRetries: 0 }), 'lone'))
    // What a vendor finds wrong with a request is no outage.
    first.answer = (_asked, res) => res.writeHead(400).end('{}')
    const asked = second.asked.length
    await assert.rejects(say('hello'), OpenAI.BadRequestError)
    assert.equal(second.asked.length, asked)
  })

  it('a token is for the system that was called: no model of another stands in by it, or without the one it demands', async () => {
    first.answer = (_asked, res) => res.writeHead(500).end('boom')
    const before = third.asked.length
    const once = { maxRetries: 0 }
    await assert.rejects(say('hello', clientOf(teller, 'guest', once)), OpenAI.InternalServerError)
    assert.equal(third.asked.length, before)
    const me = word((await teller.ask({ path: '/.sallyport/whoami' })).body['instance'])
    const apiKey = await issuer.token(me, {
      aud: 'https://gateway.test.example/models',
      scope: 'chat',
    })
    const asked = second.asked.length
    const tokened = clientOf(teller, 'models', { ...once, apiKey })
    await assert.rejects(say('hello', tokened), OpenAI.InternalServerError)
    assert.equal(second.asked.length, asked)
    // Without a token the same is answered by the other, and with it by the one that was called.
    assert.equal(await say('hello'), 'from another')
    first.answer = (_asked, res) => {
      json(res, completion('from the first'))
    }
    assert.equal(await say('hello', tokened), 'from the first')
  })

  it('after a restart an instance that had read may not tell what is not known any more', async () => {
    await world.restart()
    const failed = await say('hello', clientOf(world.agent('teller'))).catch(
      (error: unknown) => error,
    )
    assert.ok(failed instanceof OpenAI.PermissionDeniedError, String(failed))
    assert.equal(failed.code, 'SP_LLM_UNTRACKED')
    assert.equal(await say('hello', clientOf(world.agent('teller', 'i9'))), 'You said: hello')
  })
})
