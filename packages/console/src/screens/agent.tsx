import { lazy, Suspense, useState } from 'react'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { AgentInfo, Instance, NetworkInfo, Quarantine } from '../api/types.ts'
import { count, dateTime, instanceName } from '../lib/format.ts'
import { whyNotContain } from '../lib/may.ts'
import { Badge, Criticality, Risk } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Page } from '../ui/page.tsx'
import { Prose } from '../ui/prose.tsx'
import {
  Ago,
  Countdown,
  Empty,
  Facts,
  Failure,
  Panel,
  sentence,
  Skeleton,
  Tags,
} from '../ui/parts.tsx'
import { AgentState } from './agents.tsx'
import { QuarantineDialog } from './quarantine-dialog.tsx'
import { ReleaseDialog } from './release-dialog.tsx'

const RiskChart = lazy(() =>
  import('./risk-chart.tsx').then(({ RiskChart: chart }) => ({ default: chart })),
)

/** One agent: what it was declared to be, what runs, how risky, and the way to cut it off. */
export function AgentPage({ name }: { name: string }): ReactNode {
  const { data, error, reload } = useResource<AgentInfo>(`/agents/${encodeURIComponent(name)}`)
  const quarantines = useResource<readonly Quarantine[]>('/quarantine')
  const trustDomain = useResource<NetworkInfo>('/network').data?.network.trustDomain
  const session = useSession()
  const [cutting, setCutting] = useState<string>()
  const [releasing, setReleasing] = useState<Quarantine>()
  if (!data) {
    return (
      <Page title={name}>
        {error ? (
          <Failure error={error} retry={reload} />
        ) : (
          <Skeleton lines={14} what="Loading the agent" />
        )}
      </Page>
    )
  }
  const whole = trustDomain === undefined ? undefined : `spiffe://${trustDomain}/agent/${name}`
  const active = (quarantines.data ?? []).filter(
    ({ subject }) => subject === whole || subject.startsWith(`${whole}/`),
  )
  const blocked = whyNotContain(session)
  return (
    <Page
      title={data.name}
      heading={
        <>
          {data.name}{' '}
          <AgentState agent={data} whole={active.some(({ subject }) => subject === whole)} />
        </>
      }
      lead={data.description}
      aside={
        <>
          <Button
            kind="danger"
            icon="lock"
            disabled={blocked !== '' || whole === undefined}
            describedBy="contain-reason"
            onPress={() => setCutting(whole)}
          >
            Quarantine
          </Button>
          <span id="contain-reason" className="muted small">
            {blocked}
          </span>
        </>
      }
    >
      {active.map((quarantine) => (
        <div key={quarantine.id} className="notice notice-deny">
          <p>
            <strong>
              {quarantine.subject === whole
                ? 'The whole agent is cut off at every layer.'
                : `Instance ${instanceName(quarantine.subject)} is cut off at every layer.`}
            </strong>{' '}
            <Prose>{sentence(quarantine.reason)}</Prose>{' '}
            <span className="muted">
              By {quarantine.by}, <Ago at={quarantine.at} />.
            </span>
          </p>
          <Button onPress={() => setReleasing(quarantine)}>Release…</Button>
        </div>
      ))}
      <div className="columns">
        <div className="column-main">
          <Instances
            instances={data.instances}
            onQuarantine={blocked === '' ? setCutting : undefined}
          />
          <RiskPanel agent={name} instances={data.instances} />
          <Flows agent={data} />
        </div>
        <div className="column-side">
          <Panel title="Declared">
            <Facts
              rows={[
                ['Owner', data.owner],
                ['Segment', data.segment],
                ['Criticality', <Criticality key="c" level={data.criticality} />],
                ['Roles', <Tags key="r" tags={data.roles} none="none" />],
              ]}
            />
          </Panel>
          <Panel
            title="Calls"
            aside={<Link href={`/decisions?agent=${encodeURIComponent(name)}`}>All decisions</Link>}
          >
            <Facts
              rows={[
                [
                  'Allowed',
                  <span key="a" className="num">
                    {count(data.counts.allow)}
                  </span>,
                ],
                [
                  'Denied',
                  <span key="d" className="num">
                    {count(data.counts.deny)}
                  </span>,
                ],
                [
                  'Needed approval',
                  <span key="n" className="num">
                    {count(data.counts.needs)}
                  </span>,
                ],
              ]}
            />
          </Panel>
        </div>
      </div>
      {cutting !== undefined && whole !== undefined && (
        <QuarantineDialog
          agent={data}
          whole={whole}
          subject={cutting}
          onClose={() => setCutting(undefined)}
        />
      )}
      {releasing && (
        <ReleaseDialog quarantine={releasing} onClose={() => setReleasing(undefined)} />
      )}
    </Page>
  )
}

function Instances(props: {
  instances: readonly Instance[]
  onQuarantine: ((spiffeId: string) => void) | undefined
}): ReactNode {
  return (
    <Panel title="Instances">
      {props.instances.length === 0 ? (
        <Empty title="No instance runs">
          <p>
            An instance enrols with a one-use join token and then holds a certificate of its own,
            renewed from half its life.
          </p>
        </Empty>
      ) : (
        <div className="scroll-x">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Instance</th>
                <th scope="col">State</th>
                <th scope="col">Risk</th>
                <th scope="col">Expires in</th>
                <th scope="col">
                  <span className="sr-only">Acts</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {props.instances.map((instance) => (
                <tr key={instance.spiffeId}>
                  <th scope="row" title={instance.spiffeId}>
                    {instanceName(instance.spiffeId)}
                    <span className="cell-note nowrap" title={`Serial ${instance.serial}`}>
                      certificate <span className="mono">{instance.serial.slice(0, 12)}…</span>
                    </span>
                  </th>
                  <td>
                    {instance.quarantined ? (
                      <Badge tone="deny" icon="lock">
                        Quarantined
                      </Badge>
                    ) : (
                      <Badge tone="allow" icon="allow">
                        Running
                      </Badge>
                    )}
                    <span
                      className="cell-note nowrap"
                      title={`First seen ${dateTime(instance.firstSeen)} UTC`}
                    >
                      seen <Ago at={instance.lastSeen} />
                    </span>
                  </td>
                  <td>
                    <Risk score={instance.risk} />
                  </td>
                  <td className="nowrap">
                    <Countdown at={instance.notAfter} done="expired" />
                  </td>
                  <td className="right">
                    {!instance.quarantined && props.onQuarantine && (
                      <button
                        type="button"
                        className="link"
                        onClick={() => props.onQuarantine?.(instance.spiffeId)}
                      >
                        Quarantine
                        <span className="sr-only"> {instanceName(instance.spiffeId)}</span>
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  )
}

function RiskPanel(props: { agent: string; instances: readonly Instance[] }): ReactNode {
  const { agent, instances } = props
  if (instances.length === 0) return null
  const reasons = instances.flatMap((instance) =>
    (instance.riskReasons ?? []).map((reason) => ({ ...reason, instance: instance.spiffeId })),
  )
  return (
    <Panel title="Risk" aside={<span className="muted">at the latest calls, and now</span>}>
      <Suspense fallback={<div className="chart-space" />}>
        <RiskChart agent={agent} instances={instances} />
      </Suspense>
      {reasons.length === 0 ? (
        <p className="panel-text muted">
          Nothing unusual: every signal is within what this agent has done before.
        </p>
      ) : (
        <ul className="reasons">
          {reasons
            .toSorted((a, b) => (b.points ?? 0) - (a.points ?? 0))
            .map((reason) => (
              <li key={`${reason.instance} ${reason.signal ?? ''} ${reason.text}`}>
                <span className="reason-points num">
                  {reason.points === undefined ? '' : `+${Math.round(reason.points)}`}
                </span>
                <span>
                  <Prose>{sentence(reason.text)}</Prose>
                  {instances.length > 1 && (
                    <span className="muted"> {instanceName(reason.instance)}</span>
                  )}
                </span>
                {reason.at !== undefined && (
                  <span className="muted">
                    <Ago at={reason.at} />
                  </span>
                )}
              </li>
            ))}
        </ul>
      )}
    </Panel>
  )
}

function Flows({ agent }: { agent: AgentInfo }): ReactNode {
  return (
    <Panel title="Flows">
      {agent.flows.length === 0 ? (
        <Empty title="No flow is declared">
          <p>Every call of this agent is refused before policies are asked.</p>
        </Empty>
      ) : (
        <div className="scroll-x">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">To</th>
                <th scope="col">Operations</th>
                <th scope="col">Purpose</th>
                <th scope="col">Flow</th>
              </tr>
            </thead>
            <tbody>
              {agent.flows.map((flow) => (
                <tr key={flow.id}>
                  <th scope="row">{flow.to}</th>
                  <td>
                    <Tags tags={flow.operations} />
                  </td>
                  <td>{flow.purpose}</td>
                  <td className="mono muted">{flow.id}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  )
}
