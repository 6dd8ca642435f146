import assert from 'node:assert/strict'
import { test } from 'node:test'
import { API, MINIMAL } from './minimal.ts'
import { parseNetwork } from '@sallyport/network'

const CA = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
const FILES: Readonly<Record<string, string>> = {
  'bank.yaml': API,
  'web.pem': CA,
  'partner.json': '{"keys":[]}',
}
const WEB = "{ url: 'https://partner.example/bundle', profile: https_web, caFile: web.pem }"
const SPIFFE =
  "{ url: 'https://other.example:8443/b', profile: https_spiffe, spiffeId: 'spiffe://other.example/server', bundleFile: partner.json }"
const declared = (entries: string): string =>
  MINIMAL.replace('operators:', `federation:\n${entries}\noperators:`)
const parse = (entries: string): ReturnType<typeof parseNetwork> =>
  parseNetwork(declared(entries), {
    file: 'network.yaml',
    readFile: (name) => FILES[name] ?? '',
  })

test('other trust domains are declared with address and profile, and with what proves the server', () => {
  const { network, problems } = parse(`  partner.example: ${WEB}\n  other.example: ${SPIFFE}`)
  assert.deepEqual(problems, [])
  assert.deepEqual(network?.federation, [
    {
      trustDomain: 'partner.example',
      url: 'https://partner.example/bundle',
      profile: 'https_web',
      ca: CA,
    },
    {
      trustDomain: 'other.example',
      url: 'https://other.example:8443/b',
      profile: 'https_spiffe',
      spiffeId: 'spiffe://other.example/server',
      bundle: '{"keys":[]}',
    },
  ])
})

test('a relationship that leaves something to be guessed is refused', () => {
  const own = /trustDomain: (\S+)/.exec(MINIMAL)?.[1] ?? ''
  const wrong: readonly [string, string][] = [
    [`  ${own}: ${WEB}`, 'SP_NETWORK_RULE'],
    [`  other.example: ${SPIFFE.replace(/, spiffeId: '[^']*'/, '')}`, 'SP_NETWORK_RULE'],
    [`  other.example: ${SPIFFE.replace(', bundleFile: partner.json', '')}`, 'SP_NETWORK_RULE'],
    [`  else.example: ${SPIFFE}`, 'SP_NETWORK_RULE'],
    [
      `  other.example: ${WEB.replace('caFile: web.pem', 'bundleFile: partner.json')}`,
      'SP_NETWORK_RULE',
    ],
    [
      `  other.example: ${SPIFFE.replace('bundleFile', 'caFile: web.pem, bundleFile')}`,
      'SP_NETWORK_RULE',
    ],
    [`  other.example: ${WEB.replace('https://', 'http://')}`, 'SP_NETWORK_STRUCTURE'],
    [`  other.example: ${WEB.replace('https_web', 'http')}`, 'SP_NETWORK_STRUCTURE'],
    [`  Other.Example: ${WEB}`, 'SP_NETWORK_STRUCTURE'],
    [`  other.example: { profile: https_web }`, 'SP_NETWORK_STRUCTURE'],
  ]
  for (const [entries, code] of wrong) {
    const { problems } = parse(entries)
    assert.ok(problems.length > 0, entries)
    assert.equal(
      problems[0]?.code.startsWith(code.slice(0, 11)),
      true,
      `${entries} ${problems[0]?.code}`,
    )
    if (code === 'SP_NETWORK_RULE') assert.equal(problems[0]?.code, code, entries)
  }
})
