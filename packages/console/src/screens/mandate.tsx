import { useMemo, useState } from 'react'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { useResource } from '../api/resource.ts'
import type { Resource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { MandateView } from '../api/mandate-types.ts'
import { canonicalJson } from '../lib/canonical.ts'
import { agentName, count } from '../lib/format.ts'
import { useCut, useMandates } from '../lib/held.ts'
import { placed, stateOf } from '../lib/mandate-tree.ts'
import { partyName } from '../lib/mandate-words.ts'
import { whyNotRevoke } from '../lib/may.ts'
import { visible } from '../lib/visible.ts'
import { MandateBadge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Icon } from '../ui/icon.tsx'
import { Page } from '../ui/page.tsx'
import { Copyable, Countdown, Facts, Failure, Panel, Skeleton, Time } from '../ui/parts.tsx'
import { RevokeDialog } from './mandate-revoke.tsx'
import { MandateTerms } from './mandate-terms.tsx'
import '../styles/mandates.css'

/** One mandate: what it says, its chain from the root down to it, what was passed on of it, and the way to end it. */
export function MandatePage({ id }: { id: string }): ReactNode {
  const { data, error, reload } = useResource<MandateView>(`/mandates/${encodeURIComponent(id)}`)
  const list = useMandates()
  if (!data) {
    return (
      <Page title="Mandate">
        {error ? (
          <Failure error={error} retry={reload} />
        ) : (
          <Skeleton lines={10} what="Loading the mandate" />
        )}
      </Page>
    )
  }
  return (
    <>
      {error && <Failure error={error} retry={reload} />}
      <Held mandate={data} list={list} />
    </>
  )
}

function Held(props: { mandate: MandateView; list: Resource<readonly MandateView[]> }): ReactNode {
  const { mandate, list } = props
  const mandates = useMemo(
    () => [mandate, ...(list.data ?? []).filter(({ id }) => id !== mandate.id)],
    [mandate, list.data],
  )
  const { statement } = mandate
  const [ending, setEnding] = useState(false)
  const why = whyNotRevoke(useSession())
  const cut = useCut()
  const known = useMemo(() => new Map(mandates.map((one) => [one.id, one])), [mandates])
  const rows = placed(mandates).filter(
    (row) => row.mandate.chain.includes(mandate.id) || mandate.chain.includes(row.mandate.id),
  )
  const own = rows.find((row) => row.mandate.id === mandate.id)
  const state = own && stateOf(own, known, cut)
  return (
    <Page
      title={`Mandate: ${visible(statement.task).slice(0, 80)}`}
      heading={
        <>
          <span className="wrap">{visible(statement.task)}</span>{' '}
          {state && <MandateBadge state={state} />}
        </>
      }
      lead={
        <>
          From {partyName(statement.delegator)} to{' '}
          <Link href={`/agents/${agentName(statement.delegate)}`}>
            {partyName(statement.delegate)}
          </Link>
          , since <Time at={statement.issuedAt} full /> UTC
        </>
      }
    >
      {mandate.revoked && (
        <div className="notice notice-deny">
          <p className="wrap">
            Ended by {visible(mandate.revoked.by)} at <Time at={mandate.revoked.at} full /> UTC:{' '}
            {visible(mandate.revoked.reason)}
            {mandate.revoked.id !== mandate.id && (
              <>
                {' '}
                It fell with{' '}
                <Link href={`/mandates/${mandate.revoked.id}`}>the one that it is a part of</Link>.
              </>
            )}
          </p>
        </div>
      )}
      {state === 'cut' && (
        <div className="notice notice-deny">
          <p>
            An instance that signed it is quarantined. Gateways refuse it until that is released.
          </p>
        </div>
      )}
      <div className="columns">
        <div className="column-main">
          <Panel title="What it says">
            <MandateTerms
              delegator={statement.delegator}
              terms={{
                ...statement,
                lifetimeSeconds: Math.round((statement.expiresAt - statement.notBefore) / 1000),
              }}
              until={statement.expiresAt}
            />
            <details className="panel-text">
              <summary>The exact text that is signed</summary>
              <pre className="block mandate-exact">{visible(canonicalJson(statement))}</pre>
            </details>
          </Panel>
          <Panel title="Its chain">
            <ol className="chain">
              {rows.map((row) => (
                <li
                  key={row.mandate.id}
                  className={`mandate-level-${Math.min(row.level, 4)}`}
                  {...(row.mandate.id === mandate.id && { 'aria-current': 'true' as const })}
                >
                  {row.level > 0 && (
                    <span className="mandate-branch">
                      <Icon name="branch" size={14} />
                    </span>
                  )}
                  <span className="mandate-what wrap">
                    {partyName(row.mandate.statement.delegator)} to{' '}
                    {partyName(row.mandate.statement.delegate)}:{' '}
                    {row.mandate.id === mandate.id ? (
                      <strong>this mandate</strong>
                    ) : (
                      <Link href={`/mandates/${row.mandate.id}`}>
                        {visible(row.mandate.statement.task)}
                      </Link>
                    )}{' '}
                    <MandateBadge state={stateOf(row, known, cut)} />{' '}
                    <span className="muted num nowrap">
                      {count(row.usesLeft)} of {count(row.mandate.statement.uses)} calls left
                    </span>
                  </span>
                </li>
              ))}
            </ol>
            {own?.orphan === true && rows[0]?.mandate.id === mandate.id && (
              <p className="panel-text muted">
                It is step {count(mandate.chain.length)} of its chain; what it is a part of is not
                listed here.
              </p>
            )}
          </Panel>
        </div>
        <div className="column-side">
          <Panel title="The grant">
            <Facts
              rows={[
                [
                  'Calls left',
                  <span key="u" className="num">
                    {count(own?.usesLeft ?? 0)} of {count(statement.uses)}
                  </span>,
                ],
                [
                  'Time left',
                  <Countdown
                    key="c"
                    at={statement.expiresAt}
                    of={statement.expiresAt - statement.notBefore}
                    done="over"
                  />,
                ],
                ['Ends', <Time key="e" at={statement.expiresAt} full />],
                ['Step', `${mandate.chain.length} of 5 at most`],
                [
                  'Delegate',
                  <span key="d" className="mono wrap">
                    {visible(statement.delegate)}
                  </span>,
                ],
                ['Id', <Copyable key="i" text={mandate.id} label="Copy the id" />],
              ]}
            />
          </Panel>
          {mandate.status === 'active' && (
            <div className="decide">
              <div className="decide-acts">
                <Button
                  kind="danger"
                  icon="close"
                  disabled={why !== '' || (!list.data && !list.error)}
                  describedBy="end-reason"
                  onPress={() => setEnding(true)}
                >
                  End it…
                </Button>
              </div>
              <p id="end-reason" className="muted">
                {why}
              </p>
            </div>
          )}
        </div>
      </div>
      {ending && (
        <RevokeDialog mandate={mandate} mandates={list.data} onClose={() => setEnding(false)} />
      )}
    </Page>
  )
}
