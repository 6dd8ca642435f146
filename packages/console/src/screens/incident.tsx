import { useState } from 'react'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { post } from '../api/client.ts'
import { invalidate, useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { AgentInfo, Incident } from '../api/types.ts'
import { clockTime, count, instanceName, operatorOf, plural, subjectName } from '../lib/format.ts'
import { whyNotClose } from '../lib/may.ts'
import { elapsed, milestonesOf, stepsOf } from '../lib/timeline.ts'
import type { Entry, Step } from '../lib/timeline.ts'
import { Risk } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Icon } from '../ui/icon.tsx'
import type { IconName } from '../ui/icon.tsx'
import { Page } from '../ui/page.tsx'
import { Prose } from '../ui/prose.tsx'
import { Empty, Facts, Failure, Panel, sentence, Skeleton, Time } from '../ui/parts.tsx'
import { ReasonDialog } from '../ui/reason-dialog.tsx'
import { IncidentStatus, Lasted } from './incidents.tsx'

interface Look {
  readonly word: string
  readonly tone: string
  readonly icon: IconName
}

const LOOKS: Readonly<Record<string, Look>> = {
  signal: { word: 'Signal', tone: 'deny', icon: 'incident' },
  risk: { word: 'Risk', tone: 'deny', icon: 'incident' },
  decision: { word: 'Refused', tone: 'deny', icon: 'deny' },
  approval: { word: 'Approval', tone: 'needs', icon: 'stamp' },
  quarantine: { word: 'Quarantine', tone: 'needs', icon: 'lock' },
  release: { word: 'Release', tone: 'allow', icon: 'allow' },
  closed: { word: 'False alarm', tone: 'allow', icon: 'allow' },
}

const lookOf = (kind: string): Look =>
  LOOKS[kind] ?? { word: kind, tone: 'neutral', icon: 'absent' }

/** One incident: its milestones first, then every event, oldest first, counted from the first sign. */
export function IncidentPage({ id }: { id: string }): ReactNode {
  const { data, error, reload } = useResource<Incident>(`/incidents/${encodeURIComponent(id)}`)
  const agents = useResource<readonly AgentInfo[]>('/agents').data
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
  const { name } = subjectName(data.subject)
  const operator = operatorOf(data.subject)
  const events = data.timeline ?? []
  const steps = stepsOf([...events, ...signalsOf(data, agents ?? [])])
  const contained = steps.find(({ kind }) => kind === 'quarantine')
  return (
    <Page
      title={`Incident: ${name}`}
      heading={
        <>
          {name} <IncidentStatus status={data.status} />
        </>
      }
      lead={
        <>
          Opened <Time at={data.openedAt} full /> UTC. {plural(events.length, 'event')}.
        </>
      }
    >
      <div className="columns">
        <div className="column-main">
          {steps.length > 0 && (
            <Panel title="Milestones">
              <Steps steps={milestonesOf(steps)} />
            </Panel>
          )}
          <Panel title="Timeline">
            {steps.length === 0 ? (
              <Empty title="Nothing is on the timeline yet">
                <p>What the subject is refused, and what is done about it, appears here at once.</p>
              </Empty>
            ) : (
              <Steps steps={steps} />
            )}
          </Panel>
        </div>
        <div className="column-side">
          <Panel title="Subject">
            <Facts
              rows={[
                [
                  operator === undefined ? 'Agent' : 'Operator',
                  <Link key="a" href={operator === undefined ? `/agents/${name}` : '/sessions'}>
                    {name}
                  </Link>,
                ],
                ...(operator === undefined
                  ? ([
                      [
                        'Instance',
                        <span key="i" className="instance" title={data.subject}>
                          {instanceName(data.subject) === data.subject
                            ? 'all'
                            : instanceName(data.subject)}
                        </span>,
                      ],
                    ] as const)
                  : []),
                ['Highest risk', <Risk key="r" score={data.risk} />],
                ['Lasted', <Lasted key="l" incident={data} />],
                [
                  'Contained after',
                  contained ? (
                    <span key="c" className="num">
                      {elapsed(contained.after)}
                    </span>
                  ) : (
                    'not contained'
                  ),
                ],
              ]}
            />
            <p className="panel-text small panel-foot">
              <Link href={`/decisions?agent=${encodeURIComponent(name)}`}>
                Every decision of this agent
              </Link>
            </p>
          </Panel>
          {data.status !== 'closed' && <Close incident={data} />}
        </div>
      </div>
    </Page>
  )
}

function Close({ incident }: { incident: Incident }): ReactNode {
  const [closing, setClosing] = useState(false)
  const why = whyNotClose(useSession(), incident)
  return (
    <div className="decide">
      <div className="decide-acts">
        <Button
          icon="allow"
          disabled={why !== ''}
          describedBy="close-reason"
          onPress={() => setClosing(true)}
        >
          Close as a false alarm…
        </Button>
      </div>
      <p id="close-reason" className="muted">
        {why}
      </p>
      {closing && (
        <ReasonDialog
          title={`${subjectName(incident.subject).name}: a false alarm`}
          text="Its risk and its signals stay as they are, and the next alarm opens another incident. Nothing was cut off, so nothing is given back."
          label="Why it was none, for the log and for whoever comes next"
          placeholder="What you found"
          button="Close it"
          act={async (reason) => {
            await post(`/incidents/${encodeURIComponent(incident.id)}/close`, { reason })
            invalidate('/incidents', 0)
          }}
          onClose={() => setClosing(false)}
        />
      )}
    </div>
  )
}

/**
 * The signals that make up the subject's risk now: those from before the incident opened are not on its timeline, and they
 * are what opened it.
 */
function signalsOf(incident: Incident, agents: readonly AgentInfo[]): readonly Entry[] {
  const known = new Set(incident.timeline?.map(({ text }) => text))
  return agents
    .flatMap(({ instances }) => instances)
    .filter(({ spiffeId }) => spiffeId === incident.subject)
    .flatMap(({ riskReasons }) => riskReasons ?? [])
    .flatMap(({ signal, text, points, at }) => {
      if (at === undefined || known.has(`${signal}: ${text}`) || known.has(text)) return []
      if (at > (incident.closedAt ?? Infinity)) return []
      const weight = points === undefined ? '' : ` (risk +${Math.round(points)})`
      return [{ at, kind: 'signal', text: `${text}${weight}` }]
    })
}

function Steps({ steps }: { steps: readonly Step[] }): ReactNode {
  return (
    <ol className="timeline">
      {steps.map((step) => {
        const { word, tone, icon } = lookOf(step.kind)
        return (
          <li
            key={`${step.at} ${step.kind} ${step.text} ${step.decisions[0] ?? ''}`}
            className={`tone-${tone} ${step.milestone ? 'milestone' : ''}`}
          >
            <span className="timeline-at">
              <Time at={step.at} />
              <span className="muted num">+{elapsed(step.after)}</span>
            </span>
            <span className="timeline-dot" aria-hidden="true">
              {step.milestone && <Icon name={icon} size={12} />}
            </span>
            <span className="timeline-text">
              <span className="timeline-kind">{word}</span>
              <Told step={step} />
            </span>
          </li>
        )
      })}
    </ol>
  )
}

function span({ at, until }: Step): string {
  const [from, to] = [clockTime(at), clockTime(until)]
  return from === to ? from : `${from}–${to}`
}

function Told({ step }: { step: Step }): ReactNode {
  const [first, ...rest] = step.decisions
  const last = rest.at(-1)
  const call = /^(deny|needs) (\S+)$/.exec(step.text)
  return (
    <>
      {call ? (
        <>
          {call[1] === 'needs' ? 'Needs approval: ' : 'Deny '}
          <b>{call[2]}</b>
        </>
      ) : (
        <Prose>{sentence(step.text)}</Prose>
      )}
      {step.count > 1 && (
        <>
          {' '}
          <span className="timeline-count num">× {count(step.count)}</span>
          <span className="muted num">, {span(step)}</span>
        </>
      )}
      {first !== undefined && (
        <>
          {' '}
          <Link href={`/decisions/${first}`}>{last === undefined ? 'Why' : 'First'}</Link>
        </>
      )}
      {last !== undefined && (
        <>
          {' · '}
          <Link href={`/decisions/${last}`}>Last</Link>
        </>
      )}
    </>
  )
}
