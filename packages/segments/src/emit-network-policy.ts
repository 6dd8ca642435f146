import { stringify } from 'yaml'
import type { Network } from '@sallyport/network'
import { reachesOf, workloadsOf } from './workloads.ts'
import type { Reach, Workload } from './workloads.ts'

/** Never the world: private, shared, loopback, link-local (cloud metadata), multicast and reserved ranges. */
const NOT_THE_WORLD = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '224.0.0.0/3',
]

const HEADER = `# Derived from network.yaml by \`sallyport segment emit\`; do not edit.
# Pods carry the labels sallyport.dev/kind and sallyport.dev/name of their workload. Pods with hostNetwork escape
# every NetworkPolicy: forbid them by admission. Clusters with NodeLocal DNSCache add its address to the DNS rules.
`

type Json = Readonly<Record<string, unknown>>

/**
 * Kubernetes NetworkPolicy (networking.k8s.io/v1) for a network: default deny in both directions for every namespace,
 * then, for each workload, exactly the connections that the matrix allows, opened at both ends.
 */
export function emitNetworkPolicy(network: Network): string {
  const workloads = workloadsOf(network)
  const reaches = reachesOf(network)
  const namespaces = [...new Set(workloads.map((workload) => workload.namespace))].toSorted()
  const documents: Json[] = [
    ...namespaces.map((name) => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { 'sallyport.dev/network': network.name } },
    })),
    catalogue(network, workloads),
    ...namespaces.map((namespace) =>
      policy('default-deny', namespace, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
    ),
    ...workloads.map((workload) => {
      const peer = (node: string): Json => peerOf(node, workloads)
      const outward = reaches.filter((reach) => reach.from === workload.node)
      const inward = reaches.filter((reach) => reach.to === workload.node)
      return policy(`${workload.kind}-${workload.name}`, workload.namespace, {
        podSelector: { matchLabels: labelsOf(workload) },
        policyTypes: ['Ingress', 'Egress'],
        ingress: rules(inward, 'from', (reach) => peer(reach.from)),
        egress: rules(outward, 'to', (reach) => peer(reach.to)),
      })
    }),
  ]
  return (
    HEADER +
    documents.map((document) => stringify(document, { aliasDuplicateObjects: false })).join('---\n')
  )
}

/** Which pods the policies mean: for the deployment that labels them, and for the interpreter. */
function catalogue(network: Network, workloads: readonly Workload[]): Json {
  const entries = workloads.map((workload) => [
    workload.node.replace('/', '.'),
    JSON.stringify({
      node: workload.node,
      namespace: workload.namespace,
      labels: labelsOf(workload),
    }),
  ])
  const gateway = workloads.find((workload) => workload.kind === 'gateway')
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: `${network.name}-workloads`, namespace: gateway?.namespace },
    data: Object.fromEntries(entries),
  }
}

function policy(name: string, namespace: string, spec: Json): Json {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace },
    spec,
  }
}

function labelsOf(workload: Workload): Readonly<Record<string, string>> {
  return { 'sallyport.dev/kind': workload.kind, 'sallyport.dev/name': workload.name }
}

/** One rule for each port and protocol: peers and ports of one rule combine freely, so they must not be mixed. */
function rules(
  reaches: readonly Reach[],
  direction: 'from' | 'to',
  peer: (reach: Reach) => Json,
): readonly Json[] {
  const groups = Map.groupBy(reaches, (reach) => `${reach.port}/${reach.proto}`)
  return [...groups.values()].map((group) => ({
    [direction]: group.map(peer),
    ports: group
      .slice(0, 1)
      .map((reach) => ({ protocol: reach.proto.toUpperCase(), port: reach.port })),
  }))
}

function peerOf(node: string, workloads: readonly Workload[]): Json {
  if (node === 'world') return { ipBlock: { cidr: '0.0.0.0/0', except: NOT_THE_WORLD } }
  const inNamespace = (namespace: string, labels: Readonly<Record<string, string>>): Json => ({
    // Both selectors in one item mean AND. As two items they would mean OR: the whole namespace, from anywhere.
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
    podSelector: { matchLabels: labels },
  })
  if (node === 'dns') return inNamespace('kube-system', { 'k8s-app': 'kube-dns' })
  const workload = workloads.find((candidate) => candidate.node === node)
  if (!workload) throw new TypeError(`the matrix names an unknown node ${node}`)
  return inNamespace(workload.namespace, labelsOf(workload))
}
