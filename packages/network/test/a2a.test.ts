import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MINIMAL, API, parse } from './minimal.ts'

const CARD = {
  name: 'Clerk',
  description: 'Works.',
  version: '1',
  supportedInterfaces: [{ url: 'https://x', protocolBinding: 'JSONRPC', protocolVersion: '1.0' }],
  capabilities: { streaming: true },
  defaultInputModes: ['text/plain'],
  defaultOutputModes: ['text/plain'],
  skills: [{ id: 'explain', name: 'Explain', description: 'Explains.', tags: ['a'] }],
  signatures: [{ protected: 'a', signature: 'b' }],
}
const LEGACY = {
  ...CARD,
  supportedInterfaces: undefined,
  protocolVersion: '0.3.0',
  url: 'https://x',
  preferredTransport: 'JSONRPC',
}

const declared = (a2a: string, returns = '{ text: public }'): string =>
  MINIMAL.replace(
    'datasets:\n',
    `  clerk:
    owner: us
    segment: inner
    protocol: a2a
    a2a: ${a2a}
    upstream: { service: ledger, port: 7001 }
    operations:
      explain: { kind: read, returns: ${returns} }
datasets:
  remarks: { system: clerk, owner: us, fields: { id: internal } }
`,
  )

const read = (a2a: string, files: Record<string, unknown>, returns?: string) =>
  parse(declared(a2a, returns), {
    'bank.yaml': API,
    ...Object.fromEntries(
      Object.entries(files).map(([name, value]) => [
        name,
        typeof value === 'string' ? value : JSON.stringify(value),
      ]),
    ),
  })

test('skills of a card are operations; what is pinned does not depend on signatures or order', () => {
  const { network, problems } = read('{ card: c.json }', { 'c.json': CARD })
  assert.deepEqual(problems, [])
  const clerk = network?.systems.find(({ name }) => name === 'clerk')
  assert.equal(clerk?.a2a?.speaks, '1.0')
  assert.equal(clerk.a2a.streaming, true)
  assert.deepEqual(clerk.operations[0]?.input.members, {
    text: { schema: { type: 'string', maxLength: 65_536 }, required: true },
  })
  const digestOf = (card: object): unknown =>
    read('{ card: c.json }', { 'c.json': card }).network?.systems.find(
      ({ name }) => name === 'clerk',
    )?.a2a?.cardDigest
  const { signatures: _gone, ...unsigned } = CARD
  const other = Object.fromEntries(Object.entries(unsigned).toReversed())
  assert.equal(digestOf(other), clerk.a2a.cardDigest)
  assert.notEqual(digestOf({ ...CARD, description: 'Works well.' }), clerk.a2a.cardDigest)
  const legacy = read('{ card: c.json }', { 'c.json': LEGACY })
  assert.equal(legacy.network?.systems.find(({ name }) => name === 'clerk')?.a2a?.speaks, '0.3')
})

test('what a skill takes is typed as declared', () => {
  const inputs = {
    skills: {
      explain: {
        text: 'question',
        inputSchema: {
          type: 'object',
          additionalProperties: false,
          required: ['question'],
          properties: { question: { type: 'string', maxLength: 9 }, page: { type: 'integer' } },
        },
      },
    },
  }
  const { network } = read('{ card: c.json, inputs: i.json }', { 'c.json': CARD, 'i.json': inputs })
  const operation = network?.systems.find(({ name }) => name === 'clerk')?.operations[0]
  assert.ok(operation?.binding.kind === 'a2a')
  assert.equal(operation.binding.text, 'question')
  assert.deepEqual(Object.keys(operation.input.members), ['question', 'page'])
})

const [skill] = CARD.skills
const key = { kty: 'EC', crv: 'P-256', x: 'a', y: 'b', kid: 'k' }
for (const [what, a2a, files, code] of [
  ['a card that is missing', '{ card: c.json }', {}, 'SP_NETWORK_FILE'],
  ['a card that is no JSON', '{ card: c.json }', { 'c.json': '{' }, 'SP_NETWORK_A2A'],
  [
    'a card with a key twice',
    '{ card: c.json }',
    { 'c.json': '{"name":"a","name":"b"}' },
    'SP_NETWORK_A2A',
  ],
  ['a card that is a list', '{ card: c.json }', { 'c.json': [] }, 'SP_NETWORK_A2A'],
  [
    'a card without skills',
    '{ card: c.json }',
    { 'c.json': { ...CARD, skills: undefined } },
    'SP_NETWORK_A2A',
  ],
  [
    'a skill twice',
    '{ card: c.json }',
    { 'c.json': { ...CARD, skills: [skill, skill] } },
    'SP_NETWORK_A2A',
  ],
  [
    'another skill',
    '{ card: c.json }',
    { 'c.json': { ...CARD, skills: [{ ...skill, id: 'other' }] } },
    'SP_NETWORK_REFERENCE',
  ],
  [
    'gRPC alone',
    '{ card: c.json }',
    {
      'c.json': {
        ...CARD,
        supportedInterfaces: [{ url: 'x', protocolBinding: 'GRPC', protocolVersion: '1.0' }],
      },
    },
    'SP_NETWORK_A2A',
  ],
  [
    'a later revision',
    '{ card: c.json }',
    { 'c.json': { ...LEGACY, protocolVersion: '2.0' } },
    'SP_NETWORK_A2A',
  ],
  [
    'a private key',
    '{ card: c.json, keys: k.json }',
    { 'c.json': CARD, 'k.json': { keys: [{ ...key, d: 'x' }] } },
    'SP_NETWORK_A2A',
  ],
  [
    'a shared secret',
    '{ card: c.json, keys: k.json }',
    { 'c.json': CARD, 'k.json': { keys: [{ kty: 'oct', k: 'x', kid: 'k' }] } },
    'SP_NETWORK_A2A',
  ],
  [
    'no keys',
    '{ card: c.json, keys: k.json }',
    { 'c.json': CARD, 'k.json': { keys: [] } },
    'SP_NETWORK_A2A',
  ],
  [
    'inputs of another skill',
    '{ card: c.json, inputs: i.json }',
    { 'c.json': CARD, 'i.json': { skills: { x: {} } } },
    'SP_NETWORK_A2A',
  ],
  [
    'a text into nothing',
    '{ card: c.json, inputs: i.json }',
    {
      'c.json': CARD,
      'i.json': {
        skills: {
          explain: {
            text: 'x',
            inputSchema: { type: 'object', additionalProperties: false, properties: {} },
          },
        },
      },
    },
    'SP_NETWORK_A2A',
  ],
  [
    'a push without TLS',
    "{ card: c.json, push: ['http://x.example/a'] }",
    { 'c.json': CARD },
    'SP_NETWORK_SHAPE',
  ],
  [
    'a push with a user',
    "{ card: c.json, push: ['https://a@x.example/a'] }",
    { 'c.json': CARD },
    'SP_NETWORK_SHAPE',
  ],
  ...[
    ...['localhost', 'LOCALHOST:8443', 'localhost.', 'x.localhost', '127.0.0.1', '127.1'],
    ...['2130706433', '0x7f.0.0.1', '0.0.0.0', '169.254.169.254', '256.1.1.1'],
  ].map(
    (host) =>
      [
        `a push to ${host}`,
        `{ card: c.json, push: ['https://${host}/a'] }`,
        { 'c.json': CARD },
        'SP_NETWORK_A2A',
      ] as const,
  ),
] as const) {
  test(`refused: ${what}`, () => {
    const { network, problems } = read(a2a, files)
    assert.equal(network, undefined)
    assert.deepEqual([...new Set(problems.map((problem) => problem.code))], [code])
  })
}

test('a peer that may push past every projection returns nothing that is projected', () => {
  const a2a =
    "{ card: c.json, push: ['https://x.example/a', 'https://10.1.2.3:8443', 'https://hooks.local/'] }"
  assert.deepEqual(read(a2a, { 'c.json': CARD }).problems, [])
  const { problems } = read(a2a, { 'c.json': CARD }, "{ 'data.note': remarks }")
  assert.deepEqual(
    problems.map(({ code }) => code),
    ['SP_PEP_INCAPABLE'],
  )
  assert.deepEqual(
    read('{ card: c.json }', { 'c.json': CARD }, "{ 'data.note': remarks }").problems,
    [],
  )
})
