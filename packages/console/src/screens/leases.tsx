import { useState } from 'react'
import type { ReactNode } from 'react'
import { post } from '../api/client.ts'
import { invalidate, useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { Lease, Rotation } from '../api/key-types.ts'
import { plural } from '../lib/format.ts'
import { partyName } from '../lib/mandate-words.ts'
import { whyNotRespond } from '../lib/may.ts'
import { useReread } from '../lib/reread.ts'
import { visible } from '../lib/visible.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { ReasonDialog } from '../ui/reason-dialog.tsx'
import { Ago, Countdown, Empty, Failure, Panel, Skeleton } from '../ui/parts.tsx'

const SHOWN = 100

/** What instances hold for a time, and keys of upstreams that are being replaced. */
export function Leases(): ReactNode {
  useReread('/leases', 10_000)
  const { data, error, reload } = useResource<readonly Lease[]>('/leases')
  const [ending, setEnding] = useState<Lease>()
  const why = whyNotRespond(useSession())
  const below = ending ? belowOf(ending.id, data ?? []) : 0
  return (
    <>
      <Panel title={data ? `${plural(data.length, 'lease')} in force` : 'Leases'}>
        {error && <Failure error={error} retry={reload} />}
        {!data && !error && <Skeleton lines={4} what="Loading leases" />}
        {data?.length === 0 && (
          <Empty title="No instance holds anything">
            <p>Accounts in databases, and scopes above them, are leased to instances for a time.</p>
          </Empty>
        )}
        {data && data.length > 0 && (
          <div className="scroll-x">
            <table className="table">
              <thead>
                <tr>
                  <th scope="col">Holder</th>
                  <th scope="col">Holds</th>
                  <th scope="col">State</th>
                  <th scope="col">Since</th>
                  <th scope="col">Ends</th>
                  <th scope="col">
                    <span className="sr-only">End it</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {data.slice(0, SHOWN).map((lease) => (
                  <tr key={lease.id}>
                    <th scope="row" className="wrap" title={visible(lease.holder)}>
                      {partyName(lease.holder)}
                    </th>
                    <td className="wrap">
                      {visible(lease.resource)}
                      <span className="cell-note">
                        {lease.kind}
                        {lease.account !== null && `, as ${visible(lease.account)}`}
                      </span>
                    </td>
                    <td>
                      <Badge
                        {...(lease.state === 'active' &&
                          ({ tone: 'allow', icon: 'allow' } as const))}
                      >
                        {lease.state}
                      </Badge>
                    </td>
                    <td className="muted">
                      <Ago at={lease.issuedAt} />
                    </td>
                    <td className="nowrap">
                      <Countdown at={lease.expiresAt} done="now" />
                    </td>
                    <td>
                      <Button
                        kind="danger"
                        icon="close"
                        disabled={why !== ''}
                        onPress={() => setEnding(lease)}
                      >
                        End…
                        <span className="sr-only">
                          {' '}
                          {visible(lease.resource)} of {partyName(lease.holder)}
                        </span>
                      </Button>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        {data && data.length > SHOWN && (
          <p className="panel-text muted">
            These are the newest {SHOWN} of {data.length}; <code>sallyport secret leases</code>{' '}
            lists all.
          </p>
        )}
        {why !== '' && data && data.length > 0 && <p className="panel-text muted">{why}</p>}
      </Panel>
      <Rotations />
      {ending && (
        <ReasonDialog
          title="End this lease"
          text={`${visible(ending.resource)} of ${partyName(ending.holder)} ends now${below > 0 ? `, and ${plural(below, 'lease')} below it` : ''}: the account and every session that it has open.`}
          label="Reason, for the log and for whoever comes next"
          placeholder="What you saw"
          button="End it now"
          danger
          act={async (reason) => {
            await post('/leases/end', { lease: ending.id, reason })
            invalidate('/leases', 0)
          }}
          onClose={() => setEnding(undefined)}
        />
      )}
    </>
  )
}

/** How many end with it. A lease is younger than its parent, so the chain ends. */
function belowOf(id: string, leases: readonly Lease[]): number {
  const parts = leases.filter(({ parent }) => parent === id)
  return parts.reduce((sum, part) => sum + 1 + belowOf(part.id, leases), 0)
}

function Rotations(): ReactNode {
  useReread('/secrets/rotations', 10_000)
  const { data, error, reload } = useResource<readonly Rotation[]>('/secrets/rotations')
  return (
    <Panel title="Keys of upstreams that are being replaced">
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && <Skeleton lines={2} what="Loading rotations" />}
      {data?.length === 0 && <Empty title="None was replaced lately" />}
      {data && data.length > 0 && (
        <ul className="roots">
          {data.slice(0, SHOWN).map((one) => (
            <li key={one.id}>
              <div className="root-what">
                <strong className="wrap">{visible(one.path)}</strong>{' '}
                <Badge
                  tone={one.step === 'failed' ? 'deny' : one.step === 'done' ? 'allow' : 'needs'}
                >
                  {one.step}
                </Badge>
                <span className="cell-note">
                  <Ago at={one.startedAt} />, by {visible(one.by)}: {visible(one.reason)}
                </span>
                {one.error !== null && (
                  <span className="cell-note tone-deny">{visible(one.error)}</span>
                )}
              </div>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  )
}
