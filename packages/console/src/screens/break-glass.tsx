import { useState } from 'react'
import type { ReactNode } from 'react'
import { Input } from 'react-aria-components/Input'
import { Label } from 'react-aria-components/Label'
import { TextField } from 'react-aria-components/TextField'
import { Link } from 'wouter'
import { get, post } from '../api/client.ts'
import { invalidate, useResource } from '../api/resource.ts'
import { loadSession, useSession } from '../api/session.ts'
import type { BreakGlass, NetworkInfo, ReviewStatement } from '../api/types.ts'
import { CeremonyError, checkReview } from '../lib/ceremony.ts'
import { plural } from '../lib/format.ts'
import { whyNotReview } from '../lib/may.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { withPasskey } from '../lib/presence.ts'
import { signStatement } from '../lib/sign.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Ago, Countdown, Empty, Failure, Panel } from '../ui/parts.tsx'

/** Emergency roles: taking them, and what others found about it. */
export function BreakGlassPanel(): ReactNode {
  const { data, error, reload } = useResource<readonly BreakGlass[]>('/break-glass')
  const { data: info } = useResource<NetworkInfo>('/network')
  const { operator, method, breakGlass } = useSession()
  const declared = info?.network.operators.find(({ name }) => name === operator?.name)
  const roles = method === 'passkey' && !breakGlass ? (declared?.breakGlass?.roles ?? []) : []
  return (
    <Panel title="Break-glass">
      {error && <Failure error={error} retry={reload} />}
      {roles.length > 0 && (
        <OneLine
          label={`Why you need to be ${roles.join(' and ')} now`}
          button="Break the glass with passkey"
          act={async (reason) => {
            const paths = { options: '/break-glass/options', submit: '/break-glass/open' }
            await withPasskey(paths, { reason })
            await loadSession()
          }}
        />
      )}
      {data?.length === 0 && (
        <Empty title="Nobody has broken the glass">
          <p>
            Operators whom the declaration gives emergency roles take them here, with a reason.
            Everybody is told, every act is listed, and somebody else reviews it.
          </p>
        </Empty>
      )}
      {data?.map((one) => (
        <Broken key={one.id} glass={one} />
      ))}
    </Panel>
  )
}

function Broken({ glass }: { glass: BreakGlass }): ReactNode {
  const [error, setError] = useState('')
  const { data } = useResource<BreakGlass>(`/break-glass/${glass.id}`)
  const session = useSession()
  const why = whyNotReview(session, glass)
  const end = async (): Promise<void> => {
    try {
      await post(`/break-glass/${glass.id}/end`)
      invalidate('/break-glass', 0)
      await loadSession()
    } catch (failure) {
      setError(passkeyFailure(failure))
    }
  }
  return (
    <article className="proposal">
      <p className="panel-text">
        <State glass={glass} /> <strong>{glass.operator}</strong> as {glass.roles.join(', ')},{' '}
        <Ago at={glass.openedAt} />: {glass.reason}{' '}
        <Link href={`/incidents/${glass.incidentId}`}>Incident</Link>
      </p>
      {data?.acts && (
        <details className="panel-text">
          <summary>{plural(data.acts.length, 'act')} under it</summary>
          <ul className="plain-list mono small">
            {data.acts.map((act) => (
              <li key={`${act.at} ${act.method} ${act.path}`}>
                {act.method} {act.path}
              </li>
            ))}
          </ul>
        </details>
      )}
      {glass.review && (
        <p className="panel-text muted">
          Reviewed by {glass.review.by}, <Ago at={glass.review.at} />: {glass.review.text}
        </p>
      )}
      {glass.open && (
        <p className="panel-text">
          <Button kind="danger" icon="close" onPress={() => void end()}>
            End it now
          </Button>{' '}
          <span className="muted">
            It ends in <Countdown at={glass.endsAt} done="no time" />.
          </span>
        </p>
      )}
      {!glass.open && !glass.review && why === '' && (
        <OneLine
          label="What you found"
          button="Sign the review with passkey"
          act={async (text) => {
            const path = `/break-glass/${glass.id}`
            const review = `${path}/review`
            // As it is now, ended: what is signed is compared with it.
            const shown = await get<BreakGlass>(path)
            if (shown.acts?.length !== data?.acts?.length) {
              invalidate(path, 0)
              throw new CeremonyError('more was done since; look at it first. Nothing was signed')
            }
            await signStatement<ReviewStatement, object>(
              { options: `${review}/options`, submit: review },
              { text },
              (offered) => checkReview(shown, session.operator?.name ?? '', text, offered),
            )
          }}
        />
      )}
      {!glass.open && !glass.review && why !== '' && <p className="panel-text muted">{why}</p>}
      <p className="door-error" role="alert">
        {error}
      </p>
    </article>
  )
}

function State({ glass }: { glass: BreakGlass }): ReactNode {
  if (glass.open) {
    return (
      <Badge tone="deny" icon="broken">
        open
      </Badge>
    )
  }
  if (glass.review) return <Badge icon="allow">reviewed</Badge>
  return (
    <Badge tone={glass.overdue ? 'deny' : 'needs'} icon="needs">
      {glass.overdue ? 'review overdue' : 'waits for a review'}
    </Badge>
  )
}

function OneLine(props: {
  label: string
  button: string
  act: (text: string) => Promise<void>
}): ReactNode {
  const [text, setText] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const act = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      await props.act(text.trim())
      setText('')
      for (const path of ['/break-glass', '/alarms', '/incidents']) invalidate(path, 0)
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(false)
    }
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        void act()
      }}
    >
      <div className="inline-form">
        <TextField value={text} onChange={setText} isRequired>
          <Label>{props.label}</Label>
          <Input maxLength={500} />
        </TextField>
        <Button kind="danger" icon="key" type="submit" busy={busy} disabled={text.trim() === ''}>
          {props.button}
        </Button>
      </div>
      <p className="door-error" role="alert">
        {error}
      </p>
    </form>
  )
}
