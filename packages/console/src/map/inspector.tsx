import { useEffect, useRef } from 'react'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { useResource } from '../api/resource.ts'
import type { DecisionRecord } from '../api/types.ts'
import { count, instanceName, plural } from '../lib/format.ts'
import { Badge, DecisionBadge } from '../ui/badge.tsx'
import { Icon } from '../ui/icon.tsx'
import { Failure, Skeleton, Tags, Time } from '../ui/parts.tsx'
import { linkTone } from './graph.ts'
import type { MapGraph, MapLink, MapNode } from './graph.ts'

/** What was clicked: a link with its flow, policies and last decisions, or a node with its links. */
export function Inspector(props: {
  graph: MapGraph
  selected: string
  onSelect: (id: string) => void
}): ReactNode {
  const { graph, selected, onSelect } = props
  const box = useRef<HTMLElement>(null)
  useEffect(() => {
    box.current?.focus({ preventScroll: true })
  }, [selected])
  const link = graph.links.find(({ id }) => id === selected)
  const node = graph.nodes.find(({ id }) => id === selected)
  if (!link && !node) return null
  const name = (id: string): string => graph.nodes.find((each) => each.id === id)?.name ?? id
  const title = link ? `${name(link.from)} → ${name(link.to)}` : (node?.name ?? '')
  return (
    // Escape closes it from wherever the focus is inside.
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions
    <aside
      className="panel inspector"
      ref={box}
      tabIndex={-1}
      aria-label={title}
      onKeyDown={(event) => {
        if (event.key === 'Escape') onSelect('')
      }}
    >
      <header className="panel-head">
        <h2>{title}</h2>
        <button
          type="button"
          className="icon-button"
          aria-label="Close"
          onClick={() => onSelect('')}
        >
          <Icon name="close" size={14} />
        </button>
      </header>
      <div className="inspector-body">
        {link && <LinkDetail link={link} />}
        {node && <NodeDetail node={node} graph={graph} onSelect={onSelect} name={name} />}
      </div>
    </aside>
  )
}

function Tallies({ link }: { link: Pick<MapLink, 'allow' | 'deny' | 'needs'> }): ReactNode {
  return (
    <p className="tallies num">
      <span className="tone-allow">{count(link.allow)} allowed</span>
      <span className="tone-deny">{count(link.deny)} denied</span>
      <span className="tone-needs">{count(link.needs)} needed approval</span>
    </p>
  )
}

function LinkDetail({ link }: { link: MapLink }): ReactNode {
  const [pair] = link.pairs
  return (
    <>
      <Tallies link={link} />
      {link.pairs.length > 1 && (
        <p className="muted">
          {plural(link.pairs.length, 'path')} drawn as one. Filter by a name to see each.
        </p>
      )}
      {link.flows.length === 0 ? (
        <p className="inspector-alert">
          <Icon name="noflow" size={14} /> No flow is declared here: every call is refused before
          policies are asked.
        </p>
      ) : (
        <ul className="inspector-flows">
          {link.flows.slice(0, 12).map((flow) => (
            <li key={flow.id}>
              <p>
                <b className="mono">{flow.id}</b> <span className="muted">{flow.purpose}</span>
              </p>
              <Tags tags={flow.operations} />
            </li>
          ))}
        </ul>
      )}
      {pair && link.pairs.length === 1 && <Recent agent={pair[0]} system={pair[1]} />}
    </>
  )
}

function Recent({ agent, system }: { agent: string; system: string }): ReactNode {
  const query = new URLSearchParams({ agent, system })
  const { data, error, reload } = useResource<readonly DecisionRecord[]>(
    `/decisions?${query}&limit=30`,
  )
  if (error) return <Failure error={error} retry={reload} />
  if (!data) return <Skeleton lines={5} what="Loading decisions" />
  const policies = new Map<string, number>()
  for (const id of data.flatMap(({ reasons }) => reasons)) {
    policies.set(id, (policies.get(id) ?? 0) + 1)
  }
  return (
    <>
      <h3>Policies that decided</h3>
      {policies.size === 0 ? (
        <p className="muted">None yet.</p>
      ) : (
        <ul className="inspector-policies">
          {[...policies].map(([id, times]) => (
            <li key={id}>
              <Link className="policy-link" href={`/network?section=policies#policy-${id}`}>
                {id}
              </Link>
              <span className="muted num">{plural(times, 'call')}</span>
            </li>
          ))}
        </ul>
      )}
      <h3>Recent decisions</h3>
      {data.length === 0 ? (
        <p className="muted">No call yet.</p>
      ) : (
        <ul className="inspector-decisions">
          {data.slice(0, 8).map((record) => (
            <li key={record.id}>
              <Time at={record.at} />
              <Link href={`/decisions/${record.id}`}>{record.operation}</Link>
              <DecisionBadge decision={record.decision} code={record.code} />
              <span className="sr-only">{instanceName(record.instance)}</span>
            </li>
          ))}
        </ul>
      )}
      <p>
        <Link href={`/decisions?${query}`}>All decisions on this path</Link>
      </p>
    </>
  )
}

function NodeDetail(props: {
  node: MapNode
  graph: MapGraph
  onSelect: (id: string) => void
  name: (id: string) => string
}): ReactNode {
  const { node, graph, name } = props
  const links = graph.links.filter(({ from, to }) => from === node.id || to === node.id)
  const sum = (kind: 'allow' | 'deny' | 'needs'): number =>
    links.reduce((n, link) => n + link[kind], 0)
  return (
    <>
      <p className="muted">
        {node.kind} in segment {node.zone}
      </p>
      <Tallies link={{ allow: sum('allow'), deny: sum('deny'), needs: sum('needs') }} />
      <h3>{node.side === 'left' ? 'Reaches' : 'Reached by'}</h3>
      {links.length === 0 && <p className="muted">No flow and no call.</p>}
      <ul className="inspector-links">
        {links.map((link) => {
          const tone = linkTone(link)
          return (
            <li key={link.id}>
              <button type="button" className="link" onClick={() => props.onSelect(link.id)}>
                {name(link.from === node.id ? link.to : link.from)}
              </button>
              <Badge tone={tone === 'idle' ? 'neutral' : tone}>
                {count(link.allow + link.deny + link.needs)}
              </Badge>
            </li>
          )
        })}
      </ul>
      {node.kind === 'agent' && (
        <p>
          <Link href={`/agents/${node.name}`}>Open the agent</Link>
        </p>
      )}
      {node.kind === 'system' && (
        <p>
          <Link href="/network?section=systems">Read its declaration</Link>
        </p>
      )}
    </>
  )
}
