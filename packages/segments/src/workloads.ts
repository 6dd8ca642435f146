import { sha256Hex } from '@sallyport/base'
import { reachability } from '@sallyport/network'
import type { Network } from '@sallyport/network'

/** A node of the matrix that is ours to place: what runs, and where. */
export interface Workload {
  /** Its name in the matrix. */
  readonly node: string
  readonly kind: 'agent' | 'service' | 'gateway' | 'control'
  readonly name: string
  /** Kubernetes namespace: one for each segment, one for Sallyport itself. */
  readonly namespace: string
}

export interface Reach {
  readonly from: string
  readonly to: string
  readonly port: number
  readonly proto: 'tcp' | 'udp'
}

export function workloadsOf(network: Network): readonly Workload[] {
  // A namespace is a DNS label (RFC 1123, 63 characters); two names of 63 may have to share one.
  const segment = (name: string): string => label(`${network.name}-s-${name}`)
  const plane = label(`${network.name}-plane`)
  return [
    ...network.agents.map((agent): Workload => ({
      node: `agent/${agent.name}`,
      kind: 'agent',
      name: agent.name,
      namespace: segment(agent.segment),
    })),
    ...network.services.map((service): Workload => ({
      node: `service/${service.name}`,
      kind: 'service',
      name: service.name,
      namespace: segment(service.segment),
    })),
    { node: 'gateway', kind: 'gateway', name: 'gateway', namespace: plane },
    { node: 'control', kind: 'control', name: 'control', namespace: plane },
  ]
}

/** The matrix's entries as objects, in a stable order. */
export function reachesOf(network: Network): readonly Reach[] {
  return [...reachability(network).allowed].toSorted().map((entry) => {
    const [from = '', to = '', port = '', proto = ''] = entry.split('|')
    return { from, to, port: Number(port), proto: proto === 'udp' ? 'udp' : 'tcp' }
  })
}

function label(name: string): string {
  if (name.length <= 63) return name
  return `${name.slice(0, 50).replace(/-+$/, '')}-${sha256Hex(name).slice(0, 12)}`
}
