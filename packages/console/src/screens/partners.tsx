import { useState } from 'react'
import type { ReactNode } from 'react'
import { post } from '../api/client.ts'
import { invalidate, useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { Partner, Quarantine } from '../api/types.ts'
import { spanWords } from '../lib/mandate-words.ts'
import { whyNotRespond } from '../lib/may.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { useReread } from '../lib/reread.ts'
import { visible } from '../lib/visible.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { ReasonDialog } from '../ui/reason-dialog.tsx'
import { Ago, Empty, Failure, Panel, Skeleton } from '../ui/parts.tsx'
import { ReleaseDialog } from './release-dialog.tsx'

/** Other trust domains: how fresh what is held of each is, and who of them may call. */
export function Partners(): ReactNode {
  useReread('/federation', 15_000)
  const { data, error, reload } = useResource<readonly Partner[]>('/federation')
  return (
    <>
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && (
        <Panel>
          <Skeleton lines={6} what="Loading partners" />
        </Panel>
      )}
      {data?.length === 0 && (
        <Panel>
          <Empty title="No other trust domain is declared">
            <p>
              Declare one under <code>federation</code> in <code>network.yaml</code>, with the
              agents of it that may call. Nobody else of it gets in.
            </p>
          </Empty>
        </Panel>
      )}
      {data?.map((partner) => (
        <PartnerPanel key={partner.trustDomain} partner={partner} />
      ))}
    </>
  )
}

function PartnerPanel({ partner }: { partner: Partner }): ReactNode {
  const { trustDomain, state, agents, fetchedAt, failure, sequence, maxAgeSeconds } = partner
  const subject = `spiffe://${trustDomain}`
  const why = whyNotRespond(useSession())
  const quarantine = useResource<readonly Quarantine[]>('/quarantine').data?.find(
    (one) => one.subject === subject,
  )
  const [open, setOpen] = useState<'cut' | 'release'>()
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const fetchNow = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      await post('/federation/refresh', { trustDomain })
    } catch (failed) {
      setError(passkeyFailure(failed))
    } finally {
      setBusy(false)
      invalidate('/federation', 0)
    }
  }
  return (
    <Panel
      title={
        <>
          {visible(trustDomain)} <PartnerState state={state} />
        </>
      }
      aside={
        <>
          <Button icon="refresh" busy={busy} disabled={why !== ''} onPress={() => void fetchNow()}>
            Fetch its bundle now
          </Button>
          {quarantine ? (
            <Button icon="key" onPress={() => setOpen('release')}>
              Release…
            </Button>
          ) : (
            <Button
              kind="danger"
              icon="lock"
              disabled={why !== '' || state === 'quarantined'}
              onPress={() => setOpen('cut')}
            >
              Quarantine all of it…
            </Button>
          )}
        </>
      }
    >
      <p className="panel-text">
        {fetchedAt === undefined ? (
          'Nothing was fetched yet.'
        ) : (
          <>
            Bundle {sequence} fetched <Ago at={fetchedAt} />, good for {spanWords(maxAgeSeconds)}.
          </>
        )}{' '}
        {failure !== undefined && (
          <Badge tone="deny" icon="incident">
            last attempt: {visible(failure)}
          </Badge>
        )}{' '}
        <span className="muted wrap">{visible(partner.url)}</span>
      </p>
      {state === 'stale' && (
        <p className="panel-text tone-deny">
          Gateways let none of its agents in until its bundle was fetched again.
        </p>
      )}
      <p className="door-error" role="alert">
        {error}
      </p>
      {agents.length === 0 ? (
        <Empty title="None of its agents may call" />
      ) : (
        <div className="scroll-x">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Agent</th>
                <th scope="col">State</th>
                <th scope="col">Purpose</th>
                <th scope="col">Until</th>
                <th scope="col">Owner here</th>
              </tr>
            </thead>
            <tbody>
              {agents.map((agent) => (
                <tr key={agent.name}>
                  <th scope="row" className="wrap">
                    {visible(agent.name)}
                    <span className="cell-note mono">{visible(agent.path)}</span>
                  </th>
                  <td>
                    <Badge
                      {...(agent.state === 'active'
                        ? ({ tone: 'allow', icon: 'allow' } as const)
                        : ({ tone: 'deny', icon: 'lock' } as const))}
                    >
                      {agent.state === 'active' ? 'may call' : agent.state}
                    </Badge>
                  </td>
                  <td>{visible(agent.purpose)}</td>
                  <td className="num nowrap">{visible(agent.until)}</td>
                  <td>{visible(agent.owner)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {open === 'cut' && (
        <ReasonDialog
          title={`Quarantine ${visible(trustDomain)}`}
          text="Every agent of it is cut off at once: its open connections and what it calls from now on. Letting it back in takes a passkey."
          label="Reason, for the log and for whoever comes next"
          placeholder="What you saw"
          button="Quarantine now"
          danger
          act={async (reason) => {
            await post('/quarantine', { subject, reason })
            for (const path of ['/federation', '/quarantine', '/incidents']) invalidate(path, 0)
          }}
          onClose={() => setOpen(undefined)}
        />
      )}
      {open === 'release' && quarantine && (
        <ReleaseDialog
          quarantine={quarantine}
          onClose={() => {
            setOpen(undefined)
            invalidate('/federation', 0)
          }}
        />
      )}
    </Panel>
  )
}

function PartnerState({ state }: { state: Partner['state'] }): ReactNode {
  if (state === 'quarantined') {
    return (
      <Badge tone="deny" icon="lock">
        Quarantined
      </Badge>
    )
  }
  return state === 'fresh' ? (
    <Badge tone="allow" icon="allow">
      Fresh
    </Badge>
  ) : (
    <Badge tone="deny" icon="incident">
      Stale
    </Badge>
  )
}
