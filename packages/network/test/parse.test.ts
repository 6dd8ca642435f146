import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { networkJsonSchema } from '@sallyport/network'
import { API, MINIMAL, parse } from './minimal.ts'

/** `code line:column` of each problem. */
const places = (text: string, files?: Record<string, string>): string[] =>
  parse(text, files).problems.map((p) => `${p.code} ${p.span.line}:${p.span.column}`)

test('a whole declaration resolves, with defaults filled in', () => {
  const { network, problems } = parse(MINIMAL)
  assert.deepEqual(problems, [])
  assert.equal(network?.settings.svidTtlSeconds, 900)
  assert.equal(network?.settings.quarantineAtRisk, undefined)
  assert.equal(network?.flows[0]?.id, 'reader-to-bank')
  const [operation] = network?.systems[0]?.operations ?? []
  assert.deepEqual(operation?.binding, {
    kind: 'http',
    method: 'POST',
    path: '/v1/accounts/{account}/payments',
    parameters: { account: 'path', dry: 'query', amount: 'body', to: 'body', labels: 'body' },
  })
  assert.deepEqual(operation?.input.members['to'], {
    required: true,
    schema: {
      type: 'record',
      members: {
        iban: {
          required: true,
          schema: {
            type: 'string',
            maxLength: 34,
            pattern: '^[\\s\\S]{5,}$',
            tokenOf: 'account',
          },
        },
      },
    },
  })
  assert.deepEqual(operation?.input.members['amount']?.schema, {
    type: 'long',
    minimum: 1,
    maximum: 5000,
  })
  assert.deepEqual(operation?.input.members['labels']?.schema, {
    type: 'set',
    maxItems: 5,
    items: { type: 'string', maxLength: 4096, enum: ['a', 'b'] },
  })
})

test('the published JSON Schema is the one that is enforced', () => {
  const published: unknown = JSON.parse(
    readFileSync(new URL('../schema/network.schema.json', import.meta.url), 'utf8'),
  )
  assert.deepEqual(published, networkJsonSchema)
})

test('unknown keys are refused where they stand, all of them, with the nearest known key', () => {
  const text = MINIMAL.replace('quorum: 1', 'quorum: 1\nsegmnts: {}').replace(
    'roles: [reads]',
    'rolls: [reads]',
  )
  const { network, problems } = parse(text)
  assert.equal(network, undefined)
  assert.deepEqual(
    problems.map((p) => [p.code, p.span.line, p.span.column]),
    [
      ['SP_NETWORK_UNKNOWN_KEY', 4, 1],
      ['SP_NETWORK_UNKNOWN_KEY', 8, 40],
    ],
  )
  assert.match(problems[0]?.message ?? '', /did you mean `segments`\?$/)
  assert.match(problems[1]?.message ?? '', /did you mean `roles`\?$/)
  for (const problem of problems) {
    assert.ok(problem.why.length > 10 && problem.fix.length > 3)
    assert.equal(problem.span.file, 'network.yaml')
  }
})

const wrong: readonly (readonly [string, string, string, string])[] = [
  ['an unknown segment', 'segment: inner, roles', 'segment: outer, roles', 'REFERENCE 7:33'],
  ['an unknown service', 'service: ledger', 'service: legder', 'REFERENCE 18:26'],
  ['an unknown agent in a flow', 'from: reader', 'from: raeder', 'REFERENCE 32:13'],
  [
    'an unknown system in a flow',
    'to: bank, operations',
    'to: bonk, operations',
    'REFERENCE 32:25',
  ],
  [
    'a flow to an operation that does not exist',
    '[pay], purpose',
    '[pay, refund], purpose',
    'REFERENCE 32:49',
  ],
  ['an operation its API does not describe', '      pay:', '      refund:', 'REFERENCE 20:7'],
  ['an unknown data set', "'payments[]': payments", "'payments[]': payment", 'REFERENCE 23:34'],
  ['a subject that is no input', 'subject: account', 'subject: person', 'REFERENCE 22:18'],
  ['a limit on an unknown operation', '[bank.pay]', '[bank.play]', 'REFERENCE 36:18'],
  ['a sum over what is no number', 'input: amount', 'input: account', 'RULE 39:22'],
  ['a sum over an unknown input', 'input: amount', 'input: total', 'RULE 39:22'],
  ['a quorum nobody can reach', 'quorum: 1', 'quorum: 2', 'QUORUM 3:9'],
  ['no admin', 'roles: [admin]', 'roles: [approver]', 'QUORUM 9:3'],
  ['a name in capitals', '  reader: {', '  Reader: {', 'SHAPE 7:3'],
  ['a flow without purpose', ', purpose: work', '', 'SHAPE 32:5'],
  ['a port out of range', 'port: 7000', 'port: 70000', 'SHAPE 18:40'],
  ['a class that is none', 'id: internal', 'id: intern', 'SHAPE 29:11'],
  ['a data set called public', '  payments:\n    system', '  public:\n    system', 'RULE 25:3'],
  ['overlapping paths', 'next: public', "'$': public", 'RETURNS 23:20'],
  [
    'a tools file for http',
    'openapi: bank.yaml',
    'openapi: bank.yaml\n    tools: t.json',
    'SHAPE 18:5',
  ],
  ['a missing API file', 'openapi: bank.yaml', 'openapi: other.yaml', 'FILE 17:14'],
  ['a duplicate key', 'quorum: 1', 'quorum: 1\nquorum: 1', 'DUPLICATE_KEY 4:1'],
  ['an anchor', 'quorum: 1', 'quorum: &a 1', 'YAML_FEATURE 3:9'],
  ['an alias', 'quorum: 1', 'quorum: *a', 'YAML_FEATURE 3:9'],
  ['a tag', 'quorum: 1', 'quorum: !!int 1', 'YAML_FEATURE 3:9'],
  ['a merge key', 'quorum: 1', 'quorum: 1\n<<: {}', 'UNKNOWN_KEY 4:1'],
  ['a prototype key', 'quorum: 1', 'quorum: 1\n__proto__: {}', 'YAML_FEATURE 4:1'],
  ['a directive', 'name: small', '%YAML 1.1\n---\nname: small', 'YAML_FEATURE 1:1'],
  ['a second document', 'name: small', 'name: x\n---\nname: small', 'YAML_FEATURE 2:1'],
  ['a number too long to hold', 'quorum: 1', 'quorum: 9007199254740993', 'YAML 3:9'],
  ['a broken text', 'quorum: 1', 'quorum: [1', 'YAML 4:1'],
]
for (const [what, from, to, expected] of wrong) {
  test(`refuses ${what}`, () => {
    assert.ok(MINIMAL.includes(from), 'the test must change something')
    assert.ok(
      places(MINIMAL.replace(from, () => to)).includes(`SP_NETWORK_${expected}`),
      places(MINIMAL.replace(from, () => to)).join('; '),
    )
    assert.equal(parse(MINIMAL.replace(from, () => to)).network, undefined)
  })
}

test('reports all faults of meaning together, in the order of the text', () => {
  const text = MINIMAL.replace('from: reader', 'from: raeder')
    .replace('segment: inner, roles', 'segment: outer, roles')
    .replace('[bank.pay]', '[bank.play]')
  assert.deepEqual(places(text), [
    'SP_NETWORK_REFERENCE 7:33',
    'SP_NETWORK_REFERENCE 32:13',
    'SP_NETWORK_REFERENCE 36:18',
  ])
})

test('two flows that share an id or an operation are refused', () => {
  const second = '  - { from: reader, to: bank, operations: [pay], purpose: play }\n'
  const text = MINIMAL.replace('limits:', `${second}limits:`)
  assert.deepEqual(places(text), ['SP_NETWORK_DUPLICATE 33:5'])
  const named = MINIMAL.replace('limits:', `${second.replace('{ from', '{ id: b, from')}limits:`)
  assert.deepEqual(places(named), ['SP_NETWORK_DUPLICATE 33:51'])
})

const apis: readonly (readonly [string, string, string, string])[] = [
  [
    'a reference out of the document',
    "'#/components/schemas/Party'",
    "'other.yaml#/Party'",
    'OPENAPI',
  ],
  [
    'a reference to nothing',
    "'#/components/schemas/Party'",
    "'#/components/schemas/Partx'",
    'OPENAPI',
  ],
  [
    'a reference to itself',
    'iban: { type: string, minLength: 5',
    "iban: { $ref: '#/components/schemas/Party' }\n        x: { type: string, minLength: 5",
    'INPUT',
  ],
  ['a fraction', 'amount: { type: integer', 'amount: { type: number, multipleOf: 1e-5', 'INPUT'],
  ['a keyword that would not be enforced', 'minimum: 1,', 'multipleOf: 5,', 'INPUT'],
  ['a map', 'additionalProperties: false', 'additionalProperties: { type: string }', 'INPUT'],
  ['a member that reads as a Cedar entity', 'labels:', '__entity:', 'INPUT'],
  ['two inputs of one name', 'name: dry', 'name: amount', 'OPENAPI'],
  ['a path parameter nobody describes', '{account}/payments', '{account}/{more}', 'OPENAPI'],
  ['a path with half a segment', '{account}/payments', 'a-{account}', 'OPENAPI'],
  ['a path that climbs', '/v1/accounts', '/v1/../accounts', 'OPENAPI'],
  [
    'a required cookie',
    'name: dry, in: query,',
    'name: dry, in: cookie, required: true,',
    'OPENAPI',
  ],
  [
    'an optional body with required members',
    'required: true\n        content',
    'required: false\n        content',
    'OPENAPI',
  ],
  ['another media type', 'application/json', 'text/plain', 'OPENAPI'],
  ['an empty range', 'minimum: 1, maximum: 5000', 'minimum: 2, maximum: 1', 'INPUT'],
  ['tokens of an unknown field', 'payments.iban', 'payments.ibn', 'REFERENCE'],
  ['OpenAPI 2', 'openapi: 3.0.3', "openapi: '2.0'", 'OPENAPI'],
]
for (const [what, from, to, code] of apis) {
  test(`refuses an API description with ${what}`, () => {
    assert.ok(API.includes(from), 'the test must change something')
    const { network, problems } = parse(MINIMAL, { 'bank.yaml': API.replace(from, () => to) })
    assert.equal(network, undefined)
    assert.ok(
      problems.some((p) => p.code === `SP_NETWORK_${code}`),
      JSON.stringify(problems),
    )
  })
}

test('an optional header that is not the caller’s is left out rather than carried', () => {
  const api = API.replace('name: dry, in: query,', 'name: Host, in: header,')
  const { network } = parse(MINIMAL, { 'bank.yaml': api })
  assert.deepEqual(
    Object.keys(network?.systems[0]?.operations[0]?.input.members ?? {}).toSorted(),
    ['account', 'amount', 'labels', 'to'],
  )
})

const MCP = MINIMAL.replace('protocol: http', 'protocol: mcp').replace(
  'openapi: bank.yaml',
  'tools: bank.json',
)
const TOOLS = JSON.stringify({
  tools: [
    {
      name: 'pay',
      description: 'Pays.',
      inputSchema: {
        type: 'object',
        required: ['account', 'amount'],
        $defs: { Iban: { type: 'string', 'x-sallyport-token-of': 'payments.iban' } },
        properties: { account: { $ref: '#/$defs/Iban' }, amount: { type: 'integer', minimum: 0 } },
      },
    },
  ],
})

test('MCP tools are imported, and callers are not shown what is tokenised', () => {
  const { network, problems } = parse(MCP, { 'bank.json': TOOLS })
  assert.deepEqual(problems, [])
  const [operation] = network?.systems[0]?.operations ?? []
  assert.equal(operation?.binding.kind, 'mcp')
  assert.deepEqual(operation?.input.members['account']?.schema, {
    type: 'string',
    maxLength: 4096,
    tokenOf: 'account',
  })
  assert.doesNotMatch(JSON.stringify(operation?.binding), /sallyport/)
})

test('refuses hostile tool lists', () => {
  const bad: readonly (readonly [string, string])[] = [
    ['{"tools":[],"tools":[]}', 'SP_NETWORK_MCP'],
    ['{"tools":{}}', 'SP_NETWORK_MCP'],
    [`{"tools":${'['.repeat(5000)}`, 'SP_NETWORK_MCP'],
    [TOOLS.replace('"#/$defs/Iban"', '"https://evil.example/x"'), 'SP_NETWORK_MCP'],
    [TOOLS.replace('"#/$defs/Iban"', '"#/$defs/toString"'), 'SP_NETWORK_INPUT'],
    [TOOLS.replace('"name":"pay"', '"name":"pay\\u0000"'), 'SP_NETWORK_MCP'],
    [TOOLS.replace('"minimum":0', '"minimum":1e400'), 'SP_NETWORK_MCP'],
  ]
  for (const [text, code] of bad) {
    const { network, problems } = parse(MCP, { 'bank.json': text })
    assert.equal(network, undefined)
    assert.ok(
      problems.some((p) => p.code === code),
      `${text}: ${JSON.stringify(problems)}`,
    )
  }
})
