import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseNetwork } from '../src/index.ts'

const VENDOR =
  '{ name: Acme, region: eu, retentionDays: 0, reviewer: olga, reviewed: 2026-01-01, reviewBy: 2027-01-01 }'
const TEXT = `
name: bank
trustDomain: bank.example
quorum: 1
segments: { zone: { owner: o } }
agents: { reader: { owner: o, segment: zone } }
operators: { olga: { displayName: Olga, roles: [admin] } }
services: { local: { owner: o, segment: zone } }
systems:
  models:
    owner: o
    segment: zone
    protocol: llm
    llm:
      dialect: openai
      vendor: ${VENDOR}
      mayRead: internal
      models:
        small: { maxOutputTokens: 1000, price: { input: 25, output: 200 }, fallback: [spare/qwen3:8b] }
    upstream: { url: 'https://api.example/v1', serverName: api.example }
    operations: { chat: { kind: read }, embed: { kind: read, from: embeddings } }
  spare:
    owner: o
    segment: zone
    protocol: llm
    llm:
      dialect: openai
      vendor: ${VENDOR}
      mayRead: confidential
      above: deny
      standIns: form
      find: [identifiers, names]
      answerTags: [untrusted]
      models: { 'qwen3:8b': { maxOutputTokens: 500 } }
    upstream: { service: local, port: 8000 }
    operations: { chat: { kind: read } }
flows: [{ from: reader, to: models, operations: [chat, embed], purpose: reading }]
limits:
  tokens: { agents: [reader], operations: [models.chat], windowSeconds: 60, maxSum: { input: tokens, max: 1000 } }
`
const parsed = (text: string): ReturnType<typeof parseNetwork> =>
  parseNetwork(text, { file: 'network.yaml', readFile: () => '' })
const codes = (text: string): string[] =>
  parsed(text).problems.map(({ code, message }) => `${code} ${message}`)

test('operations of a model server are its endpoints, typed for policies and budgets', () => {
  const { network, problems } = parsed(TEXT)
  assert.deepEqual(problems, [])
  const [models, spare] = network?.systems ?? []
  const [chat, embed] = models?.operations ?? []
  assert.deepEqual(chat?.binding, { kind: 'llm', surface: 'chat' })
  assert.deepEqual(embed?.binding, { kind: 'llm', surface: 'embeddings' })
  assert.deepEqual(Object.keys(chat?.input.members ?? {}), [
    'model',
    'inputTokens',
    'maxOutputTokens',
    'tokens',
    'cost',
    'stream',
    'tools',
    'redacted',
  ])
  assert.deepEqual(chat?.input.members['model']?.schema, {
    type: 'string',
    maxLength: 128,
    enum: ['small'],
  })
  assert.deepEqual([models?.llm?.above, models?.llm?.find], ['redact', ['identifiers']])
  assert.deepEqual([models?.llm?.standIns, spare?.llm?.standIns], [undefined, 'form'])
  assert.deepEqual([spare?.llm?.above, spare?.llm?.find], ['deny', ['identifiers', 'names']])
  assert.deepEqual(spare?.llm?.answerTags, ['untrusted'])
})

test('what does not add up is refused', () => {
  for (const [from, to, expected] of [
    ['reviewer: olga', 'reviewer: olaf', /^SP_NETWORK_REFERENCE there is no operator `olaf`/],
    ['reviewBy: 2027-01-01', 'reviewBy: 2025-01-01', /^SP_NETWORK_RULE the review of/],
    ['reviewBy: 2027-01-01', 'reviewBy: 2027-02-30', /^SP_NETWORK_RULE the review of/],
    ['mayRead: confidential', 'mayRead: public', /^SP_NETWORK_RULE .*may read less/],
    [
      '    upstream: { service: local, port: 8000 }',
      '    onBehalfOf: person\n    upstream: { service: local, port: 8000 }',
      /^SP_NETWORK_RULE .*a token of its own/,
    ],
    ['spare/qwen3:8b', 'spare/other', /^SP_NETWORK_RULE .*no such model/],
    ['spare/qwen3:8b', 'models/small', /^SP_NETWORK_RULE .*the same/],
    ['from: embeddings', 'from: messages', /^SP_NETWORK_REFERENCE .*no operation `messages`/],
    ['protocol: llm', 'protocol: http', /^SP_NETWORK_SHAPE/],
    ['mayRead: internal', 'mayRead: all', /^SP_NETWORK_SHAPE/],
    ['  llm:', '  openapi: a.yaml\n    llm:', /^SP_NETWORK_SHAPE/],
  ] as const) {
    const text = TEXT.replace(from, to)
    assert.notEqual(text, TEXT)
    const [first = ''] = codes(text)
    assert.match(first, expected)
  }
  const anthropic = TEXT.replace('dialect: openai\n', 'dialect: anthropic\n').replaceAll(
    '{ chat: { kind: read }, embed: { kind: read, from: embeddings } }',
    '{ chat: { kind: read, from: messages } }',
  )
  assert.match(codes(anthropic).join('\n'), /speaks another dialect/)
})
