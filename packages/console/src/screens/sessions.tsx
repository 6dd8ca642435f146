import { useState } from 'react'
import type { ReactNode } from 'react'
import { post } from '../api/client.ts'
import { invalidate, useResource } from '../api/resource.ts'
import { loadSession, useSession } from '../api/session.ts'
import type { Alarm, SessionListing } from '../api/types.ts'
import { browserName } from '../lib/format.ts'
import { whyNotEnd } from '../lib/may.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Page } from '../ui/page.tsx'
import { Ago, Countdown, Empty, Failure, Panel, Skeleton } from '../ui/parts.tsx'
import { BreakGlassPanel } from './break-glass.tsx'
import { RecoveryPanel } from './recovery.tsx'

const METHODS = {
  passkey: { word: 'Passkey', tone: 'allow', icon: 'key' },
  totp: { word: 'Code', tone: 'needs', icon: 'needs' },
  oidc: { word: 'Identity provider', tone: 'accent', icon: 'person' },
} as const

/** Who is signed in, how to end that, and the ways in for emergencies. */
export function Sessions(): ReactNode {
  const { data, error, reload } = useResource<readonly SessionListing[]>('/sessions')
  return (
    <Page title="Sessions" lead="Who is signed in, from where, and until when.">
      <Panel title="Signed in">
        {error && <Failure error={error} retry={reload} />}
        {!data && !error && <Skeleton lines={4} what="Loading sessions" />}
        {data && <SessionTable sessions={data} />}
      </Panel>
      <BreakGlassPanel />
      <RecoveryPanel />
      <Alarms />
    </Page>
  )
}

function SessionTable({ sessions }: { sessions: readonly SessionListing[] }): ReactNode {
  const [error, setError] = useState('')
  const [busy, setBusy] = useState('')
  const me = useSession()
  const end = async (session: SessionListing): Promise<void> => {
    setBusy(session.id)
    setError('')
    try {
      await post(`/sessions/${session.id}/revoke`)
      invalidate('/sessions', 0)
      if (session.current) await loadSession()
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy('')
    }
  }
  return (
    <>
      <p className="door-error" role="alert">
        {error}
      </p>
      <div className="scroll-x">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Operator</th>
              <th scope="col">Signed in by</th>
              <th scope="col">From</th>
              <th scope="col">Since</th>
              <th scope="col">Last used</th>
              <th scope="col">Ends</th>
              <th scope="col">
                <span className="sr-only">End it</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {sessions.map((session) => {
              const { word, tone, icon } = METHODS[session.method]
              const why = whyNotEnd(me, session)
              return (
                <tr key={session.id}>
                  <th scope="row">
                    {session.operator}
                    <span className="cell-note">
                      {session.current ? 'this session' : session.roles.join(', ')}
                    </span>
                  </th>
                  <td>
                    <Badge tone={tone} icon={icon}>
                      {word}
                    </Badge>
                  </td>
                  <td>
                    <span title={session.userAgent}>{browserName(session.userAgent)}</span>
                    <span className="cell-note mono">{session.address}</span>
                  </td>
                  <td className="muted">
                    <Ago at={session.startedAt} />
                  </td>
                  <td className="muted">
                    <Ago at={session.lastUsed} />
                  </td>
                  <td>
                    <Countdown at={Math.min(session.expiresAt, session.idleAt)} done="now" />
                  </td>
                  <td>
                    <Button
                      kind="danger"
                      icon="close"
                      busy={busy === session.id}
                      disabled={why !== ''}
                      onPress={() => void end(session)}
                    >
                      End
                      <span className="sr-only">
                        {' '}
                        the session of {session.operator}, {browserName(session.userAgent)}
                        {why !== '' && `. ${why}`}
                      </span>
                    </Button>
                  </td>
                </tr>
              )
            })}
          </tbody>
        </table>
      </div>
    </>
  )
}

function Alarms(): ReactNode {
  const { data, error, reload } = useResource<readonly Alarm[]>('/alarms')
  return (
    <Panel title="Alarms about people">
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && <Skeleton lines={2} what="Loading alarms" />}
      {data?.length === 0 && (
        <Empty title="None">
          <p>
            A session that another browser shows, a code that comes twice, a recovery and a
            break-glass are told here, and live to everybody who is signed in.
          </p>
        </Empty>
      )}
      {data && data.length > 0 && (
        <ul className="plain-list">
          {data.slice(0, 30).map((alarm) => (
            <li key={alarm.id}>
              <Badge tone={alarm.kind === 'recovery' ? 'needs' : 'deny'} icon="incident">
                {alarm.kind.replaceAll('-', ' ')}
              </Badge>{' '}
              {alarm.text.replaceAll('`', '')}{' '}
              <span className="muted">
                <Ago at={alarm.at} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  )
}
