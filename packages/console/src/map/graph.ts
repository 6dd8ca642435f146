import type { Flow, Network } from '../api/network-types.ts'
import type { DecisionKind, DecisionRecord, Edge } from '../api/types.ts'
import { agentName } from '../lib/format.ts'

export interface MapNode {
  readonly id: string
  readonly kind: 'agent' | 'system' | 'segment'
  readonly name: string
  readonly zone: string
  readonly side: 'left' | 'right'
  /** How many agents or systems an aggregated node stands for. */
  readonly members: number
}

export interface MapLink {
  readonly id: string
  readonly from: string
  readonly to: string
  /** Agent → system pairs that this link stands for; one unless aggregated. */
  readonly pairs: readonly (readonly [string, string])[]
  readonly flows: readonly Flow[]
  readonly allow: number
  readonly deny: number
  readonly needs: number
  readonly lastAt: number
}

export interface MapGraph {
  readonly nodes: readonly MapNode[]
  readonly links: readonly MapLink[]
  /** Agents and systems were drawn as their segments, because they are too many to read. */
  readonly aggregated: boolean
}

/** Above so many agents and systems the map draws segments until a filter narrows it. */
const READABLE_NODES = 160

/** What a link mostly needs said about it: a refusal outranks a wait, a wait an allow, all outrank silence. */
export function linkTone(link: MapLink): DecisionKind | 'idle' {
  if (link.deny > 0) return 'deny'
  if (link.needs > 0) return 'needs'
  return link.allow > 0 ? 'allow' : 'idle'
}

/** Traffic and declaration as one graph: every declared flow, and every path that was tried without one. */
export function buildGraph(network: Network, edges: readonly Edge[], filter: string): MapGraph {
  const wanted = filter.trim().toLowerCase()
  const flows = new Map<string, Flow[]>()
  for (const flow of network.flows) push(flows, pairKey(flow.from, flow.to), flow)
  const traffic = new Map<string, Edge[]>()
  for (const edge of edges) push(traffic, pairKey(agentName(edge.from), edge.to), edge)

  const matches = (name: string): boolean => wanted === '' || name.toLowerCase().includes(wanted)
  const segmentOf = new Map(
    [...network.agents, ...network.systems].map(({ name, segment }) => [name, segment]),
  )
  const pairs = [...new Set([...flows.keys(), ...traffic.keys()])]
    .map((key) => split(key))
    .filter(
      ([from, to]) =>
        matches(from) ||
        matches(to) ||
        matches(segmentOf.get(from) ?? '') ||
        matches(segmentOf.get(to) ?? ''),
    )
  const inPairs = new Set(pairs.flatMap(([from, to]) => [`agent:${from}`, `system:${to}`]))
  const shown = (id: string, name: string, segment: string): boolean =>
    wanted === '' || inPairs.has(id) || matches(name) || matches(segment)

  const nodes: MapNode[] = [
    ...network.agents
      .filter(({ name, segment }) => shown(`agent:${name}`, name, segment))
      .map(({ name, segment }) => node('agent', name, segment)),
    ...network.systems
      .filter(({ name, segment }) => shown(`system:${name}`, name, segment))
      .map(({ name, segment }) => node('system', name, segment)),
  ]
  const known = new Set(nodes.map(({ id }) => id))
  const drawn = pairs.filter(
    ([from, to]) => known.has(`agent:${from}`) && known.has(`system:${to}`),
  )
  if (nodes.length > READABLE_NODES) return aggregate(nodes, drawn, flows, traffic)
  return {
    nodes,
    links: drawn.map((pair) =>
      link(`agent:${pair[0]}`, `system:${pair[1]}`, [pair], flows, traffic),
    ),
    aggregated: false,
  }
}

/** A new decision counted into the edges that `GET /api/edges` gave, so that the map does not wait for the next read. */
export function countDecision(edges: readonly Edge[], record: DecisionRecord): readonly Edge[] {
  const { agent: from, system: to, operation, decision, at } = record
  const same = (edge: Edge): boolean =>
    agentName(edge.from) === from && edge.to === to && edge.operation === operation
  const old = edges.find(same)
  const base = old ?? { from, to, operation, allow: 0, deny: 0, needs: 0, lastAt: 0 }
  const next: Edge = { ...base, [decision]: base[decision] + 1, lastAt: Math.max(base.lastAt, at) }
  return old ? edges.map((edge) => (edge === old ? next : edge)) : [...edges, next]
}

function node(kind: 'agent' | 'system', name: string, zone: string): MapNode {
  return {
    id: `${kind}:${name}`,
    kind,
    name,
    zone,
    side: kind === 'agent' ? 'left' : 'right',
    members: 1,
  }
}

function aggregate(
  nodes: readonly MapNode[],
  pairs: readonly (readonly [string, string])[],
  flows: ReadonlyMap<string, readonly Flow[]>,
  traffic: ReadonlyMap<string, readonly Edge[]>,
): MapGraph {
  const groupOf = new Map(nodes.map((each) => [each.id, `segment:${each.side}:${each.zone}`]))
  const groups = Map.groupBy(nodes, (each) => groupOf.get(each.id) ?? '')
  const links = Map.groupBy(
    pairs,
    ([from, to]) => `${groupOf.get(`agent:${from}`) ?? ''}\n${groupOf.get(`system:${to}`) ?? ''}`,
  )
  return {
    nodes: [...groups].map(([id, members]) => ({
      id,
      kind: 'segment',
      name: members[0]?.zone ?? '',
      zone: members[0]?.zone ?? '',
      side: members[0]?.side ?? 'left',
      members: members.length,
    })),
    links: [...links].map(([key, members]) => {
      const [from = '', to = ''] = key.split('\n')
      return link(from, to, members, flows, traffic)
    }),
    aggregated: true,
  }
}

function link(
  from: string,
  to: string,
  pairs: readonly (readonly [string, string])[],
  flows: ReadonlyMap<string, readonly Flow[]>,
  traffic: ReadonlyMap<string, readonly Edge[]>,
): MapLink {
  const keys = pairs.map(([a, s]) => pairKey(a, s))
  const seen = keys.flatMap((key) => traffic.get(key) ?? [])
  const sum = (kind: DecisionKind): number => seen.reduce((n, edge) => n + edge[kind], 0)
  return {
    id: `${from}→${to}`,
    from,
    to,
    pairs,
    flows: keys.flatMap((key) => flows.get(key) ?? []),
    allow: sum('allow'),
    deny: sum('deny'),
    needs: sum('needs'),
    lastAt: Math.max(0, ...seen.map(({ lastAt }) => lastAt)),
  }
}

const pairKey = (from: string, to: string): string => `${from}\n${to}`

function split(key: string): readonly [string, string] {
  const [from = '', to = ''] = key.split('\n')
  return [from, to]
}

function push<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key)
  if (list) list.push(value)
  else map.set(key, [value])
}
