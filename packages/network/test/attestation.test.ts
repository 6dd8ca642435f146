import assert from 'node:assert/strict'
import { test } from 'node:test'
import { API, MINIMAL } from './minimal.ts'
import { parseNetwork } from '@sallyport/network'

const CA = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
const FILES: Readonly<Record<string, string>> = {
  'bank.yaml': API,
  'machines.pem': CA,
  'cluster.json': '{"keys":[]}',
}
const DECLARED = MINIMAL.replace(
  'reader: { owner: us, segment: inner, roles: [reads] }',
  `reader:
    owner: us
    segment: inner
    roles: [reads]
    attest:
      unix: { uid: 1001, path: /opt/agents/reader }
      x509pop: { dnsName: reader.bank.example }
      kubernetes: { namespace: agents, serviceAccount: reader }`,
).replace(
  'operators:',
  `attestors:
  x509pop: { caFile: machines.pem }
  kubernetes: { issuer: 'https://cluster.local', audience: sallyport, keysFile: cluster.json }
operators:`,
)
const parse = (text: string): ReturnType<typeof parseNetwork> =>
  parseNetwork(text, { file: 'network.yaml', readFile: (name) => FILES[name] ?? '' })
const codes = (text: string): string[] => parse(text).problems.map(({ code }) => code)
const other = (attest: string): string =>
  DECLARED.replace(
    'attestors:',
    `  writer: { owner: us, segment: inner, attest: ${attest} }\nattestors:`,
  )

test('an agent says what its instances prove, and the network who checks it', () => {
  const { network, problems } = parse(DECLARED)
  assert.deepEqual(problems, [])
  assert.deepEqual(network?.agents[0]?.attest, {
    unix: { uid: 1001, path: '/opt/agents/reader' },
    x509pop: { dnsName: 'reader.bank.example' },
    kubernetes: { namespace: 'agents', serviceAccount: 'reader' },
  })
  assert.deepEqual(network?.attestors, {
    x509pop: { ca: CA },
    kubernetes: { issuer: 'https://cluster.local', audience: 'sallyport', keys: '{"keys":[]}' },
  })
})

test('refused: a proof that nobody checks, a cluster that nothing verifies', () => {
  assert.deepEqual(codes(DECLARED.replace('  x509pop: { caFile: machines.pem }\n', '')), [
    'SP_NETWORK_REFERENCE',
  ])
  assert.deepEqual(codes(DECLARED.replace(', keysFile: cluster.json', '')), ['SP_NETWORK_RULE'])
})

test('refused: one proof for two agents; not so where anything tells them apart', () => {
  for (const attest of [
    '{ unix: { uid: 1001 } }',
    '{ unix: { uid: 1001, gid: 7 } }',
    '{ x509pop: { dnsName: reader.bank.example } }',
    '{ kubernetes: { namespace: agents, serviceAccount: reader } }',
  ]) {
    assert.deepEqual(codes(other(attest)), ['SP_NETWORK_DUPLICATE'], attest)
  }
  for (const attest of [
    '{ unix: { uid: 1002 } }',
    '{ unix: { uid: 1001, path: /opt/agents/writer } }',
    '{ x509pop: { dnsName: writer.bank.example } }',
    '{ kubernetes: { namespace: other, serviceAccount: reader } }',
  ]) {
    assert.deepEqual(codes(other(attest)), [], attest)
  }
})

test('refused: paths that mean something else than they say', () => {
  for (const path of ['opt/x', '/opt/../x', '/opt/./x', '/opt//x', '/opt/x/', '/']) {
    assert.notEqual(codes(DECLARED.replace('/opt/agents/reader', path)).length, 0, path)
  }
})
