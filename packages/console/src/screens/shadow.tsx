import { useState } from 'react'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { post } from '../api/client.ts'
import { invalidate, useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { DecisionKind, Proposal, ShadowReport } from '../api/types.ts'
import { plural } from '../lib/format.ts'
import { whyNotShadow } from '../lib/may.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { Badge, DecisionBadge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Icon } from '../ui/icon.tsx'
import { Ago, Failure, Skeleton } from '../ui/parts.tsx'

const STAGES = ['draft', 'shadow', 'live'] as const
const WORDS: Readonly<Record<DecisionKind, string>> = {
  allow: 'allowed',
  deny: 'denied',
  needs: 'needs approval',
}

/** Draft, shadow, live: where a proposal is, and what is missing to the next. */
export function Stages({ proposal }: { proposal: Proposal }): ReactNode {
  const { shadow, signed, quorum } = proposal
  const left = Math.max(0, shadow.required - shadow.minutes)
  return (
    <ol className="stages" aria-label="How far it has come">
      {STAGES.map((stage) => (
        <li key={stage} aria-current={stage === shadow.stage ? 'step' : undefined}>
          <strong>{stage}</strong>
          {stage === 'draft' && <span className="muted">checked, without effect</span>}
          {stage === 'shadow' && (
            <span className="muted">
              {shadow.minutes > 0 || shadow.required > 0
                ? `${shadow.minutes} min${shadow.required > 0 ? ` of ${shadow.required} required` : ''}`
                : 'decided by as well, without effect'}
            </span>
          )}
          {stage === 'live' && (
            <span className="muted">
              {signed.length} of {quorum} signed
              {left > 0 && `; the last in ${left} min at the earliest`}
            </span>
          )}
        </li>
      ))}
    </ol>
  )
}

/** Starts and stops the shadow of a proposal, and shows what it would have decided otherwise. */
export function ShadowBox({ proposal }: { proposal: Proposal }): ReactNode {
  const { digest, shadow } = proposal
  const running = shadow.stage === 'shadow'
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const reason = whyNotShadow(useSession())
  const press = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      if (running) await post('/declaration/shadow/stop', {})
      else await post('/declaration/shadow', { digest })
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(false)
      invalidate('/declaration', 0)
    }
  }
  return (
    <>
      <div className="sign-box">
        <Button
          icon={running ? 'pause' : 'play'}
          busy={busy}
          disabled={reason !== ''}
          onPress={() => void press()}
        >
          {running ? 'Stop shadow' : 'Start shadow'}
        </Button>
        <span className="muted">
          {running && shadow.since !== undefined ? (
            <>
              In shadow since <Ago at={shadow.since} />
              {shadow.by !== undefined && `, started by ${shadow.by}`}.{' '}
            </>
          ) : (
            'Gateways decide each call by it too and say where it differs. It changes no decision. '
          )}
          {reason}
        </span>
        <p className="door-error" role="alert">
          {error}
        </p>
      </div>
      {(running || shadow.minutes > 0) && <Report digest={digest} />}
    </>
  )
}

function Report({ digest }: { digest: string }): ReactNode {
  const { data, error, reload } = useResource<ShadowReport>(`/declaration/${digest}/shadow`)
  if (!data) {
    return error ? (
      <Failure error={error} retry={reload} />
    ) : (
      <Skeleton lines={3} what="Loading the shadow report" />
    )
  }
  const { counts, changes } = data
  return (
    <section className="shadow-report" aria-label="Shadow report">
      <dl className="shadow-counts">
        <Count label="Newly allowed" value={counts.denyToAllow} tone="deny" />
        <Count label="Newly denied" value={counts.allowToDeny} tone="needs" />
        <Count label="Approvals changed" value={counts.needsChanged} tone="needs" />
        <Count label="Otherwise" value={counts.otherwise} />
        <Count label="Agreed" value={counts.agreed} />
        <Count label="Not compared" value={counts.notCompared} />
      </dl>
      {changes.length === 0 ? (
        <p className="panel-text muted">
          No call has come out otherwise yet.{' '}
          {counts.agreed === 0 && 'Gateways tell what agreed every few seconds.'}
        </p>
      ) : (
        <Samples changes={changes} />
      )}
      <p className="panel-text">
        <Button kind="quiet" icon="refresh" onPress={reload}>
          Read again
        </Button>
      </p>
    </section>
  )
}

function Count(props: { label: string; value: number; tone?: 'deny' | 'needs' }): ReactNode {
  const tone = props.value > 0 && props.tone ? `num tone-${props.tone}` : 'num'
  return (
    <div>
      <dt className="muted">{props.label}</dt>
      <dd className={tone}>{props.value}</dd>
    </div>
  )
}

function Samples({ changes }: { changes: ShadowReport['changes'] }): ReactNode {
  return (
    <div className="scroll-x">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">Call</th>
            <th scope="col">In force</th>
            <th scope="col">In shadow</th>
            <th scope="col">What else</th>
            <th scope="col">When</th>
          </tr>
        </thead>
        {changes.map(({ from, to, calls, examples }) => (
          <tbody key={`${from}-${to}`}>
            <tr className="shadow-kind">
              <th scope="rowgroup" colSpan={5}>
                {WORDS[from]} <Icon name="chevron" size={10} /> {WORDS[to]}{' '}
                <Badge tone={to === 'allow' && from !== 'allow' ? 'deny' : 'neutral'}>
                  {plural(calls, 'call')}
                </Badge>
              </th>
            </tr>
            {examples.map(({ decisionId, agent, system, operation, live, shadow, at }) => (
              <tr key={decisionId}>
                <th scope="row">
                  <Link href={`/decisions/${decisionId}`} className="mono">
                    {agent} <span className="arrow">→</span> {system}.{operation}
                  </Link>
                </th>
                <td>
                  <DecisionBadge decision={live.decision} code={live.code} />
                </td>
                <td>
                  <DecisionBadge decision={shadow.decision} code={shadow.code} />
                </td>
                <td className="muted">{shadow.changes?.join('; ')}</td>
                <td>
                  <Ago at={at} />
                </td>
              </tr>
            ))}
          </tbody>
        ))}
      </table>
    </div>
  )
}
