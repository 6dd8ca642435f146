import assert from 'node:assert/strict'
import { test } from 'node:test'
import { reachability } from '@sallyport/network'
import {
  emitNetworkPolicy,
  emitNftables,
  interpretNetworkPolicy,
  interpretNftables,
  verifySegments,
} from '@sallyport/segments'
import type { Addresses } from '@sallyport/segments'
import fc from 'fast-check'
import { anyNetwork, meridian } from './networks.ts'

const network = await meridian()
const wanted = reachability(network)
const addresses: Addresses = Object.fromEntries(
  wanted.nodes
    .filter((node) => node !== 'world')
    .map((node, i) => [node, { address: `10.9.0.${i + 1}`, interface: `veth${i}` }]),
)

const both = [
  { target: 'network-policy', equal: true, missing: [], extra: [] },
  { target: 'nftables', equal: true, missing: [], extra: [] },
]

test('both targets of the example are equal to its matrix', () => {
  assert.ok(wanted.allowed.size > 50)
  assert.deepEqual(verifySegments(network), both)
})

test('both targets of random networks are equal to their matrices', () => {
  let flows = 0
  fc.assert(
    fc.property(anyNetwork, (random) => {
      flows += random.flows.length
      assert.deepEqual(verifySegments(random), both)
    }),
    { numRuns: 100 },
  )
  assert.ok(flows > 20, 'the random networks have flows')
})

/** What the interpreter finds let through beyond (+) or short of (-) the matrix. */
function difference(allowed: ReadonlySet<string>): string[] {
  return [
    ...[...allowed].filter((entry) => !wanted.allowed.has(entry)).map((entry) => `+${entry}`),
    ...[...wanted.allowed].filter((entry) => !allowed.has(entry)).map((entry) => `-${entry}`),
  ]
}

const change = (text: string, from: string | RegExp, to: string): string => {
  const changed = text.replace(from, () => to)
  assert.notEqual(changed, text, 'the test must change something')
  return changed
}

const policy = emitNetworkPolicy(network)
const EVERY_POLICY = /policyTypes:\n\s+- Ingress\n\s+- Egress/g
const policyMutants: readonly (readonly [
  string,
  string | RegExp,
  string,
  'egress' | 'ingress',
  RegExp,
])[] = [
  [
    'an AND of selectors made an OR',
    /(name: agent-monitor\n[^]*?kubernetes\.io\/metadata\.name: meridian-plane\n)( +)  podSelector/,
    '',
    'egress',
    /^\+agent\/monitor\|gateway\|7444\|tcp$/,
  ],
  [
    'a port list lost',
    /\n +ports:\n +- protocol: TCP\n +port: 7101/,
    '',
    'ingress',
    /^\+gateway\|service\/core-banking\|0\|tcp$/,
  ],
  [
    'a wider port range',
    'port: 7101',
    'port: 7101\n          endPort: 7105',
    'ingress',
    /^\+gateway\|service\/core-banking\|7102\|tcp$/,
  ],
  [
    'an ingress that is open',
    EVERY_POLICY,
    'policyTypes:\n    - Egress',
    'ingress',
    /^\+world\|agent\/monitor\|0\|udp$/,
  ],
  [
    'an egress that is open',
    EVERY_POLICY,
    'policyTypes:\n    - Ingress',
    'egress',
    /^\+agent\/monitor\|world\|0\|udp$/,
  ],
  [
    'a world that holds the inside',
    / +- 10\.0\.0\.0\/8\n/,
    '',
    'egress',
    /^\+gateway\|agent\/monitor\|443\|tcp$/,
  ],
  [
    'a lost flow',
    'port: 7101',
    'port: 7999',
    'ingress',
    /^-gateway\|service\/core-banking\|7101\|tcp$/,
  ],
]
for (const [what, from, to, ends, expected] of policyMutants) {
  test(`the NetworkPolicy interpreter sees ${what}`, () => {
    // The first mutant keeps what it captured and starts a new list item before podSelector.
    const changed =
      to === '' && what.startsWith('an AND')
        ? policy.replace(from, '$1$2- podSelector')
        : change(policy, from, to)
    assert.notEqual(changed, policy)
    const found = difference(interpretNetworkPolicy(changed, { ends }).allowed)
    assert.ok(
      found.some((entry) => expected.test(entry)),
      found.join('\n') || 'no difference',
    )
  })
}

test('the NetworkPolicy interpreter refuses what it does not know', () => {
  for (const [from, to] of [
    ['podSelector:', 'podSelecter:'],
    ['policyTypes:', 'policyType:'],
    ['kind: NetworkPolicy', 'kind: ClusterNetworkPolicy'],
    ['port: 7101', 'port: http'],
    ['10.0.0.0/8', 'fd00::/8'],
  ] as const) {
    const text = change(policy, from, to)
    assert.throws(() => interpretNetworkPolicy(text), { code: 'SP_SEGMENT_UNREADABLE' }, from)
  }
  assert.deepEqual(difference(interpretNetworkPolicy(policy).allowed), [])
})

const ruleset = emitNftables(network, addresses)
const rulesetMutants: readonly (readonly [string, string | RegExp, string, RegExp])[] = [
  ['a default that accepts', 'policy drop', 'policy accept', /^\+/],
  ['a rule without its set', 'ip saddr . ip daddr . tcp dport @sp_tcp accept', 'accept', /^\+/],
  [
    'the way out for everyone',
    'ip daddr != @sp_nodes ip saddr . tcp dport @sp_outward accept',
    'ip daddr != @sp_nodes accept',
    /^\+.*\|world\|/,
  ],
  ['a lost flow', / . 7101,/, ' . 7999,', /^-gateway\|service\/core-banking\|7101\|tcp$/],
  ['a source check that refuses all', 'iifname . ip saddr != @sp_origins drop', 'drop', /^-/],
]
for (const [what, from, to, expected] of rulesetMutants) {
  test(`the nftables interpreter sees ${what}`, () => {
    const found = difference(interpretNftables(change(ruleset, from, to)).allowed)
    assert.ok(
      found.some((entry) => expected.test(entry)),
      found.join('\n') || 'no difference',
    )
  })
}

test('a quarantine that comes after connection tracking is found not to cut', () => {
  const node = 'agent/monitor'
  const touching = (text: string): number =>
    [...interpretNftables(text, { quarantined: [node], state: 'established' }).allowed].filter(
      (entry) => entry.startsWith(`${node}|`) || entry.includes(`|${node}|`),
    ).length
  assert.equal(touching(ruleset), 0)
  const quarantine = '    ip saddr @sp_quarantined drop\n    ip daddr @sp_quarantined drop\n'
  const late = change(ruleset, quarantine, '').replace(
    'ct state established,related accept\n',
    () => `ct state established,related accept\n${quarantine}`,
  )
  assert.ok(touching(late) > 0)
})

test('the nftables interpreter refuses what it does not know', () => {
  for (const [from, to] of [
    ['hook forward', 'hook output'],
    ['ct state established', 'meta mark 1 ct state established'],
    ['@sp_quarantined drop', '@sp_quarantined jump other'],
    ['  set sp_bound {', '  map sp_bound {'],
    ['table inet sallyport {', 'table ip sallyport {'],
  ] as const) {
    assert.throws(
      () => interpretNftables(change(ruleset, from, to)),
      { code: 'SP_SEGMENT_UNREADABLE' },
      from,
    )
  }
})

test('nodes without an address of their own, or with a hostile interface name, are refused', () => {
  const [first = ''] = Object.keys(addresses)
  for (const bad of [
    undefined,
    { address: '10.9.0' },
    { address: '10.9.0.2' },
    { address: '::1' },
    { address: '10.9.0.1', interface: 'a" accept; "' },
  ]) {
    const { [first]: _, ...others } = addresses
    assert.throws(() => emitNftables(network, bad ? { ...others, [first]: bad } : others), {
      code: 'SP_SEGMENT_ADDRESS',
    })
  }
})
