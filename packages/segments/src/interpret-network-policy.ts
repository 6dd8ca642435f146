import { BlockList, isIPv4 } from 'node:net'
import { SallyportError } from '@sallyport/base'
import { reach } from '@sallyport/network'
import type { Matrix } from '@sallyport/network'
import { parseAllDocuments } from 'yaml'

// Written against the Kubernetes API reference (NetworkPolicySpec, networking.k8s.io/v1), not against the emitter:
// what this file and the emitter share is only the matrix.

type Json = Readonly<Record<string, unknown>>

interface Pod {
  readonly node: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
}

interface Policy {
  readonly namespace: string
  readonly selects: (pod: Pod) => boolean
  readonly ingress?: readonly Rule[]
  readonly egress?: readonly Rule[]
}

interface Rule {
  readonly peer: (pod: Pod | 'world') => boolean
  readonly port: (port: number, proto: 'tcp' | 'udp') => boolean
  readonly ports: readonly number[]
}

export interface NetworkPolicyOptions {
  /**
   * Which end is asked. A connection needs both, so a hole at one end is hidden while the other is shut; asked alone
   * (`egress`: of the workloads that send, `ingress`: of those that receive), each end must say what the matrix says.
   */
  readonly ends?: 'both' | 'egress' | 'ingress'
}

/** Where pods can live, and one address that is neither: what ipBlocks are tried on. */
const POD_ADDRESSES = ['10.1.2.3', '172.16.5.6', '192.168.7.8', '100.64.9.10']
const WORLD_ADDRESS = '198.51.100.7'

/** Stands for every port that no rule names. */
const ANY_OTHER_PORT = 0

/**
 * What Kubernetes would let through: every ordered pair of nodes, on every port that some rule names and on one that
 * none does (reported as port 0). Fields it does not know are refused, because the API server drops them silently.
 *
 * @throws SallyportError `SP_SEGMENT_UNREADABLE`
 */
export function interpretNetworkPolicy(text: string, options: NetworkPolicyOptions = {}): Matrix {
  const documents = parseAllDocuments(text, { uniqueKeys: true, strict: true })
  if (!Array.isArray(documents)) throw unreadable('there is no document')
  const namespaces = new Map<string, Readonly<Record<string, string>>>([
    ['kube-system', { 'kubernetes.io/metadata.name': 'kube-system' }],
  ])
  const pods: Pod[] = [{ node: 'dns', namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } }]
  const specs: { readonly namespace: string; readonly spec: Json }[] = []
  for (const document of documents) {
    if (document.errors.length > 0) throw unreadable('a document is malformed')
    const object = record(document.toJS({ maxAliasCount: 0 }), 'a document')
    const metadata = record(object['metadata'], 'metadata')
    const name = string(metadata['name'])
    if (object['kind'] === 'Namespace') {
      const labels = strings(metadata['labels'] ?? {})
      namespaces.set(name, { ...labels, 'kubernetes.io/metadata.name': name })
    } else if (object['kind'] === 'ConfigMap') {
      for (const value of Object.values(record(object['data'], 'data'))) {
        const pod = record(JSON.parse(string(value)), 'a workload')
        pods.push({
          node: string(pod['node']),
          namespace: string(pod['namespace']),
          labels: strings(pod['labels']),
        })
      }
    } else if (object['kind'] === 'NetworkPolicy') {
      if (object['apiVersion'] !== 'networking.k8s.io/v1') throw unreadable('an API version')
      specs.push({
        namespace: string(metadata['namespace']),
        spec: record(object['spec'], 'spec'),
      })
    } else throw unreadable(`the kind \`${String(object['kind'])}\``)
  }
  const policies = specs.map(({ namespace, spec }) => readPolicy(namespace, spec, namespaces))
  return evaluate(pods, policies, options.ends ?? 'both')
}

function evaluate(
  pods: readonly Pod[],
  policies: readonly Policy[],
  ends: 'both' | 'egress' | 'ingress',
): Matrix {
  const rules = policies.flatMap((p) => [...(p.ingress ?? []), ...(p.egress ?? [])])
  const ports = new Set([ANY_OTHER_PORT, ...rules.flatMap((rule) => rule.ports)])
  const everyone: readonly (Pod | 'world')[] = [...pods, 'world']
  const nodeOf = (pod: Pod | 'world'): string => (pod === 'world' ? 'world' : pod.node)
  const foreign = (pod: Pod | 'world'): boolean => pod === 'world' || pod.node === 'dns'
  const allowed = new Set<string>()
  for (const from of everyone) {
    for (const to of everyone) {
      // Traffic between two that are not ours is not ours to judge.
      if (from === to || (foreign(from) && foreign(to))) continue
      if ((ends === 'egress' && foreign(from)) || (ends === 'ingress' && foreign(to))) continue
      for (const port of ports) {
        for (const proto of ['tcp', 'udp'] as const) {
          const out =
            ends === 'ingress' ||
            from === 'world' ||
            passes('egress', from, to, port, proto, policies)
          const into =
            ends === 'egress' ||
            to === 'world' ||
            passes('ingress', to, from, port, proto, policies)
          if (out && into) allowed.add(reach(nodeOf(from), nodeOf(to), port, proto))
        }
      }
    }
  }
  return { nodes: everyone.map(nodeOf).toSorted(), allowed }
}

/** A pod that no policy of a direction selects is open in it; one that some do is limited to the union of theirs. */
function passes(
  direction: 'ingress' | 'egress',
  pod: Pod,
  other: Pod | 'world',
  port: number,
  proto: 'tcp' | 'udp',
  policies: readonly Policy[],
): boolean {
  const selecting = policies.filter((policy) => policy[direction] && policy.selects(pod))
  if (selecting.length === 0) return true
  return selecting.some((policy) =>
    policy[direction]?.some((rule) => rule.peer(other) && rule.port(port, proto)),
  )
}

function readPolicy(
  namespace: string,
  spec: Json,
  namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>,
): Policy {
  known(spec, ['podSelector', 'policyTypes', 'ingress', 'egress'])
  const selector = readSelector(spec['podSelector'])
  const types = spec['policyTypes']
    ? list(spec['policyTypes'])
    : spec['egress'] === undefined
      ? ['Ingress']
      : ['Ingress', 'Egress']
  const read = (key: 'ingress' | 'egress', peers: 'from' | 'to'): readonly Rule[] =>
    list(spec[key] ?? []).map((rule) => readRule(record(rule, key), peers, namespace, namespaces))
  return {
    namespace,
    selects: (pod) => pod.namespace === namespace && selector(pod.labels),
    ...(types.includes('Ingress') && { ingress: read('ingress', 'from') }),
    ...(types.includes('Egress') && { egress: read('egress', 'to') }),
  }
}

function readRule(
  rule: Json,
  peers: 'from' | 'to',
  namespace: string,
  namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>,
): Rule {
  known(rule, [peers, 'ports'])
  const matchers = list(rule[peers] ?? []).map((peer) =>
    readPeer(record(peer, 'a peer'), namespace, namespaces),
  )
  const ports = list(rule['ports'] ?? []).map((port) => {
    const given = record(port, 'a port')
    known(given, ['protocol', 'port', 'endPort'])
    const low = portOf(given['port'])
    const high = given['endPort'] === undefined ? low : portOf(given['endPort'])
    const proto = string(given['protocol'] ?? 'TCP').toLowerCase()
    // No port at all means every port of the protocol.
    return low === undefined || high === undefined
      ? { proto, low: 0, high: 65_535, named: [] }
      : { proto, low, high, named: [low, high] }
  })
  return {
    // An empty list of peers or of ports means all of them.
    peer: (pod) => matchers.length === 0 || matchers.some((matches) => matches(pod)),
    port: (port, proto) =>
      ports.length === 0 || ports.some((p) => p.proto === proto && port >= p.low && port <= p.high),
    ports: ports.flatMap((p) => p.named),
  }
}

function readPeer(
  peer: Json,
  own: string,
  namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>,
): (pod: Pod | 'world') => boolean {
  known(peer, ['podSelector', 'namespaceSelector', 'ipBlock'])
  if (peer['ipBlock'] !== undefined) {
    if (Object.keys(peer).length > 1) throw unreadable('a peer with ipBlock and selectors')
    const block = record(peer['ipBlock'], 'ipBlock')
    known(block, ['cidr', 'except'])
    const within = subnets([block['cidr']])
    const except = subnets(list(block['except'] ?? []))
    const holds = (address: string): boolean => within.check(address) && !except.check(address)
    const pods = POD_ADDRESSES.some(holds)
    const world = holds(WORLD_ADDRESS)
    return (pod) => (pod === 'world' ? world : pods)
  }
  if (Object.keys(peer).length === 0) throw unreadable('an empty peer')
  const pods = peer['podSelector'] === undefined ? () => true : readSelector(peer['podSelector'])
  const spaces =
    peer['namespaceSelector'] === undefined ? undefined : readSelector(peer['namespaceSelector'])
  return (pod) => {
    if (pod === 'world' || !pods(pod.labels)) return false
    if (!spaces) return pod.namespace === own
    const labels = namespaces.get(pod.namespace)
    return labels !== undefined && spaces(labels)
  }
}

function readSelector(given: unknown): (labels: Readonly<Record<string, string>>) => boolean {
  const selector = record(given, 'a selector')
  known(selector, ['matchLabels', 'matchExpressions'])
  const wanted = Object.entries(strings(selector['matchLabels'] ?? {}))
  const expressions = list(selector['matchExpressions'] ?? []).map((expression) => {
    const { key, operator, values = [] } = record(expression, 'an expression')
    return { key: string(key), operator: string(operator), values: list(values) }
  })
  return (labels) =>
    wanted.every(([key, value]) => labels[key] === value) &&
    expressions.every(({ key, operator, values }) => {
      const value = labels[key]
      switch (operator) {
        case 'In':
          return value !== undefined && values.includes(value)
        case 'NotIn':
          return value === undefined || !values.includes(value)
        case 'Exists':
          return value !== undefined
        case 'DoesNotExist':
          return value === undefined
        default:
          throw unreadable(`the operator \`${operator}\``)
      }
    })
}

function portOf(value: unknown): number | undefined {
  if (value === undefined || typeof value === 'number') return value
  throw unreadable('a named port')
}

function subnets(cidrs: readonly unknown[]): BlockList {
  const blocks = new BlockList()
  for (const cidr of cidrs) {
    const [address = '', prefix = '', ...rest] = string(cidr).split('/')
    if (!isIPv4(address) || !/^(\d|[12]\d|3[0-2])$/.test(prefix) || rest.length > 0) {
      throw unreadable('an address range that is not IPv4')
    }
    blocks.addSubnet(address, Number(prefix), 'ipv4')
  }
  return blocks
}

function known(object: Json, fields: readonly string[]): void {
  const strange = Object.keys(object).find((key) => !fields.includes(key))
  if (strange !== undefined) throw unreadable(`the field \`${strange}\``)
}

function record(value: unknown, what: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    // A non-null object that is no array; its members are read as unknown.
    return value as Json
  }
  throw unreadable(`${what} that is no mapping`)
}

function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value
  throw unreadable('a value that should be a list')
}

function string(value: unknown): string {
  if (typeof value === 'string') return value
  throw unreadable('a value that should be a string')
}

function strings(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(record(value, 'labels')).map(([k, v]) => [k, string(v)]))
}

function unreadable(what: string): SallyportError<'SP_SEGMENT_UNREADABLE'> {
  return new SallyportError(
    'SP_SEGMENT_UNREADABLE',
    `the NetworkPolicy has ${what}, which is not understood`,
    {
      fix: 'emit the file again with `sallyport segment emit`',
    },
  )
}
