import { BaseEdge } from '@xyflow/react'
import type { EdgeProps } from '@xyflow/react'
import type { ReactNode } from 'react'
import { GATE_WIDTH } from './geometry.ts'

interface PortData {
  readonly tone: 'allow' | 'deny' | 'needs' | 'idle'
  readonly total: number
  readonly undeclared: boolean
  /** Nothing of it ever passed. */
  readonly stopped: boolean
  readonly gateY: number
  readonly lastAt: number
  readonly selected: boolean
  readonly near: boolean
}

/** From an agent through its own slot in the gateway to a system. What is refused ends at the gateway. */
export function PortEdge(props: EdgeProps): ReactNode {
  // flow-map.tsx puts PortData into every edge of this type.
  const data = props.data as unknown as PortData
  const { sourceX: sx, sourceY: sy, targetX: tx, targetY: ty } = props
  const { gateY: y, tone } = data
  const left = -GATE_WIDTH / 2
  const right = GATE_WIDTH / 2
  const a = (left - sx) / 2
  const b = (tx - right) / 2
  const width = tone === 'idle' ? 1 : Math.min(4, 1.25 + Math.log10(1 + data.total) * 0.8)
  const inward = `M ${sx},${sy} C ${sx + a},${sy} ${left - a},${y} ${left},${y}`
  const outward = `L ${right},${y} C ${right + b},${y} ${tx - b},${ty} ${tx},${ty}`
  const path = data.stopped ? `${inward} L 0,${y}` : `${inward} ${outward}`
  const flags = `${data.undeclared ? 'undeclared' : ''} ${data.selected ? 'selected' : ''} ${data.near ? 'near' : ''}`
  return (
    <g className={`port port-${tone} ${flags}`}>
      <BaseEdge
        id={props.id}
        path={path}
        interactionWidth={props.interactionWidth ?? 14}
        style={{ strokeWidth: data.selected ? width + 1.5 : width }}
      />
      {data.stopped && <path className="port-rest" d={`M 0,${y} ${outward}`} />}
      {tone !== 'idle' && (
        // A new key starts the animation anew with every call that passes.
        <path key={data.lastAt} className="port-pulse" d={path} pathLength={100} />
      )}
      <Mark tone={tone} y={y} />
    </g>
  )
}

/** Shape, not only colour, tells the outcomes apart in the port. */
function Mark({ tone, y }: { tone: PortData['tone']; y: number }): ReactNode {
  if (tone === 'idle') return null
  if (tone === 'deny') return <path className="port-mark" d={`M-4,${y - 4} l8,8 m0,-8 l-8,8`} />
  if (tone === 'needs')
    return <path className="port-mark solid" d={`M0,${y - 5} l5,5 l-5,5 l-5,-5 z`} />
  return <circle className="port-mark solid" cx={0} cy={y} r={3.5} />
}
