import { reachability } from '@sallyport/network'
import type { Matrix, Network } from '@sallyport/network'
import { emitNetworkPolicy } from './emit-network-policy.ts'
import { emitNftables } from './emit-nftables.ts'
import type { Addresses } from './emit-nftables.ts'
import { interpretNetworkPolicy } from './interpret-network-policy.ts'
import { interpretNftables } from './interpret-nftables.ts'

export interface SegmentVerification {
  readonly target: 'network-policy' | 'nftables'
  readonly equal: boolean
  /** Connections that the network needs and the artefact would not let through. */
  readonly missing: readonly string[]
  /** Connections that the artefact would let through and nothing declares. */
  readonly extra: readonly string[]
}

/**
 * Emits every target, reads it back with its independent interpreter and compares with the matrix. For nftables, a
 * quarantined node must moreover be cut off in both directions on connections that already stand; what is not cut
 * counts as extra.
 */
export function verifySegments(network: Network): SegmentVerification[] {
  const wanted = reachability(network)
  const ruleset = emitNftables(network, exampleAddresses(wanted))
  const uncut = wanted.nodes
    .filter((node) => node.startsWith('agent/') || node.startsWith('service/'))
    .flatMap((node) =>
      [...interpretNftables(ruleset, { quarantined: [node], state: 'established' }).allowed].filter(
        (entry) => entry.split('|').slice(0, 2).includes(node),
      ),
    )
  return [
    compareEnds(wanted, emitNetworkPolicy(network)),
    compare('nftables', wanted, interpretNftables(ruleset), uncut),
  ]
}

/**
 * Compares what is installed with what the declaration needs.
 *
 * @param artefact as `nft list table inet sallyport` or `kubectl get networkpolicy -o yaml` gives it back, or as it was emitted
 */
export function compareInstalled(
  network: Network,
  target: SegmentVerification['target'],
  artefact: string,
): SegmentVerification {
  const wanted = reachability(network)
  return target === 'nftables'
    ? compare(target, wanted, interpretNftables(artefact), [])
    : compareEnds(wanted, artefact)
}

/** Both ends together, and each by itself: the second end is there for the day the first is misconfigured. */
function compareEnds(wanted: Matrix, artefact: string): SegmentVerification {
  const received = [...wanted.allowed].filter((entry) => !/\|(?:dns|world)\|/.test(entry))
  const results = [
    compare('network-policy', wanted, interpretNetworkPolicy(artefact), []),
    compare('network-policy', wanted, interpretNetworkPolicy(artefact, { ends: 'egress' }), []),
    compare(
      'network-policy',
      { ...wanted, allowed: new Set(received) },
      interpretNetworkPolicy(artefact, { ends: 'ingress' }),
      [],
    ),
  ]
  return {
    target: 'network-policy',
    equal: results.every((result) => result.equal),
    missing: [...new Set(results.flatMap((result) => result.missing))],
    extra: [...new Set(results.flatMap((result) => result.extra))],
  }
}

/** An address for each node, for checks that must not depend on a deployment. */
function exampleAddresses(matrix: Matrix): Addresses {
  return Object.fromEntries(
    matrix.nodes
      .filter((node) => node !== 'world')
      .map((node, i) => [
        node,
        {
          address: `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`,
          interface: `sp${i}`,
        },
      ]),
  )
}

function compare(
  target: SegmentVerification['target'],
  wanted: Matrix,
  found: Matrix,
  alsoExtra: readonly string[],
): SegmentVerification {
  const missing = [
    ...[...wanted.allowed].filter((entry) => !found.allowed.has(entry)),
    ...wanted.nodes.filter((node) => !found.nodes.includes(node)),
  ]
  const extra = [
    ...[...found.allowed].filter((entry) => !wanted.allowed.has(entry)),
    ...found.nodes.filter((node) => !wanted.nodes.includes(node)),
    ...alsoExtra,
  ]
  return { target, equal: missing.length === 0 && extra.length === 0, missing, extra }
}
