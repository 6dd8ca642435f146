import assert from 'node:assert/strict'
import { test } from 'node:test'
import { API, MINIMAL } from './minimal.ts'
import { foreignAgentEnds, foreignAgentsOf, indexNetwork, parseNetwork } from '@sallyport/network'

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

const withAgents = (agents: string): string =>
  `  partner.example: ${WEB.replace(' }', `, agents: ${agents} }`)}`
const SETTLER =
  "settler: { path: '/agent/settler/*', owner: payments, purpose: settlement, until: '2027-02-28' }"

test('agents of another trust domain are declared with path, owner, purpose and end, and named with their domain', () => {
  const { network, problems } = parse(withAgents(`{ ${SETTLER} }`))
  assert.deepEqual(problems, [])
  const [agent] = network ? foreignAgentsOf(network) : []
  assert.ok(network && agent)
  assert.deepEqual(agent, {
    ...{ name: 'settler@partner.example', trustDomain: 'partner.example' },
    ...{ path: '/agent/settler/*', description: '', owner: 'payments', purpose: 'settlement' },
    until: '2027-02-28',
  })
  assert.equal(foreignAgentEnds(agent), Date.UTC(2027, 2, 1))
  const index = indexNetwork(network)
  const is = (id: string): boolean => index.isInstanceOf(id, agent.name)
  assert.equal(is('spiffe://partner.example/agent/settler/i1'), true)
  for (const id of [
    'spiffe://partner.example/agent/settler',
    'spiffe://partner.example/agent/settler/i1/x',
    'spiffe://partner.example/agent/settlers/i1',
    'spiffe://other.example/agent/settler/i1',
    `spiffe://${network.trustDomain}/agent/settler/i1`,
  ]) {
    assert.equal(is(id), false, id)
  }
})

test('a foreign agent that leaves something to be guessed, or is another one too, is refused', () => {
  const other = (path: string): string =>
    SETTLER.replace('settler:', 'other:').replace('/agent/settler/*', path)
  const wrong: readonly [string, string][] = [
    [SETTLER.replace('2027-02-28', '2027-02-30'), 'SP_NETWORK_RULE'],
    [SETTLER.replace('2027-02-28', 'soon'), 'SP_NETWORK_SHAPE'],
    [SETTLER.replace(", until: '2027-02-28'", ''), 'SP_NETWORK_SHAPE'],
    [SETTLER.replace(' owner: payments,', ''), 'SP_NETWORK_SHAPE'],
    [SETTLER.replace(' purpose: settlement,', ''), 'SP_NETWORK_SHAPE'],
    [SETTLER.replace('/agent/settler/*', '/agent/*/settler'), 'SP_NETWORK_SHAPE'],
    [SETTLER.replace('/agent/settler/*', '/*'), 'SP_NETWORK_SHAPE'],
    [SETTLER.replace('/agent/settler/*', '/agent/../*'), 'SP_NETWORK_RULE'],
    [`${SETTLER}, ${other('/agent/settler/*')}`, 'SP_NETWORK_RULE'],
    [`${SETTLER}, ${other('/agent/settler/one')}`, 'SP_NETWORK_RULE'],
    [`${other('/agent/settler/one')}, ${SETTLER}`, 'SP_NETWORK_RULE'],
  ]
  for (const [agents, code] of wrong) {
    const { network, problems } = parse(withAgents(`{ ${agents} }`))
    assert.equal(network, undefined, agents)
    assert.equal(problems[0]?.code, code, agents)
  }
  assert.deepEqual(parse(withAgents(`{ ${SETTLER}, ${other('/agent/other/*')} }`)).problems, [])
})

test('flows and limits name foreign agents with their domain, and only declared ones', () => {
  const from = (name: string) =>
    parseNetwork(
      declared(withAgents(`{ ${SETTLER} }`)).replace(/from: [a-z-]+/, `from: '${name}'`),
      { file: 'network.yaml', readFile: (file) => FILES[file] ?? '' },
    )
  assert.deepEqual(from('settler@partner.example').problems, [])
  for (const name of ['settler', 'auditor@partner.example', 'settler@other.example']) {
    assert.equal(from(name).problems[0]?.code, 'SP_NETWORK_REFERENCE', name)
  }
})
