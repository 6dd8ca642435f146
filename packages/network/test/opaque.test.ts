import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isOwnAddress, plainUpstreams, reachability } from '@sallyport/network'
import type { Network } from '@sallyport/network'
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

const plain = (url: string, more = "plaintext: 'the mainframe speaks no TLS'"): string =>
  declared({ upstream: `{ url: '${url}', ${more} }` })

test('plain TCP is declared with its reason, and counted where it stands', () => {
  const { network, problems } = parse(plain('tcp://mainframe.example:1414'))
  assert.deepEqual(problems, [])
  assert.ok(network)
  const vault = network.systems.find(({ name }) => name === 'vault')
  const upstream = { url: 'tcp://mainframe.example:1414', plaintext: 'the mainframe speaks no TLS' }
  assert.deepEqual(vault?.upstream, { kind: 'plain', ...upstream })
  assert.deepEqual(plainUpstreams(network), [{ system: 'vault', ...upstream }])
  // Segments open it as they open one with TLS, once a flow leads there.
  const used = {
    ...network,
    flows: [{ ...network.flows[0], id: 'f', from: 'reader', to: 'vault' }],
  }
  assert.ok(reachability(used as Network).allowed.has('gateway|world|1414|tcp'))
  assert.ok(!reachability(network).allowed.has('gateway|world|1414|tcp'))
  for (const url of [
    'tcp://10.1.2.3:1',
    'tcp://[fd12::1]:65535',
    'tcp://mf-1.bank.internal:9876',
  ]) {
    assert.deepEqual(parse(plain(url)).problems, [], url)
  }
})

for (const host of [
  ...['localhost', 'a.localhost', 'LOCALHOST', 'localhost.', '127.0.0.1', '127.9.9.9', '0.0.0.0'],
  ...[
    '127.1',
    '0x7f.1',
    '2130706433',
    '0x7f000001',
    '169.254.169.254',
    '224.0.0.1',
    '255.255.255.255',
  ],
  ...['100.100.100.200', '168.63.129.16', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]'],
  ...['[fe80::1]', '[ff02::1]', '[fd00:ec2::254]', '[64:ff9b::a9fe:a9fe]', '[64:ff9b::127.0.0.1]'],
]) {
  test(`no system is at ${host}: it is whoever opens it`, () => {
    const { problems } = parse(plain(`tcp://${host}:80`))
    assert.deepEqual(
      problems.map(({ code }) => code),
      ['SP_NETWORK_PLAINTEXT'],
      JSON.stringify(problems),
    )
  })
}

test('an address of another system is not taken for one of this machine', () => {
  for (const one of [
    '10.0.0.1',
    '172.16.3.4',
    '192.168.1.1',
    '100.64.0.1',
    '9.9.9.9',
    '::ffff:10.0.0.1',
    '64:ff9b::a00:1',
    'fd12::1',
    '2001:db8::7f00:1',
  ]) {
    assert.ok(!isOwnAddress(one), one)
  }
  for (const one of ['127.0.0.1', 'fe80::1%eth0', '::1', '::ffff:a9fe:a9fe', 'no address', '']) {
    assert.ok(isOwnAddress(one), one)
  }
})

for (const [what, text, codes] of [
  [
    'plain TCP without a reason',
    plain('tcp://m.example:1', '').replace(', }', ' }'),
    ['SP_NETWORK_SHAPE'],
  ],
  [
    'plain TCP with a reason that says nothing',
    plain('tcp://m.example:1', 'plaintext: legacy'),
    ['SP_NETWORK_SHAPE'],
  ],
  [
    'plain TCP with an empty reason',
    plain('tcp://m.example:1', "plaintext: ''"),
    ['SP_NETWORK_SHAPE'],
  ],
  [
    'plain TCP with the name of a certificate',
    plain('tcp://m.example:1', "plaintext: 'no TLS', serverName: m.example"),
    ['SP_NETWORK_UNKNOWN_KEY'],
  ],
  [
    'plain TCP with a credential',
    plain('tcp://m.example:1', "plaintext: 'no TLS', credential: { header: a, secret: b }"),
    ['SP_NETWORK_UNKNOWN_KEY'],
  ],
  [
    'a reason for TLS',
    plain('tls://m.example:1', "serverName: m.example, plaintext: 'no TLS'"),
    ['SP_NETWORK_UNKNOWN_KEY'],
  ],
  ['plain TCP without a port', plain('tcp://m.example'), ['SP_NETWORK_SHAPE']],
  ['plain TCP at port 0', plain('tcp://m.example:0'), ['SP_NETWORK_SHAPE']],
  ['plain TCP at no port', plain('tcp://m.example:65536'), ['SP_NETWORK_SHAPE']],
  ['plain TCP with a path', plain('tcp://m.example:1/x'), ['SP_NETWORK_SHAPE']],
  ['plain TCP with a user', plain('tcp://a@m.example:1'), ['SP_NETWORK_SHAPE']],
  ['another scheme', plain('udp://m.example:1'), ['SP_NETWORK_SHAPE', 'SP_NETWORK_UNKNOWN_KEY']],
  [
    'plain TCP of a system that is read',
    declared().replace(
      'upstream: { service: ledger, port: 7000 }',
      "upstream: { url: 'tcp://v.example:1', plaintext: 'no TLS there' }",
    ),
    ['SP_NETWORK_PLAINTEXT'],
  ],
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
