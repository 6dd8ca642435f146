import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDecider } from '@sallyport/decide'
import type { Call } from '@sallyport/decide'
import { loadDeclaration } from '@sallyport/network'

const TIME = Date.UTC(2026, 10, 2, 10)

test('the example of models: what its declaration says is what is decided', async () => {
  const file = new URL('../../../examples/models/network.yaml', import.meta.url).pathname
  const declaration = await loadDeclaration({ networkFile: file })
  const decider = await createDecider({ declaration })
  const ask = (
    agent: string,
    system: string,
    operation: string,
    over: { readonly tools?: string[]; readonly most?: number; readonly labels?: string[] } = {},
  ): string => {
    const { tools = [], most = 1000, labels = [] } = over
    const call: Call = {
      instance: `spiffe://models.example/agent/${agent}/i1`,
      agent,
      system,
      operation,
      input: {
        model:
          declaration.network.systems.find(({ name }) => name === system)?.llm?.models[0]?.name ??
          '',
        inputTokens: 100,
        maxOutputTokens: most,
        tokens: 100 + most,
        cost: 1,
        stream: false,
        tools,
        redacted: 0,
      },
      time: TIME,
      evidence: { approvals: [] },
    }
    return decider.decide(call, { labels, risk: 0 }).code
  }
  assert.equal(ask('analyst', 'openai', 'chat'), 'SP_ALLOWED')
  assert.equal(ask('analyst', 'openai', 'chat', { labels: ['pii'] }), 'SP_DENIED_FORBIDDEN')
  assert.equal(ask('analyst', 'own', 'chat', { labels: ['pii'] }), 'SP_ALLOWED')
  const tools = ['close_alert']
  assert.equal(ask('analyst', 'own', 'chat', { tools }), 'SP_ALLOWED')
  assert.equal(
    ask('analyst', 'own', 'chat', { tools, labels: ['untrusted'] }),
    'SP_DENIED_FORBIDDEN',
  )
  assert.equal(ask('analyst', 'anthropic', 'message'), 'SP_NO_FLOW')
  assert.equal(ask('drafter', 'anthropic', 'message'), 'SP_ALLOWED')
  assert.equal(ask('drafter', 'anthropic', 'message', { most: 2001 }), 'SP_DENIED_NOT_PERMITTED')
})
