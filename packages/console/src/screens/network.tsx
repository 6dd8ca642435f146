import { lazy, Suspense, useEffect } from 'react'
import type { ReactNode } from 'react'
import { Link, useSearchParams } from 'wouter'
import { useResource } from '../api/resource.ts'
import type { NetworkInfo } from '../api/types.ts'
import { duration, plural } from '../lib/format.ts'
import { ClassChip, Criticality } from '../ui/badge.tsx'
import { Page } from '../ui/page.tsx'
import { Copyable, Empty, Facts, Failure, Panel, Skeleton, Tags } from '../ui/parts.tsx'
import { Changes } from './changes.tsx'
import { FlowMatrix } from './flow-matrix.tsx'

const SECTIONS = [
  ['flows', 'Flows'],
  ['systems', 'Systems'],
  ['data', 'Data sets'],
  ['policies', 'Policies'],
  ['settings', 'Settings and limits'],
  ['changes', 'Changes and operators'],
  ['partners', 'Partners'],
] as const

const Partners = lazy(() =>
  import('./partners.tsx').then(({ Partners: section }) => ({ default: section })),
)

/** The declaration in force, read-only. */
export function NetworkPage(): ReactNode {
  const { data, error, reload } = useResource<NetworkInfo>('/network')
  const [params] = useSearchParams()
  const section = params.get('section') ?? 'flows'
  useEffect(() => {
    // The policy named in the fragment is there only once the declaration is.
    if (data && location.hash !== '')
      document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView()
  }, [data, section])
  if (!data) {
    return (
      <Page title="Network">
        {error ? (
          <Failure error={error} retry={reload} />
        ) : (
          <Skeleton lines={14} what="Loading the declaration" />
        )}
      </Page>
    )
  }
  const { network } = data
  return (
    <Page
      title="Network"
      heading={network.name}
      lead={`${plural(network.agents.length, 'agent')}, ${plural(network.systems.length, 'system')}, ${plural(network.segments.length, 'segment')}, ${plural(network.flows.length, 'flow')}. Whatever is not declared here does not happen.`}
      aside={
        <Copyable
          text={data.digest}
          shown={`declaration ${data.digest.slice(0, 16)}…`}
          label="Copy the digest of the declaration"
        />
      }
      wide
    >
      <nav className="subnav" aria-label="Parts of the declaration">
        {SECTIONS.map(([id, label]) => (
          <Link
            key={id}
            href={`/network?section=${id}`}
            className={id === section ? 'subnav-item here' : 'subnav-item'}
            {...(id === section && { 'aria-current': 'true' as const })}
          >
            {label}
          </Link>
        ))}
      </nav>
      {section === 'flows' && <FlowMatrix network={network} />}
      {section === 'systems' && <Systems info={data} />}
      {section === 'data' && <DataSets info={data} />}
      {section === 'policies' && <PolicySources info={data} />}
      {section === 'settings' && <Settings info={data} />}
      {section === 'changes' && <Changes />}
      {section === 'partners' && (
        <Suspense fallback={<Skeleton lines={6} what="Loading partners" />}>
          <Partners />
        </Suspense>
      )}
    </Page>
  )
}

const PROTOCOLS = {
  http: 'HTTP',
  grpc: 'gRPC',
  mcp: 'MCP',
  a2a: 'A2A',
  postgres: 'PostgreSQL',
  llm: 'LLM API',
  opaque: 'opaque',
} as const

function Systems({ info: { network } }: { info: NetworkInfo }): ReactNode {
  return (
    <>
      {network.systems.map((system) => (
        <Panel
          key={system.name}
          title={system.name}
          aside={
            <>
              <span className="muted">
                {PROTOCOLS[system.protocol]} · {system.segment} · owner {system.owner} ·{' '}
                {system.upstream.kind === 'service'
                  ? `service ${system.upstream.service}`
                  : system.upstream.kind === 'program'
                    ? `program ${system.upstream.command}`
                    : system.upstream.kind === 'plain'
                      ? `${system.upstream.url}, not authenticated: ${system.upstream.plaintext}`
                      : `external ${system.upstream.serverName}`}
              </span>
              <Criticality level={system.criticality} />
            </>
          }
        >
          <div className="scroll-x">
            <table className="table">
              <thead>
                <tr>
                  <th scope="col">Operation</th>
                  <th scope="col">Kind</th>
                  <th scope="col">Binding</th>
                  <th scope="col">Returns</th>
                  <th scope="col">What it does</th>
                </tr>
              </thead>
              <tbody>
                {system.operations.map((operation) => (
                  <tr key={operation.name}>
                    <th scope="row">{operation.name}</th>
                    <td>{operation.kind}</td>
                    <td className="mono">
                      {operation.binding.kind === 'http'
                        ? `${operation.binding.method} ${operation.binding.path}`
                        : operation.binding.kind === 'grpc'
                          ? `method ${operation.binding.path}`
                          : operation.binding.kind === 'mcp'
                            ? `tool ${operation.binding.tool}`
                            : operation.binding.kind === 'a2a'
                              ? `skill ${operation.binding.skill}`
                              : operation.binding.kind === 'opaque'
                                ? 'connection'
                                : operation.binding.kind === 'llm'
                                  ? `endpoint ${operation.binding.surface}`
                                  : `${operation.binding.action} ${operation.binding.table}`}
                    </td>
                    <td>
                      <Tags tags={[...new Set(Object.values(operation.returns))]} none="nothing" />
                    </td>
                    <td className="muted">{operation.description}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </Panel>
      ))}
    </>
  )
}

function DataSets({ info: { network } }: { info: NetworkInfo }): ReactNode {
  if (network.datasets.length === 0) {
    return (
      <Empty title="No data set is declared">
        <p>Responses are projected field by field; what no data set describes is dropped.</p>
      </Empty>
    )
  }
  return (
    <div className="cards">
      {network.datasets.map((set) => (
        <Panel
          key={set.name}
          title={set.name}
          aside={<span className="muted">in {set.system}</span>}
        >
          <p className="panel-text muted">{set.description}</p>
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Field</th>
                <th scope="col">Class</th>
                <th scope="col">Tags</th>
                <th scope="col">Masked as</th>
              </tr>
            </thead>
            <tbody>
              {set.fields.map((field) => (
                <tr key={field.name}>
                  <th scope="row">{field.name}</th>
                  <td>
                    <ClassChip level={field.class} />
                  </td>
                  <td>
                    <Tags tags={field.tags} />
                  </td>
                  <td className="muted">
                    {field.dataset === undefined ? field.mask : `each a ${field.dataset}`}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Panel>
      ))}
    </div>
  )
}

function PolicySources({ info: { policies } }: { info: NetworkInfo }): ReactNode {
  if (policies.length === 0) {
    return (
      <Empty title="No policy is declared">
        <p>Every call is denied until a policy permits it.</p>
      </Empty>
    )
  }
  return (
    <>
      {policies.map(({ id, source, file, line }) => (
        <Panel
          key={id}
          title={<span id={`policy-${id}`}>{id}</span>}
          aside={<span className="muted mono">{`${file}:${line}`}</span>}
        >
          {/* Long policies scroll, so the keyboard must be able to. */}
          {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
          <pre className="block cedar" tabIndex={0} aria-label={`Policy ${id}`}>
            {source.trim()}
          </pre>
        </Panel>
      ))}
    </>
  )
}

function Settings({ info: { network, quorum } }: { info: NetworkInfo }): ReactNode {
  const { settings } = network
  const span = (seconds: number): string => duration(seconds * 1000).replace(/ 00 (?:s|min)$/, '')
  return (
    <div className="cards">
      <Panel title="Settings">
        <Facts
          rows={[
            ['Trust domain', network.trustDomain],
            ['Quorum', `${plural(quorum, 'signature')} for a widening change`],
            ['Certificate life', span(settings.svidTtlSeconds)],
            [
              'Without control plane',
              `${span(settings.stalenessSeconds)}; writes and restricted data ${span(settings.strictStalenessSeconds)}`,
            ],
            [
              'Risk goes stale after',
              `${span(settings.riskTtlSeconds)}, then counts as ${settings.staleRisk}`,
            ],
            [
              'Quarantined by itself at',
              settings.quarantineAtRisk === undefined
                ? 'never'
                : `risk ${settings.quarantineAtRisk}`,
            ],
            ['An approval waits', span(settings.approvalTtlSeconds)],
          ]}
        />
      </Panel>
      <Panel title="Limits">
        {network.limits.length === 0 ? (
          <Empty title="No limit is declared" />
        ) : (
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Limit</th>
                <th scope="col">Agents</th>
                <th scope="col">At most</th>
              </tr>
            </thead>
            <tbody>
              {network.limits.map((limit) => (
                <tr key={limit.id}>
                  <th scope="row">
                    {limit.id}
                    <span className="cell-note">{limit.description}</span>
                  </th>
                  <td>
                    <Tags tags={limit.agents} />
                  </td>
                  <td className="num">
                    {[
                      ...(limit.maxCalls === undefined ? [] : [plural(limit.maxCalls, 'call')]),
                      ...(limit.maxSum === undefined
                        ? []
                        : [`${limit.maxSum.max.toLocaleString('en-GB')} of ${limit.maxSum.input}`]),
                    ].join(', ')}{' '}
                    in {span(limit.windowSeconds)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Panel>
      <Panel title="Segments">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Segment</th>
              <th scope="col">Owner</th>
              <th scope="col">Members</th>
            </tr>
          </thead>
          <tbody>
            {network.segments.map(({ name, description, owner }) => (
              <tr key={name}>
                <th scope="row">
                  {name}
                  <span className="cell-note">{description}</span>
                </th>
                <td>{owner}</td>
                <td>
                  <Tags
                    tags={[...network.agents, ...network.systems]
                      .filter(({ segment }) => segment === name)
                      .map((member) => member.name)}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Panel>
    </div>
  )
}
