import { Background, Controls, ReactFlow, ReactFlowProvider, useReactFlow } from '@xyflow/react'
import type { Edge, Node, NodeMouseHandler } from '@xyflow/react'
import '@xyflow/react/dist/base.css'
import './flow-map.css'
import { useCallback, useEffect, useMemo, useRef, useState } from 'react'
import type { KeyboardEvent, ReactNode } from 'react'
import { GATE_WIDTH, NODE_HEIGHT, NODE_WIDTH, zoneBox } from './geometry.ts'
import { linkTone } from './graph.ts'
import type { MapGraph, MapLink } from './graph.ts'
import { EntityNode, GateNode, ZoneNode } from './map-nodes.tsx'
import { PortEdge } from './port-edge.tsx'
import { nearest } from './steer.ts'
import { usePlaces } from './use-places.ts'
import { Skeleton } from '../ui/parts.tsx'

const NODE_TYPES = { entity: EntityNode, gate: GateNode, zone: ZoneNode }
const EDGE_TYPES = { port: PortEdge }
const GATE = 'gate'

export interface FlowMapProps {
  readonly network: string
  readonly graph: MapGraph
  readonly gateways: number
  readonly quarantined: ReadonlySet<string>
  readonly risk: ReadonlyMap<string, number>
  readonly selected: string
  readonly onSelect: (id: string) => void
}

/** The map: agents left, systems right, and between them the gateway through which every line passes. */
export function FlowMap(props: FlowMapProps): ReactNode {
  return (
    <ReactFlowProvider>
      <Canvas {...props} />
    </ReactFlowProvider>
  )
}

function Canvas(props: FlowMapProps): ReactNode {
  const { graph, selected, onSelect } = props
  const input = useMemo(
    () => ({
      nodes: graph.nodes.map(({ id, zone, side }) => ({ id, zone, side })),
      links: graph.links.map(({ from, to }) => [from, to] as const),
    }),
    [graph],
  )
  const { places, move, reset } = usePlaces(props.network, input)
  const [cursor, setCursor] = useState('')
  const [said, setSaid] = useState('')
  const flow = useReactFlow()
  const wrapper = useRef<HTMLDivElement>(null)

  const placed = useMemo(
    () =>
      graph.nodes.flatMap((node) => {
        const at = places?.[node.id]
        return at ? [{ ...node, at }] : []
      }),
    [graph.nodes, places],
  )
  const gate = useMemo(() => {
    const ys = placed.map(({ at }) => at.y)
    const top = Math.min(0, ...ys) - 30
    return {
      x: -GATE_WIDTH / 2,
      y: top,
      height: Math.max(160, Math.max(0, ...ys) + NODE_HEIGHT + 12 - top),
    }
  }, [placed])

  const nodes = useMemo<Node[]>(() => {
    const zones = Map.groupBy(
      placed.filter(({ kind }) => kind !== 'segment'),
      ({ side, zone }) => `zone:${side}:${zone}`,
    )
    return [
      ...[...zones].map(([id, members]): Node => {
        const { x, y, width, height } = zoneBox(members.map(({ at }) => at))
        return {
          id,
          type: 'zone',
          position: { x, y },
          width,
          height,
          data: { name: members[0]?.zone ?? '' },
          draggable: false,
          selectable: false,
          zIndex: -2,
        }
      }),
      {
        id: GATE,
        type: 'gate',
        position: { x: gate.x, y: gate.y },
        width: GATE_WIDTH,
        height: gate.height,
        data: { gateways: props.gateways, cursor: cursor === GATE },
        draggable: false,
        selectable: false,
        zIndex: -1,
      },
      ...placed.map((node): Node => ({
        id: node.id,
        type: 'entity',
        position: node.at,
        width: NODE_WIDTH,
        height: NODE_HEIGHT,
        data: {
          ...node,
          cursor: cursor === node.id,
          selected: selected === node.id,
          quarantined: props.quarantined.has(node.id),
          risk: props.risk.get(node.id) ?? 0,
        },
        zIndex: 2,
      })),
    ]
  }, [placed, gate, props.gateways, props.quarantined, props.risk, cursor, selected])

  const edges = useMemo<Edge[]>(() => {
    const yOf = new Map(placed.map(({ id, at }) => [id, at.y + NODE_HEIGHT / 2]))
    const drawn = graph.links
      .flatMap((link) => {
        const a = yOf.get(link.from)
        const b = yOf.get(link.to)
        return a === undefined || b === undefined ? [] : [{ link, middle: (a + b) / 2 }]
      })
      .toSorted((a, b) => a.middle - b.middle)
    const slot = (gate.height - 48) / Math.max(1, drawn.length)
    return drawn.map(({ link }, i): Edge => {
      const tone = linkTone(link)
      return {
        id: link.id,
        source: link.from,
        target: link.to,
        type: 'port',
        data: {
          tone,
          total: link.allow + link.deny + link.needs,
          undeclared: link.flows.length === 0,
          stopped: link.deny > 0 && link.allow + link.needs === 0,
          gateY: gate.y + 36 + slot * (i + 0.5),
          lastAt: link.lastAt,
          selected: selected === link.id,
          near: selected === link.from || selected === link.to,
        },
        zIndex: tone === 'idle' ? 0 : 1,
        focusable: false,
        interactionWidth: 14,
      }
    })
  }, [graph.links, placed, gate, selected])

  const ready = placed.length > 0
  const shown = placed.map(({ id }) => id).join('\n')
  useEffect(() => {
    if (ready) void flow.fitView({ padding: 0.06, maxZoom: 1.15 })
  }, [ready, shown, flow])
  useEffect(() => {
    const element = wrapper.current
    if (!element) return
    const resize = new ResizeObserver(() => void flow.fitView({ padding: 0.06, maxZoom: 1.15 }))
    resize.observe(element)
    return () => resize.disconnect()
  }, [flow])

  const steer = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget) return
    if (event.key === 'Enter' && cursor !== '' && cursor !== GATE) {
      onSelect(cursor)
      return
    }
    if (event.key === 'Escape') {
      onSelect('')
      return
    }
    const stops = [
      ...placed.map(({ id, at }) => ({ id, x: at.x + NODE_WIDTH / 2, y: at.y + NODE_HEIGHT / 2 })),
      { id: GATE, x: 0, y: gate.y + gate.height / 2 },
    ]
    const next = nearest(stops, cursor, event.key)
    if (next === undefined) return
    event.preventDefault()
    setCursor(next)
    setSaid(describe(next, graph, props.gateways))
  }

  const onNodeClick = useCallback<NodeMouseHandler>(
    (_, node) => {
      if (node.type === 'entity') onSelect(node.id)
    },
    [onSelect],
  )
  if (places === undefined) {
    return <Skeleton lines={10} what="Laying out the map" />
  }
  return (
    // A composite widget with a keyboard model of its own: one tab stop, arrow keys inside.
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions
    <div
      ref={wrapper}
      className={graph.links.length > 80 ? 'map dense' : 'map'}
      role="application"
      aria-label="Network map. Arrow keys move between agents, gateway and systems, Enter opens one, Escape closes. The table view holds the same."
      // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
      tabIndex={0}
      onKeyDown={steer}
      onBlur={() => setCursor('')}
    >
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={NODE_TYPES}
        edgeTypes={EDGE_TYPES}
        onNodeClick={onNodeClick}
        onEdgeClick={(_, edge) => onSelect(edge.id)}
        onPaneClick={() => onSelect('')}
        onNodeDrag={(_, node) => move(node.id, node.position.x, node.position.y)}
        nodesFocusable={false}
        edgesFocusable={false}
        nodesConnectable={false}
        deleteKeyCode={null}
        disableKeyboardA11y
        minZoom={0.15}
        maxZoom={2}
        zoomOnScroll={false}
        panOnScroll={false}
        preventScrolling={false}
        onlyRenderVisibleElements={placed.length > 80}
        proOptions={{ hideAttribution: false }}
      >
        <Background gap={22} size={1} />
        <Controls showInteractive={false} position="bottom-left">
          <button
            type="button"
            className="react-flow__controls-button"
            onClick={reset}
            title="Lay out anew"
            aria-label="Lay out anew"
          >
            <svg viewBox="0 0 16 16" aria-hidden="true">
              <path d="M13 8a5 5 0 1 1-1.6-3.700M13 2.500v2.800h-2.8" className="stroke-only" />
            </svg>
          </button>
        </Controls>
      </ReactFlow>
      <span className="sr-only" aria-live="polite">
        {said}
      </span>
    </div>
  )
}

function describe(id: string, graph: MapGraph, gateways: number): string {
  if (id === GATE) return `Gateway, ${gateways} connected`
  const node = graph.nodes.find((each) => each.id === id)
  if (!node) return ''
  const links = graph.links.filter(({ from, to }) => from === id || to === id)
  const sum = (kind: 'allow' | 'deny' | 'needs'): number =>
    links.reduce((n, link: MapLink) => n + link[kind], 0)
  return `${node.kind} ${node.name}, segment ${node.zone}: ${sum('allow')} allowed, ${sum('deny')} denied, ${sum('needs')} needed approval`
}
