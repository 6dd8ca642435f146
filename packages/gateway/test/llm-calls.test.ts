import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { chunk, completion, manyModels } from './support/many-models.ts'
import type { Asked, ModelServer } from './support/models.ts'
import { json } from './support/service.ts'
import { until, word } from './support/world.ts'
import type { Json } from './support/world.ts'

describe('calls to models', () => {
  const models = manyModels()
  const { first, second, third, issuer, clientOf, say } = models

  it('answers OpenAI’s own client, with the key of the gateway and none of the agent’s', async () => {
    assert.equal(await say('Hello there'), 'You said: Hello there')
    const { path, headers, body } = first.last
    assert.equal(path, '/v1/chat/completions')
    assert.equal(headers['authorization'], 'Bearer vendor-key-0')
    assert.equal(headers['x-stainless-lang'], undefined)
    assert.equal(body['max_completion_tokens'], 1000)
    const names = (await models.openai.models.list()).data.map(({ id }) => id)
    assert.deepEqual(names, ['small', 'lone'])
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
      const reply = await models.teller.ask({
        path: `/models/v1/${path}`,
        body: { model: 'small', ...more },
      })
      assert.equal(reply.status, 400, JSON.stringify(reply.body))
      assert.equal((reply.body['error'] as Json)['code'], 'SP_LLM_REQUEST')
    }
    for (const path of ['/models/v1/files', '/models/v1/messages', '/claude/v1/responses']) {
      assert.equal((await models.teller.ask({ path, body: { model: 'small' } })).status, 403)
    }
    assert.equal(first.asked.length, before)
  })

  it('denials are what the clients raise, at once and not again', async () => {
    const lapsed = clientOf(models.teller, 'lapsed')
    const before = [models.world.gateway.stats().refused, first.asked.length]
    const failed = await say('hello', lapsed).catch((error: unknown) => error)
    assert.ok(failed instanceof OpenAI.PermissionDeniedError)
    assert.equal(failed.code, 'SP_LLM_REVIEW_EXPIRED')
    assert.match(failed.message, /reviewed again/)
    assert.deepEqual(
      [models.world.gateway.stats().refused, first.asked.length],
      [Number(before[0]) + 1, before[1]],
    )

    const policy = models.openai.chat.completions.create({
      model: 'small',
      messages: [{ role: 'user', content: 'x' }],
      tools: [{ type: 'function', function: { name: 'wire_money', parameters: {} } }],
    })
    await assert.rejects(policy, (error: unknown) => {
      assert.ok(error instanceof OpenAI.PermissionDeniedError)
      assert.equal(error.code, 'SP_DENIED_FORBIDDEN')
      return true
    })
    await assert.rejects(say('x', models.openai, 'unheard-of'), OpenAI.PermissionDeniedError)
    await assert.rejects(say('x', clientOf(models.world.agent('stranger'))), { code: 'SP_NO_FLOW' })
    const key = say('x', clientOf(models.teller, 'models', { apiKey: 'sk-a-key-of-my-own' }))
    await assert.rejects(key, OpenAI.AuthenticationError)

    models.world.plane.limit = 'refuse'
    const limited = await say('x').catch((error: unknown) => error)
    assert.ok(limited instanceof OpenAI.RateLimitError)
    assert.equal(limited.code, 'SP_LIMIT_REACHED')
    const other = await models.claude.messages
      .create({ model: 'opus', max_tokens: 5, messages: [{ role: 'user', content: 'x' }] })
      .catch((error: unknown) => error)
    assert.ok(other instanceof Anthropic.RateLimitError)
    assert.match(other.message, /SP_LIMIT_REACHED, decision dec_/)
  })

  it('budgets are reserved for the most a call may take, and settled for what it took', async () => {
    const { plane } = models.world
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

  it('a stream that stops in the middle is an error, not an answer', async () => {
    first.answer = (_asked, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.end(chunk({ content: 'half an ans' }))
    }
    const stream = await models.openai.chat.completions.create({
      model: 'lone',
      stream: true,
      messages: [{ role: 'user', content: 'x' }],
    })
    await assert.rejects(async () => {
      for await (const _part of stream);
    })
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
      say('hello', clientOf(models.teller, 'models', { maxRetries: 0 })),
      OpenAI.InternalServerError,
    )
    assert.equal(third.asked.length, before)
    await assert.rejects(say('hello', clientOf(models.teller, 'models', { maxRetries: 0 }), 'lone'))
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
    await assert.rejects(
      say('hello', clientOf(models.teller, 'guest', once)),
      OpenAI.InternalServerError,
    )
    assert.equal(third.asked.length, before)
    const me = word((await models.teller.ask({ path: '/.sallyport/whoami' })).body['instance'])
    const apiKey = await issuer.token(me, {
      aud: 'https://gateway.test.example/models',
      scope: 'chat',
    })
    const asked = second.asked.length
    const tokened = clientOf(models.teller, 'models', { ...once, apiKey })
    await assert.rejects(say('hello', tokened), OpenAI.InternalServerError)
    assert.equal(second.asked.length, asked)
    // Without a token the same is answered by the other, and with it by the one that was called.
    assert.equal(await say('hello'), 'from another')
    first.answer = (_asked, res) => {
      json(res, completion('from the first'))
    }
    assert.equal(await say('hello', tokened), 'from the first')
  })
})
