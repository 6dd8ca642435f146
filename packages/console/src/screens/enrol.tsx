import { startRegistration } from '@simplewebauthn/browser'
import type { PublicKeyCredentialCreationOptionsJSON } from '@simplewebauthn/browser'
import { useState } from 'react'
import type { ReactNode } from 'react'
import { useLocation } from 'wouter'
import { post } from '../api/client.ts'
import { loadSession } from '../api/session.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { Door } from '../shell/door.tsx'
import { Button } from '../ui/button.tsx'

/** `/enrol#LINK`: the token stays in the fragment, which browsers send to no server and write into no referrer. */
export function Enrol(): ReactNode {
  const [, navigate] = useLocation()
  const [link] = useState(() => location.hash.slice(1))
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const [waiting, setWaiting] = useState(false)

  const enrol = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      const optionsJSON = await post<PublicKeyCredentialCreationOptionsJSON>(
        '/auth/register/options',
        { link },
      )
      const response = await startRegistration({ optionsJSON })
      const { active } = await post<{ readonly active?: boolean }>('/auth/register/verify', {
        link,
        response,
      })
      if (active === false) {
        setWaiting(true)
        return
      }
      // The link is used up: it leaves the address bar and the history.
      navigate('/', { replace: true })
      await loadSession()
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(false)
    }
  }

  if (waiting) {
    return (
      <Door title="Your passkey waits for signatures">
        <p>
          It is enrolled. It works once the operators who are there already have signed the new set
          of keys: ask one of them to open the console.
        </p>
        <Button onPress={() => navigate('/', { replace: true })}>Go to sign-in</Button>
      </Door>
    )
  }
  if (link === '') {
    return (
      <Door title="Enrol a passkey">
        <p>
          This page needs the one-time link that was printed in the terminal, with everything after
          the <code>#</code>. It may have been copied short.
        </p>
        <Button onPress={() => navigate('/', { replace: true })}>Go to sign-in</Button>
      </Door>
    )
  }
  return (
    <Door title="Enrol a passkey">
      <p className="muted">
        The link works once. The passkey made here belongs to you alone: it signs you in, and every
        approval carries its signature over the exact arguments you were shown.
      </p>
      <p className="door-error" role="alert">
        {error}
      </p>
      <div className="door-acts">
        <Button kind="primary" icon="key" busy={busy} onPress={() => void enrol()}>
          Create a passkey
        </Button>
      </div>
    </Door>
  )
}
