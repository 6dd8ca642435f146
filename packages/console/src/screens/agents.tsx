import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { useResource } from '../api/resource.ts'
import type { AgentInfo } from '../api/types.ts'
import { count } from '../lib/format.ts'
import { Badge, Criticality, Risk } from '../ui/badge.tsx'
import { Page } from '../ui/page.tsx'
import { Ago, Empty, Failure, Panel, Skeleton } from '../ui/parts.tsx'

/** Every declared agent, the riskiest first. */
export function Agents(): ReactNode {
  const { data, error, reload } = useResource<readonly AgentInfo[]>('/agents')
  const agents = data?.toSorted((a, b) => topRisk(b) - topRisk(a) || a.name.localeCompare(b.name))
  return (
    <Page title="Agents" lead="Declared agents and the instances of them that run now.">
      {error && <Failure error={error} retry={reload} />}
      <Panel>
        {!agents && !error && <Skeleton lines={9} what="Loading agents" />}
        {agents?.length === 0 && (
          <Empty title="No agent is declared">
            <p>
              Declare one under <code>agents</code> in <code>network.yaml</code>, then start it with{' '}
              <code>sallyport run --as NAME -- CMD</code>.
            </p>
          </Empty>
        )}
        {agents && agents.length > 0 && (
          <div className="scroll-x">
            <table className="table">
              <thead>
                <tr>
                  <th scope="col">Agent</th>
                  <th scope="col" className="spare">
                    Segment
                  </th>
                  <th scope="col" className="spare">
                    Criticality
                  </th>
                  <th scope="col">State</th>
                  <th scope="col">Risk</th>
                  <th scope="col" className="right">
                    Allowed
                  </th>
                  <th scope="col" className="right">
                    Denied
                  </th>
                  <th scope="col" className="right">
                    Needs
                  </th>
                  <th scope="col">Last seen</th>
                </tr>
              </thead>
              <tbody>
                {agents.map((agent) => (
                  <Row key={agent.name} agent={agent} />
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
    </Page>
  )
}

function topRisk({ instances }: AgentInfo): number {
  return Math.max(0, ...instances.map(({ risk }) => risk))
}

function Row({ agent }: { agent: AgentInfo }): ReactNode {
  const last = Math.max(0, ...agent.instances.map(({ lastSeen }) => lastSeen))
  return (
    <tr>
      <th scope="row">
        <Link href={`/agents/${agent.name}`} className="row-link">
          {agent.name}
        </Link>
        <span className="cell-note">{agent.description}</span>
      </th>
      <td className="spare">{agent.segment}</td>
      <td className="spare">
        <Criticality level={agent.criticality} />
      </td>
      <td>
        <AgentState agent={agent} />
      </td>
      <td>
        <Risk score={topRisk(agent)} />
      </td>
      <td className="right num">{count(agent.counts.allow)}</td>
      <td className={`right num ${agent.counts.deny > 0 ? 'tone-deny' : ''}`}>
        {count(agent.counts.deny)}
      </td>
      <td className="right num">{count(agent.counts.needs)}</td>
      <td className="muted nowrap">{last > 0 ? <Ago at={last} /> : 'never'}</td>
    </tr>
  )
}

/** Running, not running, or how much of it is quarantined. */
export function AgentState({
  agent,
  whole = false,
}: {
  agent: AgentInfo
  whole?: boolean
}): ReactNode {
  const cut = agent.instances.filter(({ quarantined }) => quarantined).length
  const all = whole || agent.quarantined
  if (cut > 0 || all) {
    return (
      <Badge tone="deny" icon="lock">
        {all || cut === agent.instances.length
          ? 'Quarantined'
          : `${cut} of ${agent.instances.length} quarantined`}
      </Badge>
    )
  }
  if (agent.instances.length === 0) return <Badge>Not running</Badge>
  return (
    <Badge tone="allow" icon="allow">
      {agent.instances.length === 1 ? 'Running' : `${agent.instances.length} running`}
    </Badge>
  )
}
