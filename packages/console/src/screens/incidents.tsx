import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { useResource } from '../api/resource.ts'
import type { Incident } from '../api/types.ts'
import { duration, subjectName } from '../lib/format.ts'
import { useNow } from '../lib/now.ts'
import { Badge, Risk } from '../ui/badge.tsx'
import { Page } from '../ui/page.tsx'
import { Ago, Empty, Failure, Panel, Skeleton } from '../ui/parts.tsx'

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
                        {subjectName(incident.subject).name}
                      </Link>
                      <span className="cell-note" title={incident.subject}>
                        {subjectName(incident.subject).part}
                      </span>
                    </th>
                    <td>
                      <IncidentStatus status={incident.status} />
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

/** How long it went on, or goes on. */
export function Lasted({ incident }: { incident: Incident }): ReactNode {
  const now = useNow()
  return <span className="num">{duration((incident.closedAt ?? now) - incident.openedAt)}</span>
}

/** Open, contained or closed. */
export function IncidentStatus({ status }: { status: string }): ReactNode {
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
