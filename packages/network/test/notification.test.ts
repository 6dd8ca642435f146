import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isBackchannelPing, parseNetwork } from '@sallyport/network'
import { API, MINIMAL } from './minimal.ts'

const CA = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
const FILES: Readonly<Record<string, string>> = { 'bank.yaml': API, 'web.pem': CA }
const parse = (ping: string): ReturnType<typeof parseNetwork> =>
  parseNetwork(
    MINIMAL.replace('roles: [reads] }', `roles: [reads], backchannelPing: { ${ping} } }`),
    { file: 'network.yaml', readFile: (name) => FILES[name] ?? '' },
  )
const declared = (ping: string): unknown => parse(ping).network?.agents[0]?.backchannelPing

test('where an agent is told of decisions is declared with its CA, https only', () => {
  const url = 'https://desk.bank.example:8443/ciba'
  assert.deepEqual(declared(`url: '${url}'`), { url })
  assert.deepEqual(declared(`url: '${url}', caFile: web.pem`), { url, ca: CA })
  assert.equal(isBackchannelPing({ url, ca: CA }), true)
  for (const bad of [
    'http://desk.bank.example/ciba',
    'https://user@desk.bank.example/ciba',
    'https://desk.bank.example/ciba?next=https://elsewhere.example',
    'https://desk.bank.example/ciba#x',
    'https:///ciba',
    'https://desk.bank.example:99999/',
    'desk.bank.example',
  ]) {
    assert.equal(isBackchannelPing({ url: bad }), false, bad)
    // The last port is a text like any other to the schema, and no URL.
    if (!bad.includes('99999')) assert.notDeepEqual(parse(`url: '${bad}'`).problems, [], bad)
  }
  for (const odd of [null, 'https://a', {}, { url, ca: 1 }])
    assert.equal(isBackchannelPing(odd), false)
})
