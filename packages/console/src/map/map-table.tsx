import type { ReactNode } from 'react'
import { count } from '../lib/format.ts'
import { Badge } from '../ui/badge.tsx'
import { Ago, Empty } from '../ui/parts.tsx'
import { linkTone } from './graph.ts'
import type { MapGraph } from './graph.ts'

const WORD = { deny: 'refused', needs: 'waited', allow: 'allowed', idle: 'silent' } as const
const RANK = { deny: 0, needs: 1, allow: 2, idle: 3 } as const

/** The map's twin: the same links, the most telling first. */
export function MapTable(props: {
  graph: MapGraph
  selected: string
  onSelect: (id: string) => void
}): ReactNode {
  const nodes = new Map(props.graph.nodes.map((node) => [node.id, node]))
  const links = props.graph.links.toSorted(
    (a, b) =>
      RANK[linkTone(a)] - RANK[linkTone(b)] ||
      b.allow + b.deny + b.needs - (a.allow + a.deny + a.needs),
  )
  if (links.length === 0) {
    return (
      <Empty title="No flow to show">
        <p>No declared flow, and no call, matches.</p>
      </Empty>
    )
  }
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls
    <div className="map-table" tabIndex={0} role="region" aria-label="Flows and calls">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col">State</th>
            <th scope="col" className="right">
              Allowed
            </th>
            <th scope="col" className="right">
              Denied
            </th>
            <th scope="col" className="right">
              Needs
            </th>
            <th scope="col">Last call</th>
          </tr>
        </thead>
        <tbody>
          {links.map((link) => {
            const tone = linkTone(link)
            return (
              <tr key={link.id} className={props.selected === link.id ? 'selected' : ''}>
                <th scope="row">
                  <button type="button" className="link" onClick={() => props.onSelect(link.id)}>
                    {nodes.get(link.from)?.name}
                    <span className="sr-only"> to {nodes.get(link.to)?.name}: open</span>
                  </button>
                </th>
                <td>{nodes.get(link.to)?.name}</td>
                <td>
                  <Badge tone={tone === 'idle' ? 'neutral' : tone}>{WORD[tone]}</Badge>{' '}
                  {link.flows.length === 0 && <Badge tone="deny">no flow</Badge>}
                </td>
                <td className="right num">{count(link.allow)}</td>
                <td className="right num">{count(link.deny)}</td>
                <td className="right num">{count(link.needs)}</td>
                <td className="muted">{link.lastAt > 0 ? <Ago at={link.lastAt} /> : '—'}</td>
              </tr>
            )
          })}
        </tbody>
      </table>
    </div>
  )
}
