import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { useResource } from '../api/resource.ts'
import type { Approval, DecisionDetail, DecisionRecord, OutcomeRecord } from '../api/types.ts'
import { readExplanation } from '../lib/explanation.ts'
import { instanceName, plural } from '../lib/format.ts'
import { outcomeOf } from '../lib/outcome.ts'
import { ClassChip, Risk } from '../ui/badge.tsx'
import { Icon } from '../ui/icon.tsx'
import { Page } from '../ui/page.tsx'
import { Prose } from '../ui/prose.tsx'
import {
  Copyable,
  Empty,
  Facts,
  Failure,
  Panel,
  sentence,
  Skeleton,
  Tags,
  Time,
} from '../ui/parts.tsx'
import { ApprovalLine } from './approval-line.tsx'
import { Policies } from './policy-trace.tsx'

/** One decision with its full why. */
export function DecisionPage({ id }: { id: string }): ReactNode {
  const { data, error, reload } = useResource<DecisionDetail>(
    `/decisions/${encodeURIComponent(id)}`,
  )
  if (!data) {
    return (
      <Page title="Decision">
        {error ? (
          <Failure error={error} retry={reload} />
        ) : (
          <Skeleton lines={14} what="Loading the decision" />
        )}
      </Page>
    )
  }
  return <Explained detail={data} />
}

function Explained({ detail }: { detail: DecisionDetail }): ReactNode {
  const { record, outcome } = detail
  const explanation = readExplanation(detail.explanation)
  const kind = outcomeOf(record.decision, record.code)
  return (
    <Page
      title={`${record.agent} → ${record.system}.${record.operation}`}
      heading={
        <>
          {record.agent} <span className="arrow">→</span> {record.system}.{record.operation}
        </>
      }
      aside={<Copyable text={`sallyport policy explain ${record.id}`} label="Copy the command" />}
    >
      <div className={`verdict tone-${record.decision}`}>
        <span className="verdict-icon">
          <Icon name={kind.icon} size={22} />
        </span>
        <div>
          <p className="verdict-line">
            <strong>{kind.label}.</strong>{' '}
            <Prose>
              {explanation.summary === '' ? fallback(record) : sentence(explanation.summary)}
            </Prose>
          </p>
          {explanation.detail !== '' && (
            <p className="verdict-meaning">
              <Prose>{sentence(explanation.detail)}</Prose>
            </p>
          )}
          <p className="verdict-meaning">{kind.meaning}</p>
        </div>
        <code className="verdict-code">{record.code}</code>
      </div>
      <div className="columns">
        <div className="column-main">
          {explanation.remedies.length > 0 && (
            <Panel title="What would change it">
              <ul className="remedies">
                {explanation.remedies.map((remedy) => (
                  <li key={remedy}>
                    <Prose>{sentence(remedy)}</Prose>
                  </li>
                ))}
              </ul>
            </Panel>
          )}
          {record.needs.length > 0 && (
            <NeedsPanel record={record} approvals={detail.approvals ?? []} />
          )}
          <Panel title="Policies">
            {explanation.policies.length > 0 ? (
              <Policies policies={explanation.policies} determining={record.reasons} />
            ) : (
              <PlainPolicies record={record} />
            )}
          </Panel>
        </div>
        <div className="column-side">
          <CallFacts
            record={record}
            added={[...new Set(detail.labels?.flatMap((each) => each.added))]}
          />
          {outcome ? (
            <OutcomePanel outcome={outcome} />
          ) : (
            <Panel title="What left">
              <p className="panel-text muted">
                {record.decision === 'allow'
                  ? 'The outcome is not in the log yet.'
                  : 'Nothing was forwarded, so nothing left.'}
              </p>
            </Panel>
          )}
          <Panel title="Audit">
            <Facts
              rows={[
                ['Decision', <Copyable key="d" text={record.id} label="Copy the decision id" />],
                [
                  'Log position',
                  detail.audit ? (
                    <span key="p" className="num">
                      {detail.audit.shard} #{detail.audit.index}
                    </span>
                  ) : (
                    <span key="p" className="muted">
                      on gateway {record.gateway}
                    </span>
                  ),
                ],
                [
                  'Revision',
                  <span
                    key="r"
                    className="num"
                  >{`${record.revision.epoch}.${record.revision.n}`}</span>,
                ],
                ['Declaration', <Digest key="h" hex={record.declarationDigest} />],
                ['State read', <Digest key="s" hex={record.stateDigest} />],
                ['Request', <Digest key="q" hex={record.requestHash} />],
              ]}
            />
          </Panel>
        </div>
      </div>
    </Page>
  )
}

function fallback(record: DecisionRecord): string {
  if (record.reasons.length === 0) return 'No policy decided it.'
  return `Decided by ${record.reasons.map((id) => `\`${id}\``).join(', ')}.`
}

function CallFacts({
  record,
  added,
}: {
  record: DecisionRecord
  added: readonly string[]
}): ReactNode {
  return (
    <Panel title="The call">
      <Facts
        rows={[
          ['When', <Time key="t" at={record.at} full />],
          [
            'Agent',
            <Link key="a" href={`/agents/${record.agent}`}>
              {record.agent}
            </Link>,
          ],
          [
            'Instance',
            <span key="i" className="instance" title={record.instance}>
              {instanceName(record.instance)}
            </span>,
          ],
          ['Operation', `${record.system}.${record.operation}`],
          ['Risk then', <Risk key="r" score={record.risk} />],
          ['Session labels', <Tags key="l" tags={record.labels} none="none" />],
          ...(added.length === 0
            ? []
            : ([['Labels it added', <Tags key="n" tags={added} />]] as const)),
          [
            'Certificate',
            <span key="c" className="mono clip">
              {record.peer.serial}
            </span>,
          ],
          ...(record.peer.source === undefined ? [] : ([['Source', record.peer.source]] as const)),
          ...(record.peer.group === undefined
            ? []
            : ([['Key exchange', record.peer.group]] as const)),
          ...(record.trace === undefined
            ? []
            : ([
                [
                  'Trace, as the agent says',
                  <span key="x" className="mono clip">
                    {record.trace.traceId}
                  </span>,
                ],
              ] as const)),
        ]}
      />
    </Panel>
  )
}

function NeedsPanel({
  record,
  approvals,
}: {
  record: DecisionRecord
  approvals: readonly Approval[]
}): ReactNode {
  return (
    <Panel title="What it needs">
      <ul className="remedies">
        {record.needs.map((need) => (
          <li key={need.kind}>
            An approval by {plural(need.count, 'operator')}
            {need.count > 1 ? ', each a different person' : ''}, over exactly these arguments.
          </li>
        ))}
      </ul>
      {approvals.map((approval) => (
        <ApprovalLine key={approval.id} approval={approval} />
      ))}
      {approvals.length === 0 && (
        <p className="panel-text muted">Nobody has asked for it yet, or the request has expired.</p>
      )}
    </Panel>
  )
}

function PlainPolicies({ record }: { record: DecisionRecord }): ReactNode {
  if (record.reasons.length === 0 && record.errors.length === 0) {
    return (
      <Empty title="No policy decided this call">
        <p>
          {record.code === 'SP_NO_FLOW'
            ? 'It runs along no declared flow, so policies were not asked. If it should, declare the flow in network.yaml.'
            : 'None has a scope that comes near it. Whatever should permit it has yet to be written.'}
        </p>
      </Empty>
    )
  }
  return (
    <>
      {!record.code.startsWith('SP_DENIED') && record.decision === 'deny' && (
        <p className="panel-text muted">
          Policy permitted it, by what is named here. Something else stopped it: see above.
        </p>
      )}
      <ul className="policy-list">
        {record.reasons.map((id) => (
          <li key={id}>
            <Link className="policy-link" href={`/network?section=policies#policy-${id}`}>
              {id}
            </Link>
          </li>
        ))}
        {record.errors.map(({ policyId, message }) => (
          <li key={policyId} className="tone-deny">
            <Link className="policy-link" href={`/network?section=policies#policy-${policyId}`}>
              {policyId}
            </Link>{' '}
            {message}
          </li>
        ))}
      </ul>
    </>
  )
}

const RESULTS: Readonly<Record<OutcomeRecord['result'], string>> = {
  completed: 'Completed',
  'upstream-error': 'The system failed',
  aborted: 'The agent hung up',
  cut: 'Cut while it ran',
}

function OutcomePanel({ outcome }: { outcome: OutcomeRecord }): ReactNode {
  const sets = Object.entries(outcome.released)
  return (
    <Panel title="What left">
      <Facts
        rows={[
          ['Result', `${RESULTS[outcome.result]} (${outcome.status})`],
          ['Took', <span key="t" className="num">{`${outcome.durationMs.toFixed(1)} ms`}</span>],
          [
            'Bytes',
            <span key="b" className="num">
              {outcome.bytesOut.toLocaleString('en-GB')}
            </span>,
          ],
          ...sets.map(
            ([name, { records, maxWholeClass }]) =>
              [
                name,
                <span key={name} className="released">
                  {plural(records, 'record')}, whole up to <ClassChip level={maxWholeClass} />
                </span>,
              ] as const,
          ),
        ]}
      />
    </Panel>
  )
}

function Digest({ hex }: { hex: string }): ReactNode {
  return (
    <span className="mono" title={hex}>
      {hex.slice(0, 12)}…
    </span>
  )
}
