import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { useResource } from '../api/resource.ts'
import type { Incident } from '../api/types.ts'
import { agentName, duration, instanceName, plural } from '../lib/format.ts'
import { useNow } from '../lib/now.ts'
import { Badge, Risk } from '../ui/badge.tsx'
import { Page } from '../ui/page.tsx'
import { Prose } from '../ui/prose.tsx'
import { Ago, Empty, Facts, Failure, Panel, sentence, Skeleton, Time } from '../ui/parts.tsx'

/** What was noticed and what was done about it. */
export function Incidents(): ReactNode {
  const { data, error, reload } = useResource<readonly Incident[]>('/incidents')
  const incidents = data?.toSorted((a, b) => b.openedAt - a.openedAt)
  return (
    <Page title="Incidents" lead="What the detector noticed, and everything done about it since.">
      {error && <Failure error={error} retry={reload} />}
      <Panel>
        {!incidents && !error && <Skeleton lines={5} what="Loading incidents" />}
        {incidents?.length === 0 && (
          <Empty title="No incident yet">
            <p>
              One opens by itself when an agent’s risk rises or an operator quarantines it, and
              gathers every refusal, alarm and act on one timeline.
            </p>
          </Empty>
        )}
        {incidents && incidents.length > 0 && (
          <div className="scroll-x">
            <table className="table">
              <thead>
                <tr>
                  <th scope="col">Subject</th>
                  <th scope="col">Status</th>
                  <th scope="col">Risk</th>
                  <th scope="col">Opened</th>
                  <th scope="col">Lasted</th>
                </tr>
              </thead>
              <tbody>
                {incidents.map((incident) => (
                  <tr key={incident.id}>
                    <th scope="row">
                      <Link href={`/incidents/${incident.id}`} className="row-link">
                        {agentName(incident.subject)}
                      </Link>
                      <span className="cell-note">{incident.subject}</span>
                    </th>
                    <td>
                      <Status status={incident.status} />
                    </td>
                    <td>
                      <Risk score={incident.risk} />
                    </td>
                    <td className="muted">
                      <Ago at={incident.openedAt} />
                    </td>
                    <td>
                      <Lasted incident={incident} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
    </Page>
  )
}

function Lasted({ incident }: { incident: Incident }): ReactNode {
  const now = useNow()
  return <span className="num">{duration((incident.closedAt ?? now) - incident.openedAt)}</span>
}

function Status({ status }: { status: string }): ReactNode {
  if (status === 'closed') return <Badge icon="allow">Closed</Badge>
  if (status === 'contained') {
    return (
      <Badge tone="needs" icon="lock">
        Contained
      </Badge>
    )
  }
  return (
    <Badge tone="deny" icon="incident">
      Open
    </Badge>
  )
}

const KIND: Readonly<Record<string, string>> = {
  signal: 'deny',
  risk: 'deny',
  denial: 'deny',
  decision: 'deny',
  quarantine: 'needs',
  release: 'allow',
  closed: 'allow',
}

/** The timeline, oldest first, each step with its distance from the first sign. */
export function IncidentPage({ id }: { id: string }): ReactNode {
  const { data, error, reload } = useResource<Incident>(`/incidents/${encodeURIComponent(id)}`)
  if (!data) {
    return (
      <Page title="Incident">
        {error ? (
          <Failure error={error} retry={reload} />
        ) : (
          <Skeleton lines={10} what="Loading the incident" />
        )}
      </Page>
    )
  }
  const name = agentName(data.subject)
  const steps = data.timeline.toSorted((a, b) => a.at - b.at)
  const contained = steps.find(({ kind }) => kind === 'quarantine')
  return (
    <Page
      title={`Incident: ${name}`}
      heading={
        <>
          {name} <Status status={data.status} />
        </>
      }
      lead={
        <>
          Opened <Time at={data.openedAt} full /> UTC. {plural(steps.length, 'event')}.
        </>
      }
    >
      <div className="columns">
        <div className="column-main">
          <Panel title="Timeline">
            <ol className="timeline">
              {steps.map((step) => (
                <li
                  key={`${step.at} ${step.kind} ${step.text}`}
                  className={`tone-${KIND[step.kind] ?? 'neutral'}`}
                >
                  <span className="timeline-at">
                    <Time at={step.at} />
                    <span className="muted num">
                      +{((step.at - data.openedAt) / 1000).toFixed(2)} s
                    </span>
                  </span>
                  <span className="timeline-dot" aria-hidden="true" />
                  <span className="timeline-text">
                    <span className="timeline-kind">{step.kind}</span>
                    <Prose>{sentence(step.text)}</Prose>
                    {step.decisionId !== undefined && (
                      <>
                        {' '}
                        <Link href={`/decisions/${step.decisionId}`}>Why</Link>
                      </>
                    )}
                  </span>
                </li>
              ))}
            </ol>
          </Panel>
        </div>
        <div className="column-side">
          <Panel title="Subject">
            <Facts
              rows={[
                [
                  'Agent',
                  <Link key="a" href={`/agents/${name}`}>
                    {name}
                  </Link>,
                ],
                [
                  'Instance',
                  instanceName(data.subject) === data.subject ? 'all' : instanceName(data.subject),
                ],
                ['Highest risk', <Risk key="r" score={data.risk} />],
                ['Lasted', <Lasted key="l" incident={data} />],
                [
                  'Contained after',
                  contained ? (
                    <span
                      key="c"
                      className="num"
                    >{`${((contained.at - data.openedAt) / 1000).toFixed(2)} s`}</span>
                  ) : (
                    'not contained'
                  ),
                ],
              ]}
            />
          </Panel>
          <p className="muted small">
            <Link href={`/decisions?agent=${encodeURIComponent(name)}`}>
              Every decision of this agent
            </Link>
          </p>
        </div>
      </div>
    </Page>
  )
}
