import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import OpenAI from 'openai'
import {
  SECRET_MEMO,
  TOKEN,
  chunk,
  completion,
  lastText,
  script,
  manyModels,
} from './support/many-models.ts'
import { inSlices } from './support/models.ts'
import { json } from './support/service.ts'
import { ACCOUNT, until, word } from './support/world.ts'
import type { Json } from './support/world.ts'

describe('what a model gets to read, and says', () => {
  const models = manyModels()
  const { first, second, clientOf, say } = models

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
    await models.openai.chat.completions.create({
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
    const spare = clientOf(models.teller, 'spare')
    second.answer = first.answer
    assert.equal(await say('ACC-00417 please', spare), 'You said: ACC-00417 please')
    assert.ok(second.last.text.includes('ACC-00417'))
    const other = clientOf(models.world.agent('teller', 'i2'))
    assert.equal(await say('ACC-00417 please', other), 'You said: ACC-00417 please')
    assert.ok(first.last.text.includes('ACC-00417'))
  })

  it('of a long answer every value counts, in its last record too', async () => {
    const usual = models.world.bank.answer
    const accounts = Array.from({ length: 1500 }, (_, i) => ({
      ...ACCOUNT,
      memo: `parcel ${i}-QX`,
    }))
    models.world.bank.answer = (_seen, res) => {
      json(res, { accounts })
    }
    const reader = models.world.agent('reader')
    try {
      const reply = await reader.ask({ path: '/bank/v1/accounts' })
      assert.equal((reply.body['accounts'] as Json[]).length, 1500)
    } finally {
      models.world.bank.answer = usual
    }
    const text = 'is parcel 1499-QX, or parcel 1500-QX, late?'
    assert.equal(await say(text, clientOf(reader)), `You said: ${text}`)
    assert.ok(!first.last.text.includes('1499'))
    assert.ok(first.last.text.includes('1500-QX'))
  })

  it('a system that denies does not send anything', async () => {
    const before = first.asked.length
    const strict = clientOf(models.teller, 'strict')
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
      const reply = await models.teller.ask({
        path: '/models/v1/chat/completions',
        body: { model: 'small', ...body },
      })
      assert.equal(reply.status, 403)
      assert.equal((reply.body['error'] as Json)['code'], 'SP_LLM_DATA')
    }
    assert.equal(first.asked.length, before)
    const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }
    for (const content of [[image], [{ type: 'input_file', file_id: 'f' }]]) {
      const reply = await models.teller.ask({
        path: '/models/v1/chat/completions',
        body: { model: 'small', messages: [{ role: 'user', content }] },
      })
      assert.equal((reply.body['error'] as Json)['code'], 'SP_LLM_OPAQUE')
    }
  })

  it('streams are restored wherever they are cut', async () => {
    const text = `Account ACC-00417 holds 73155: ${SECRET_MEMO}`
    for (const size of [1, 2, 3, 7, 64, 100_000]) {
      first.answer = (asked, res) =>
        void inSlices(res, script(`You said: ${lastText(asked)} ☕`), size)
      const stream = await models.openai.chat.completions.create({
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
    const runner = models.openai.chat.completions.stream({
      model: 'small',
      messages: [{ role: 'user', content: SECRET_MEMO }],
    })
    const final = await runner.finalChatCompletion()
    const [call] = final.choices[0]?.message.tool_calls ?? []
    assert.ok(call?.type === 'function')
    assert.deepEqual(JSON.parse(call.function.arguments), { note: `the "${SECRET_MEMO}"`, n: 1 })
  })

  it('secrets, and what only others read, do not come out of a model', async () => {
    const other = models.world.agent('teller', 'i3')
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
      models.world.plane
        .records()
        .some((record) => record.kind === 'event' && record.event === 'model-output-withheld'),
    )
  })

  it('a secret without end goes neither way', async () => {
    const endless = `-----BEGIN PRIVATE KEY----- ${'QUFB\n'.repeat(10_000)}`
    const once = clientOf(models.teller, 'models', { maxRetries: 0 })
    const before = first.asked.length
    const asked = await say(endless, once, 'lone').catch((error: unknown) => error)
    assert.ok(asked instanceof OpenAI.BadRequestError)
    assert.equal(asked.code, 'SP_REDACT_ENDLESS')
    assert.equal(first.asked.length, before)
    first.answer = (_asked, res) => {
      json(res, completion(endless))
    }
    const answered = await say('hello', once, 'lone').catch((error: unknown) => error)
    assert.ok(answered instanceof OpenAI.InternalServerError)
    assert.equal(answered.code, 'SP_UPSTREAM_RESPONSE')
  })

  it('after a restart an instance that had read may not tell what is not known any more', async () => {
    await models.world.restart()
    const failed = await say('hello', clientOf(models.world.agent('teller'))).catch(
      (error: unknown) => error,
    )
    assert.ok(failed instanceof OpenAI.PermissionDeniedError, String(failed))
    assert.equal(failed.code, 'SP_LLM_UNTRACKED')
    assert.equal(
      await say('hello', clientOf(models.world.agent('teller', 'i9'))),
      'You said: hello',
    )
  })
})
