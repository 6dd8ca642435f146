import { useState } from 'react'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { invalidate, useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { Approval, ApprovalStatement, DecisionDetail } from '../api/types.ts'
import { checkApproval } from '../lib/ceremony.ts'
import { readExplanation } from '../lib/explanation.ts'
import { whyNotDecide } from '../lib/may.ts'
import { instanceName, plural } from '../lib/format.ts'
import { useNow } from '../lib/now.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { signStatement } from '../lib/sign.ts'
import { Button } from '../ui/button.tsx'
import { Page } from '../ui/page.tsx'
import { Prose } from '../ui/prose.tsx'
import { Countdown, Facts, Failure, Panel, sentence, Skeleton, Time } from '../ui/parts.tsx'
import { Arguments } from './arguments.tsx'
import { ApprovalStatusBadge } from './approval-line.tsx'

/** One request: exactly what would be signed, who asks, and what made a person necessary. */
export function ApprovalPage({ id }: { id: string }): ReactNode {
  const { data, error, reload } = useResource<Approval>(`/approvals/${encodeURIComponent(id)}`)
  if (!data) {
    return (
      <Page title="Approval">
        {error ? (
          <Failure error={error} retry={reload} />
        ) : (
          <Skeleton lines={10} what="Loading the request" />
        )}
      </Page>
    )
  }
  return (
    <Page
      title={`Approve ${data.system}.${data.operation}?`}
      heading={
        <>
          {data.system}.{data.operation} <ApprovalStatusBadge status={data.status} />
        </>
      }
      lead={
        <>
          Asked by{' '}
          <Link href={`/agents/${data.agent}`}>
            {data.agent} {instanceName(data.instance)}
          </Link>{' '}
          at <Time at={data.requestedAt} full /> UTC
        </>
      }
    >
      <div className="columns">
        <div className="column-main">
          <Panel
            title={data.status === 'pending' ? 'Exactly what you would sign' : 'The arguments'}
          >
            <Arguments input={data.input} wholeNumbers={data.wholeNumbers} />
            <p className="panel-text muted small">
              A signature covers these arguments, this instance and this operation. If anything in
              them changes, it is void; it is used once.
            </p>
          </Panel>
          <DecideBox approval={data} />
        </div>
        <div className="column-side">
          <Panel title="The request">
            <Facts
              rows={[
                [
                  'Time left',
                  data.status === 'pending' ? (
                    <Countdown
                      key="c"
                      at={data.expiresAt}
                      of={data.expiresAt - data.requestedAt}
                      done="expired"
                    />
                  ) : (
                    '—'
                  ),
                ],
                ['Expires', <Time key="e" at={data.expiresAt} full />],
                ['Needs', plural(data.count, 'signature')],
                [
                  'Signed by',
                  data.statements.length === 0
                    ? 'nobody yet'
                    : data.statements
                        .map(
                          ({ statement }) =>
                            `${statement.approver} (${statement.decision === 'approve' ? 'approved' : 'denied'})`,
                        )
                        .join(', '),
                ],
                [
                  'Instance',
                  <span key="i" className="mono wrap">
                    {data.instance}
                  </span>,
                ],
              ]}
            />
          </Panel>
          <WhyAsked decisionId={data.decisionId} />
        </div>
      </div>
    </Page>
  )
}

function WhyAsked({ decisionId }: { decisionId: string }): ReactNode {
  const { data } = useResource<DecisionDetail>(`/decisions/${encodeURIComponent(decisionId)}`)
  return (
    <Panel title="Why a person is asked">
      <div className="panel-text">
        {data ? (
          <>
            <p>
              <Prose>
                {sentence(
                  readExplanation(data.explanation).summary ||
                    'policy allows this call only with approval',
                )}
              </Prose>
            </p>
            <p>
              {data.record.reasons.map((policy) => (
                <Link
                  key={policy}
                  className="policy-link"
                  href={`/network?section=policies#policy-${policy}`}
                >
                  {policy}
                </Link>
              ))}
            </p>
            <p>
              <Link href={`/decisions/${decisionId}`}>The whole decision</Link>
            </p>
          </>
        ) : (
          <p>
            <Link href={`/decisions/${decisionId}`}>The decision that asked for it</Link>
          </p>
        )}
      </div>
    </Panel>
  )
}

function DecideBox({ approval }: { approval: Approval }): ReactNode {
  const session = useSession()
  const reason = whyNotDecide(session, approval, useNow())
  const [busy, setBusy] = useState<'approve' | 'deny'>()
  const [error, setError] = useState('')

  const decide = async (decision: 'approve' | 'deny'): Promise<void> => {
    setBusy(decision)
    setError('')
    try {
      const path = `/approvals/${encodeURIComponent(approval.id)}`
      await signStatement<ApprovalStatement, unknown>(
        { options: `${path}/options`, submit: `${path}/decide` },
        { decision },
        (offered) => checkApproval(approval, decision, session.operator?.name ?? '', offered),
      )
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(undefined)
      invalidate('/approvals', 0)
    }
  }
  return (
    <div className="decide">
      <div className="decide-acts">
        <Button
          kind="primary"
          icon="key"
          disabled={reason !== '' || busy === 'deny'}
          busy={busy === 'approve'}
          describedBy="decide-reason"
          onPress={() => void decide('approve')}
        >
          Approve with passkey
        </Button>
        <Button
          kind="danger"
          icon="deny"
          disabled={reason !== '' || busy === 'approve'}
          busy={busy === 'deny'}
          describedBy="decide-reason"
          onPress={() => void decide('deny')}
        >
          Deny with passkey
        </Button>
      </div>
      <p id="decide-reason" className="muted" aria-live="polite">
        {reason}
      </p>
      <p className="door-error" role="alert">
        {error}
      </p>
    </div>
  )
}
