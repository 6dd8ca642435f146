import { isIPv4 } from 'node:net'
import { SallyportError } from '@sallyport/base'
import type { Network } from '@sallyport/network'
import { reachesOf } from './workloads.ts'

export interface NodeAddress {
  /** IPv4, one for each node. */
  readonly address: string
  /** The interface that leads to the node alone; where given for a node, its address is accepted from no other. */
  readonly interface?: string
}

/** Node of the matrix (`agent/NAME`, `service/NAME`, `gateway`, `control`, `dns`) → where it is. */
export type Addresses = Readonly<Record<string, NodeAddress>>

/**
 * An nftables ruleset for the host that routes between the nodes: everything forwarded is dropped but what the matrix
 * allows. Load it with `nft -f`; it replaces its own table in one transaction. To quarantine a node:
 * `nft add element inet sallyport sp_quarantined { ADDRESS }`, which also cuts what is already connected, because
 * that set is asked before connection tracking.
 *
 * @throws SallyportError `SP_SEGMENT_ADDRESS` when a node has no address of its own
 */
export function emitNftables(network: Network, addresses: Addresses): string {
  const reaches = reachesOf(network)
  const nodes = [...new Set(reaches.flatMap(({ from, to }) => [from, to]))]
    .filter((node) => node !== 'world')
    .toSorted()
  checkAddresses(nodes, addresses)
  const at = (node: string): string => addresses[node]?.address ?? ''
  const pairs = (proto: string): string[] =>
    reaches
      .filter((reach) => reach.proto === proto && reach.to !== 'world')
      .map((reach) => `${at(reach.from)} . ${at(reach.to)} . ${reach.port}`)
  const outward = reaches
    .filter((reach) => reach.to === 'world')
    .map((reach) => `${at(reach.from)} . ${reach.port}`)
  const origins = nodes.flatMap((node) => {
    const port = addresses[node]?.interface
    return port === undefined ? [] : [`"${port}" . ${at(node)}`]
  })
  const bound = nodes.filter((node) => addresses[node]?.interface !== undefined).map(at)
  // Every name starts with sp_: bare words such as `fwd` are keywords of the language.
  return `# Derived from network.yaml by \`sallyport segment emit\`; do not edit.
add table inet sallyport
delete table inet sallyport
table inet sallyport {
${set('sp_quarantined', 'ipv4_addr', [])}
${set(
  'sp_nodes',
  'ipv4_addr',
  nodes.map((node) => `${at(node)} comment "${node}"`),
)}
${set('sp_bound', 'ipv4_addr', bound)}
${set('sp_origins', 'ifname . ipv4_addr', origins)}
${set('sp_tcp', 'ipv4_addr . ipv4_addr . inet_service', pairs('tcp'))}
${set('sp_udp', 'ipv4_addr . ipv4_addr . inet_service', pairs('udp'))}
${set('sp_outward', 'ipv4_addr . inet_service', outward)}
  chain sp_forward {
    type filter hook forward priority filter; policy drop;
    ip saddr @sp_quarantined drop
    ip daddr @sp_quarantined drop
    ip saddr @sp_bound iifname . ip saddr != @sp_origins drop
    ct state established,related accept
    ct state new ip saddr . ip daddr . tcp dport @sp_tcp accept
    ct state new ip saddr . ip daddr . udp dport @sp_udp accept
    ct state new ip daddr != @sp_nodes ip saddr . tcp dport @sp_outward accept
  }
}
`
}

function set(name: string, type: string, elements: readonly string[]): string {
  const list =
    elements.length === 0 ? '' : `\n    elements = {\n      ${elements.join(',\n      ')}\n    }`
  return `  set ${name} {\n    type ${type}${list}\n  }`
}

function checkAddresses(nodes: readonly string[], addresses: Addresses): void {
  const taken = new Map<string, string>()
  for (const node of nodes) {
    const given = addresses[node]
    const refuse = (why: string): SallyportError =>
      new SallyportError('SP_SEGMENT_ADDRESS', `the node \`${node}\` ${why}`, {
        fix: 'give every node one IPv4 address of its own, and interfaces their plain names',
      })
    if (!given || !isIPv4(given.address)) throw refuse('has no IPv4 address')
    const other = taken.get(given.address)
    if (other !== undefined) throw refuse(`shares its address with \`${other}\``)
    taken.set(given.address, node)
    // A name is at most 15 bytes (IFNAMSIZ); the class keeps it from breaking out of its quotes.
    if (given.interface !== undefined && !/^[A-Za-z0-9_.-]{1,15}$/.test(given.interface)) {
      throw refuse('has an interface name that cannot be used')
    }
  }
}
