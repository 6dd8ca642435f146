import { after, before, beforeEach } from 'node:test'
import assert from 'node:assert/strict'
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { fetchOf, ModelServer, modelSystem, worldOfModels } from './models.ts'
import type { Asked } from './models.ts'
import { json } from './service.ts'
import { TestIssuer } from './tokens.ts'
import { ACCOUNT, word } from './world.ts'
import type { Json, TestAgent, World } from './world.ts'

export const SECRET_MEMO = 'meet Zoë at the "Blue Boar" in Elm Street'
export const TOKEN: RegExp = /RECORD_[0-9A-Z]{12}/

const usage = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 }
export const completion = (content: string | null, more: Json = {}): unknown => ({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1,
  model: 'small',
  choices: [{ index: 0, message: { role: 'assistant', content, ...more }, finish_reason: 'stop' }],
  usage,
})
export const chunk = (delta: unknown, finish: string | null = null): string =>
  `data: ${JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'small',
    choices: [{ index: 0, delta, finish_reason: finish }],
  })}\n\n`
export const lastText = ({ body }: Asked): string => {
  const messages = (body['messages'] ?? body['input']) as Json[]
  return word(messages.at(-1)?.['content'])
}
export const script = (text: string): string => {
  let out = chunk({ role: 'assistant', content: '' })
  for (let i = 0; i < text.length; i += 3) out += chunk({ content: text.slice(i, i + 3) })
  return `${out}${chunk({}, 'stop')}data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'small', choices: [], usage })}\n\ndata: [DONE]\n\n`
}

/** A gateway with models behind it that may read more and less, a caller that read something, and its clients. */
export interface Models {
  readonly first: ModelServer
  readonly second: ModelServer
  readonly third: ModelServer
  readonly issuer: TestIssuer
  readonly world: World
  /** It has read an account with `SECRET_MEMO`. */
  readonly teller: TestAgent
  readonly openai: OpenAI
  readonly claude: Anthropic
  readonly clientOf: (agent: TestAgent, system?: string, more?: object) => OpenAI
  /** @returns what a model answers */
  readonly say: (content: string, client?: OpenAI, model?: string) => Promise<string>
}

/** Sets up before the tests of a suite, and anew what models answer before each. World and clients are there in tests only. */
export function manyModels(): Models {
  const first = new ModelServer()
  const second = new ModelServer()
  const third = new ModelServer()
  const issuer = new TestIssuer()
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
    const world = await worldOfModels(
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
        modelSystem('formed', second, {
          dialect: 'openai',
          standIns: 'form',
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
    const teller = world.agent('teller')
    const claude = new Anthropic({
      apiKey: 'sallyport',
      baseURL: 'https://gateway.invalid/claude',
      fetch: fetchOf(teller),
    })
    const read = await teller.ask({ path: '/bank/v1/accounts/ACC-00417' })
    assert.deepEqual((read.body['account'] as Json)['memo'], SECRET_MEMO)
    Object.assign(models, { world, teller, openai: clientOf(teller), claude })
  })
  after(async () => {
    await models.world.close()
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
    models.world.plane.limit = 'grant'
  })

  const say = (content: string, client = models.openai, model = 'small'): Promise<string> =>
    client.chat.completions
      .create({ model, messages: [{ role: 'user', content }] })
      .then(({ choices }) => choices[0]?.message.content ?? '')
  // The rest is put in before any test runs.
  const models = { first, second, third, issuer, clientOf, say } as Models
  return models
}
