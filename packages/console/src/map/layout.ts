import { graphlib, layout as dagre } from '@dagrejs/dagre'
import { GAP_X, GAP_Y, GATE_WIDTH, NODE_HEIGHT, NODE_WIDTH, ZONE } from './geometry.ts'
import type { LayoutInput, Positions } from './geometry.ts'

/** From the gateway's middle to the nearest edge of a block. */
const REACH = 196
const STACK_GAP = 22

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
  // Few nodes read best in one column a side; many have to be drawn as large as they can.
  const rows = nodes.length <= 40 ? 12 : bestRows([...blocks.values()])
  for (const [id, members] of blocks) {
    graph.setNode(id, blockSize(members.length, rows))
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
    let top =
      -stack.reduce((sum, [id]) => sum + sizeOf(graph, id).height + STACK_GAP, -STACK_GAP) / 2
    for (const [id, members] of stack) {
      const { width, height, columns } = sizeOf(graph, id)
      const left = side === 'left' ? -REACH - widest + (widest - width) : REACH
      members
        .toSorted((a, b) => pull(a.id) - pull(b.id))
        .forEach((node, i) => {
          positions[node.id] = {
            x: Math.round(left + ZONE.side + (i % columns) * (NODE_WIDTH + GAP_X)),
            y: Math.round(top + ZONE.top + Math.floor(i / columns) * (NODE_HEIGHT + GAP_Y)),
          }
        })
      top += height + STACK_GAP
    }
  }
  return positions
}

/** How large the block of a segment is when its nodes stand at most `rows` high. */
function blockSize(
  count: number,
  rows: number,
): { width: number; height: number; columns: number } {
  const columns = Math.ceil(count / rows)
  return {
    width: columns * (NODE_WIDTH + GAP_X) - GAP_X + 2 * ZONE.side,
    height: Math.ceil(count / columns) * (NODE_HEIGHT + GAP_Y) - GAP_Y + ZONE.top + ZONE.bottom,
    columns,
  }
}

/** The height of blocks at which the whole map can be drawn largest on a page half as wide again as high. */
function bestRows(blocks: readonly (readonly LayoutInput['nodes'][number][])[]): number {
  const sideSize = (side: 'left' | 'right', rows: number): { width: number; height: number } => {
    const sizes = blocks
      .filter(([first]) => first?.side === side)
      .map(({ length }) => blockSize(length, rows))
    return {
      width: Math.max(0, ...sizes.map(({ width }) => width)),
      height: sizes.reduce((sum, { height }) => sum + height + STACK_GAP, 0),
    }
  }
  let best = { rows: 12, extent: Infinity }
  for (let rows = 12; rows >= 2; rows--) {
    const left = sideSize('left', rows)
    const right = sideSize('right', rows)
    const width = left.width + right.width + 2 * REACH
    const extent = Math.max(width / 1.5, left.height, right.height)
    if (extent < best.extent) best = { rows, extent }
  }
  return best.rows
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
