import type { McpProgram } from './mcp-types.ts'
import type { Network, Upstream } from './types.ts'

/** TCP ports of the planes, as gateways and the control plane listen inside the network. */
export const GATEWAY_PORT = 7443
export const CONTROL_PORT = 7444
/** Port that the gateway's outward TLS uses when a URL names none. */
const HTTPS_PORT = 443
const DNS_PORT = 53

/**
 * Who may open a connection to whom, and nothing else: the canonical form that every segmentation target is proven
 * against. Nodes are `agent/NAME`, `service/NAME`, `gateway`, `control`, `dns` and `world` (everything outside).
 */
export interface Matrix {
  /** Sorted. */
  readonly nodes: readonly string[]
  /** `FROM|TO|PORT|PROTO`, PROTO `tcp` or `udp`. Direction is who opens; replies belong to the connection. */
  readonly allowed: ReadonlySet<string>
}

/** One canonical entry of a matrix. */
export function reach(
  from: string,
  to: string,
  port: number,
  proto: 'tcp' | 'udp' = 'tcp',
): string {
  return `${from}|${to}|${port}|${proto}`
}

/**
 * The reachability that the declaration needs. Agents reach the gateway and, to keep their identity, the control
 * plane, never a service or each other; only the gateway reaches services, and only those that some flow uses.
 */
export function reachability(network: Network): Matrix {
  const agents = network.agents.map((agent) => `agent/${agent.name}`)
  const services = network.services.map((service) => `service/${service.name}`)
  const allowed = new Set<string>()
  for (const agent of agents) allowed.add(reach(agent, 'gateway', GATEWAY_PORT))
  for (const node of [...agents, ...services, 'gateway']) {
    allowed.add(reach(node, 'control', CONTROL_PORT))
  }
  for (const node of [...agents, ...services, 'gateway', 'control']) {
    allowed.add(reach(node, 'dns', DNS_PORT, 'udp'))
    allowed.add(reach(node, 'dns', DNS_PORT, 'tcp'))
  }
  for (const { url, agents = [] } of network.federation ?? []) {
    // Gateways that take agents of a trust domain ask for its roots themselves.
    const port = Number(new URL(url).port) || HTTPS_PORT
    if (agents.length > 0) allowed.add(reach('gateway', 'world', port))
  }
  const used = new Set(network.flows.map((flow) => flow.to))
  for (const system of network.systems) {
    // A program of the gateway's own is reached over no network.
    if (!used.has(system.name) || system.upstream.kind === 'program') continue
    allowed.add(upstreamReach(system.upstream))
  }
  return {
    nodes: [...agents, ...services, 'gateway', 'control', 'dns', 'world'].toSorted(),
    allowed,
  }
}

function upstreamReach(upstream: Exclude<Upstream, McpProgram>): string {
  if (upstream.kind === 'service') {
    return reach('gateway', `service/${upstream.service}`, upstream.port)
  }
  // Packet filters know no DNS names: the name is pinned by the gateway's TLS, the port here.
  return reach('gateway', 'world', Number(new URL(upstream.url).port) || HTTPS_PORT)
}
