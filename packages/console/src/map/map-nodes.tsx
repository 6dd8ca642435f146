import { Handle, Position } from '@xyflow/react'
import type { NodeProps } from '@xyflow/react'
import type { ReactNode } from 'react'
import { plural } from '../lib/format.ts'
import { Icon } from '../ui/icon.tsx'
import type { MapNode } from './graph.ts'

interface EntityData extends MapNode {
  readonly cursor: boolean
  readonly selected: boolean
  readonly quarantined: boolean
  readonly risk: number
}

/** An agent, a system, or a whole segment where there are too many of them. */
export function EntityNode({ data }: NodeProps): ReactNode {
  // flow-map.tsx puts EntityData into every node of this type.
  const node = data as unknown as EntityData
  const tone = node.quarantined || node.risk >= 70 ? 'deny' : node.risk >= 40 ? 'needs' : ''
  return (
    <div
      className={`map-node map-${node.kind} ${node.cursor ? 'cursor' : ''} ${node.selected ? 'selected' : ''} ${node.quarantined ? 'cut' : ''}`}
      title={node.name}
    >
      <Handle type="source" position={Position.Right} isConnectable={false} />
      <Handle type="target" position={Position.Left} isConnectable={false} />
      <Icon
        name={node.quarantined ? 'lock' : node.kind === 'segment' ? 'network' : node.kind}
        size={14}
      />
      <span className="map-name">{node.name}</span>
      {node.kind === 'segment' && <span className="map-members num">{node.members}</span>}
      {tone !== '' && node.kind === 'agent' && (
        <span className={`map-risk num tone-${tone}`}>{Math.round(node.risk)}</span>
      )}
    </div>
  )
}

/** The port: every line passes it, and leaves a mark where it does. */
export function GateNode({ data }: NodeProps): ReactNode {
  const gateways = Number(data['gateways'])
  return (
    <div className={data['cursor'] === true ? 'map-gate cursor' : 'map-gate'}>
      <span className="map-gate-name">
        <Icon name="gate" size={14} />
        {gateways === 0 ? 'no gateway' : gateways === 1 ? 'gateway' : plural(gateways, 'gateway')}
      </span>
    </div>
  )
}

/** The ground of a segment. */
export function ZoneNode({ data }: NodeProps): ReactNode {
  return (
    <div className="map-zone">
      <span>{String(data['name'])}</span>
    </div>
  )
}
