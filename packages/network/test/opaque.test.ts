import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MINIMAL, parse } from './minimal.ts'

const declared = (over: Readonly<Record<string, string>> = {}, more = ''): string => {
  const parts = {
    protocol: 'opaque',
    opaque: '{ maxBytesUp: 1000 }',
    upstream: '{ service: ledger, port: 7001 }',
    operations: '{ connect: { kind: write } }',
    ...over,
  }
  const system = Object.entries(parts)
    .map(([name, value]) => `    ${name}: ${value}\n`)
    .join('')
  return (
    MINIMAL.replace(
      'datasets:\n',
      `  vault:\n    owner: us\n    segment: inner\n${system}datasets:\n`,
    ) + more
  )
}

test('an opaque system has bounds, and one operation without input', () => {
  const { network, problems } = parse(declared())
  assert.deepEqual(problems, [])
  const vault = network?.systems.find(({ name }) => name === 'vault')
  assert.deepEqual(vault?.opaque, {
    ...{ maxBytesUp: 1000, maxBytesDown: 104_857_600, maxSeconds: 3600, idleSeconds: 300 },
    ...{ holds: 'restricted', answerTags: [] },
  })
  assert.deepEqual(vault.operations[0]?.input.members, {})
  const outside = "{ url: 'tls://vault.example:6000', serverName: vault.example }"
  assert.deepEqual(parse(declared({ upstream: outside })).problems, [])
})

for (const [what, text, codes] of [
  [
    'a projection',
    declared({ operations: '{ connect: { kind: write, returns: { a: public } } }' }),
    ['SP_PEP_INCAPABLE'],
  ],
  [
    'an argument',
    declared({ operations: '{ connect: { kind: write, subject: a } }' }),
    ['SP_PEP_INCAPABLE', 'SP_NETWORK_REFERENCE'],
  ],
  ['a read', declared({ operations: '{ connect: { kind: read } }' }), ['SP_PEP_INCAPABLE']],
  [
    'several operations',
    declared({ operations: '{ connect: { kind: write }, put: { kind: write, from: connect } }' }),
    ['SP_PEP_INCAPABLE'],
  ],
  ['a token of a person', declared({ onBehalfOf: 'person' }), ['SP_PEP_INCAPABLE']],
  [
    'a credential',
    declared({
      upstream:
        "{ url: 'tls://v.example:1', serverName: v.example, credential: { header: a, secret: b } }",
    }),
    ['SP_PEP_INCAPABLE'],
  ],
  [
    'a data set',
    declared().replace(
      'datasets:\n',
      'datasets:\n  inside: { system: vault, owner: us, fields: { id: internal } }\n',
    ),
    ['SP_PEP_INCAPABLE'],
  ],
  [
    'a sum',
    declared(
      {},
      '  sums: { agents: [reader], operations: [vault.connect], windowSeconds: 60, maxSum: { input: amount, max: 5 } }\n',
    ),
    ['SP_PEP_INCAPABLE', 'SP_NETWORK_RULE'],
  ],
  [
    'a web address',
    declared({ upstream: "{ url: 'https://v.example', serverName: v.example }" }),
    ['SP_NETWORK_RULE', 'SP_NETWORK_SHAPE'],
  ],
  [
    'an address without a port',
    declared({ upstream: "{ url: 'tls://v.example', serverName: v.example }" }),
    ['SP_NETWORK_SHAPE'],
  ],
  [
    'an unknown operation',
    declared({ operations: '{ put: { kind: write } }' }),
    ['SP_NETWORK_REFERENCE'],
  ],
  ['a description beside it', declared({ tools: 'a.json' }), ['SP_NETWORK_SHAPE']],
  [
    'tls of a system that is read',
    declared().replace(
      'upstream: { service: ledger, port: 7000 }',
      "upstream: { url: 'tls://v.example:1', serverName: v.example }",
    ),
    ['SP_NETWORK_RULE'],
  ],
] as const) {
  test(`refused of an opaque system: ${what}`, () => {
    const { network, problems } = parse(text)
    assert.equal(network, undefined)
    assert.deepEqual(
      [...new Set(problems.map(({ code }) => code))].toSorted(),
      [...codes].toSorted(),
      JSON.stringify(problems),
    )
  })
}
