import { graphlib, layout as dagre } from '@dagrejs/dagre'
import { GAP_X, GAP_Y, GATE_WIDTH, NODE_HEIGHT, NODE_WIDTH, ZONE } from './geometry.ts'
import type { LayoutInput, Positions } from './geometry.ts'

/**
 * Places agents left and systems right of the gateway, each segment a block. Dagre orders the blocks so that few links cross;
 * inside a block, nodes stand by where their partners stand. Depends on the declaration only, never on traffic.
 */
export function layoutMap({ nodes, links }: LayoutInput): Positions {
  const blocks = Map.groupBy(nodes, ({ side, zone }) => `${side}:${zone}`)
  const blockOf = new Map(nodes.map((node) => [node.id, `${node.side}:${node.zone}`]))
  const graph = new graphlib.Graph()
  graph.setGraph({ rankdir: 'LR', nodesep: 22, ranksep: 96 })
  graph.setDefaultEdgeLabel(() => ({}))
  graph.setNode('gate', { width: GATE_WIDTH, height: 10 })
  const rows = nodes.length > 60 ? 7 : 12
  for (const [id, members] of blocks) {
    const columns = Math.ceil(members.length / rows)
    const high = Math.ceil(members.length / columns)
    graph.setNode(id, {
      width: columns * (NODE_WIDTH + GAP_X) - GAP_X + 2 * ZONE.side,
      height: high * (NODE_HEIGHT + GAP_Y) - GAP_Y + ZONE.top + ZONE.bottom,
      columns,
    })
    if (members[0]?.side === 'left') graph.setEdge(id, 'gate', { weight: 1 })
    else graph.setEdge('gate', id, { weight: 1 })
  }
  for (const [from, to] of links) {
    const a = blockOf.get(from)
    const b = blockOf.get(to)
    if (a !== undefined && b !== undefined) graph.setEdge(a, b, { weight: 2, minlen: 2 })
  }
  dagre(graph)

  const partners = new Map<string, string[]>()
  for (const [from, to] of links) {
    partners.set(from, [...(partners.get(from) ?? []), to])
    partners.set(to, [...(partners.get(to) ?? []), from])
  }
  const middleOf = (id: string): number => {
    const block = blockOf.get(id)
    return block === undefined ? 0 : yOf(graph, block)
  }
  const pull = (id: string): number => {
    const of = partners.get(id) ?? []
    return of.length === 0 ? 0 : of.reduce((sum, other) => sum + middleOf(other), 0) / of.length
  }
  const positions: Record<string, { x: number; y: number }> = {}
  for (const side of ['left', 'right'] as const) {
    const stack = [...blocks].filter(([id]) => id.startsWith(`${side}:`))
    stack.sort(([a], [b]) => yOf(graph, a) - yOf(graph, b))
    const widest = Math.max(0, ...stack.map(([id]) => sizeOf(graph, id).width))
    // Each side is stacked by itself and centred on the gateway, whatever room dagre left between ranks.
    let top = -stack.reduce((sum, [id]) => sum + sizeOf(graph, id).height + 22, -22) / 2
    for (const [id, members] of stack) {
      const { width, height, columns } = sizeOf(graph, id)
      const left = side === 'left' ? -196 - widest + (widest - width) : 196
      members
        .toSorted((a, b) => pull(a.id) - pull(b.id))
        .forEach((node, i) => {
          positions[node.id] = {
            x: Math.round(left + ZONE.side + (i % columns) * (NODE_WIDTH + GAP_X)),
            y: Math.round(top + ZONE.top + Math.floor(i / columns) * (NODE_HEIGHT + GAP_Y)),
          }
        })
      top += height + 22
    }
  }
  return positions
}

function sizeOf(
  graph: graphlib.Graph,
  id: string,
): { width: number; height: number; columns: number } {
  // The label set above; dagre types labels as open records.
  return graph.node(id) as { width: number; height: number; columns: number }
}

function yOf(graph: graphlib.Graph, id: string): number {
  // Dagre writes the centre into the label.
  return (graph.node(id) as { y: number }).y
}
