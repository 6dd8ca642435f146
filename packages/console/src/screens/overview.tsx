import { lazy, Suspense, useDeferredValue, useEffect, useMemo, useState } from 'react'
import type { ReactNode } from 'react'
import { Link, useSearchParams } from 'wouter'
import { useLive } from '../api/live.ts'
import { invalidate, useResource } from '../api/resource.ts'
import type {
  AgentInfo,
  Approval,
  DecisionRecord,
  Edge,
  Health,
  NetworkInfo,
} from '../api/types.ts'
import { count, plural } from '../lib/format.ts'
import { buildGraph, countDecision } from '../map/graph.ts'
import type { MapGraph } from '../map/graph.ts'
import { Inspector } from '../map/inspector.tsx'
import { MapTable } from '../map/map-table.tsx'
import { Badge, DecisionBadge } from '../ui/badge.tsx'
import { Page } from '../ui/page.tsx'
import { Empty, Failure, Skeleton, Time } from '../ui/parts.tsx'

const FlowMap = lazy(() =>
  import('../map/flow-map.tsx').then(({ FlowMap: map }) => ({ default: map })),
)

/** What happens now: counters, the map or its table twin, and the feed. */
export function Overview(): ReactNode {
  const info = useResource<NetworkInfo>('/network')
  const edges = useEdges()
  const [params, setParams] = useSearchParams()
  const selected = params.get('sel') ?? ''
  const table = params.get('view') === 'table'
  const [filter, setFilter] = useState('')
  const needle = useDeferredValue(filter)
  const change = (name: string, value: string): void => {
    setParams(
      (before) => {
        const next = new URLSearchParams(before)
        if (value === '') next.delete(name)
        else next.set(name, value)
        return next
      },
      { replace: true },
    )
  }
  const graph = useMemo(
    () => (info.data ? buildGraph(info.data.network, edges, needle) : undefined),
    [info.data, edges, needle],
  )
  return (
    <Page title="Overview" wide>
      <div className="overview">
        <Counters edges={edges} />
        <section className="panel map-panel" aria-label="Live map">
          <header className="panel-head">
            <h2>
              Last 15 minutes{' '}
              {graph?.aggregated && <Badge tone="needs">by segment: filter to see each</Badge>}
            </h2>
            <div className="panel-aside">
              <input
                className="filter-input"
                type="search"
                placeholder="Filter by name or segment"
                aria-label="Filter by name or segment"
                value={filter}
                onChange={(event) => setFilter(event.target.value)}
              />
              <span className="segmented" role="group" aria-label="View">
                <button type="button" aria-pressed={!table} onClick={() => change('view', '')}>
                  Map
                </button>
                <button type="button" aria-pressed={table} onClick={() => change('view', 'table')}>
                  Table
                </button>
              </span>
            </div>
          </header>
          <div className="map-space">
            {info.error && !info.data && <Failure error={info.error} retry={info.reload} />}
            {!graph && !info.error && <Skeleton lines={10} what="Loading the network" />}
            {graph && info.data && !table && (
              <Suspense fallback={<Skeleton lines={10} what="Loading the map" />}>
                <LiveMap
                  info={info.data}
                  graph={graph}
                  selected={selected}
                  onSelect={(id) => change('sel', id)}
                />
              </Suspense>
            )}
            {graph && table && (
              <MapTable graph={graph} selected={selected} onSelect={(id) => change('sel', id)} />
            )}
          </div>
          <Legend />
        </section>
        {graph && selected !== '' && exists(graph, selected) ? (
          <Inspector graph={graph} selected={selected} onSelect={(id) => change('sel', id)} />
        ) : (
          <LiveFeed />
        )}
      </div>
    </Page>
  )
}

function exists({ nodes, links }: MapGraph, id: string): boolean {
  return nodes.some((node) => node.id === id) || links.some((link) => link.id === id)
}

function LiveMap(props: {
  info: NetworkInfo
  graph: MapGraph
  selected: string
  onSelect: (id: string) => void
}): ReactNode {
  const agents = useResource<readonly AgentInfo[]>('/agents').data
  const health = useResource<Health>('/health').data
  const quarantined = useMemo(
    () =>
      new Set(
        agents
          ?.filter(({ instances }) => instances.some((instance) => instance.quarantined))
          .map(({ name }) => `agent:${name}`),
      ),
    [agents],
  )
  const risk = useMemo(
    () =>
      new Map(
        agents?.map(({ name, instances }) => [
          `agent:${name}`,
          Math.max(0, ...instances.map((instance) => instance.risk)),
        ]),
      ),
    [agents],
  )
  return (
    <FlowMap
      network={props.info.network.name}
      graph={props.graph}
      gateways={health?.gateways.filter(({ connected }) => connected).length ?? 1}
      quarantined={quarantined}
      risk={risk}
      selected={props.selected}
      onSelect={props.onSelect}
    />
  )
}

/** `GET /api/edges`, with every decision since counted in; read again twice a minute so that the window moves on. */
function useEdges(): readonly Edge[] {
  const read = useResource<readonly Edge[]>('/edges').data
  const live = useLive((state) => state.decisions)
  const [base, setBase] = useState<{ read: typeof read; upTo: string | undefined }>()
  // What the read already counted is what was on the page when it came.
  if (base?.read !== read) setBase({ read, upTo: live[0]?.id })
  useEffect(() => {
    const timer = setInterval(() => invalidate('/edges', 0), 30_000)
    return () => clearInterval(timer)
  }, [])
  return useMemo(() => {
    if (!read) return []
    const end = live.findIndex(({ id }) => id === base?.upTo)
    const since = end === -1 ? live : live.slice(0, end)
    return since.reduceRight<readonly Edge[]>(countDecision, read)
  }, [read, live, base])
}

function Counters({ edges }: { edges: readonly Edge[] }): ReactNode {
  const agents = useResource<readonly AgentInfo[]>('/agents').data
  const pending = useResource<readonly Approval[]>('/approvals?status=pending').data
  const health = useResource<Health>('/health').data
  const sum = (kind: 'allow' | 'deny' | 'needs'): number =>
    edges.reduce((n, edge) => n + edge[kind], 0)
  const instances = agents?.flatMap((agent) => agent.instances) ?? []
  const cut = instances.filter(({ quarantined }) => quarantined).length
  const lag = Math.max(0, ...(health?.gateways.map(({ lagMs }) => lagMs ?? 0) ?? []))
  const connected = health?.gateways.filter((gateway) => gateway.connected).length ?? 0
  const records = health?.audit.reduce((n, { size }) => n + size, 0) ?? 0
  return (
    <ul className="counters" aria-label="Counters">
      <Counter
        label="Allowed"
        value={count(sum('allow'))}
        tone="allow"
        to="/decisions?decision=allow"
      />
      <Counter
        label="Denied"
        value={count(sum('deny'))}
        tone="deny"
        to="/decisions?decision=deny"
      />
      <Counter
        label="Needed approval"
        value={count(sum('needs'))}
        tone="needs"
        to="/decisions?decision=needs"
      />
      <Counter
        label="Waiting for a person"
        value={pending ? count(pending.length) : '–'}
        to="/approvals"
      />
      <Counter
        label="Instances running"
        value={agents ? count(instances.length - cut) : '–'}
        note={cut > 0 ? `${cut} quarantined` : undefined}
        to="/agents"
      />
      <Counter
        label="Audit records"
        value={health ? count(records) : '–'}
        note={health ? `${plural(connected, 'gateway')}, lag ${Math.round(lag)} ms` : undefined}
      />
    </ul>
  )
}

function Counter(props: {
  label: string
  value: string
  note?: string | undefined
  tone?: string
  to?: string
}): ReactNode {
  const body = (
    <>
      <span className="counter-label">{props.label}</span>
      <span className={`counter-value num ${props.tone ? `tone-${props.tone}` : ''}`}>
        {props.value}
      </span>
      <span className="counter-note">{props.note ?? '\u00a0'}</span>
    </>
  )
  return (
    <li className="counter">
      {props.to === undefined ? <div>{body}</div> : <Link href={props.to}>{body}</Link>}
    </li>
  )
}

function LiveFeed(): ReactNode {
  const live = useLive((state) => state.decisions)
  const first = useResource<readonly DecisionRecord[]>('/decisions?limit=60').data
  const rows = useMemo(() => {
    const known = new Set(live.map(({ id }) => id))
    return [...live, ...(first ?? []).filter(({ id }) => !known.has(id))]
      .toSorted((a, b) => b.at - a.at)
      .slice(0, 60)
  }, [live, first])
  return (
    <section className="panel live-feed" aria-label="Live decisions">
      <header className="panel-head">
        <h2>Decisions</h2>
        <div className="panel-aside">
          <Link href="/decisions">All</Link>
        </div>
      </header>
      {!first && rows.length === 0 && <Skeleton lines={12} what="Loading decisions" />}
      {first && rows.length === 0 && (
        <Empty title="No calls yet">
          <p>The first call of any agent appears here at once.</p>
        </Empty>
      )}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls */}
      <ol className="live-rows" tabIndex={0} aria-label="Newest first">
        {rows.map((record) => (
          <li key={record.id}>
            <Link href={`/decisions/${record.id}`} className={`live-row row-${record.decision}`}>
              <span className="live-top">
                <span className="clip">
                  <Time at={record.at} /> <span className="live-agent">{record.agent}</span>
                </span>
                <DecisionBadge decision={record.decision} code={record.code} />
              </span>
              <span className="live-call">
                <span className="arrow">→</span> {record.system}.<b>{record.operation}</b>
              </span>
            </Link>
          </li>
        ))}
      </ol>
    </section>
  )
}

function Legend(): ReactNode {
  return (
    <footer className="legend">
      <span className="legend-item key-allow">allowed</span>
      <span className="legend-item key-deny">denied</span>
      <span className="legend-item key-needs">needs approval</span>
      <span className="legend-item key-idle">declared, silent</span>
      <span className="legend-item key-undeclared">tried without a flow</span>
    </footer>
  )
}
