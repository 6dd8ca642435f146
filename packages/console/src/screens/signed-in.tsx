import { useEffect, useState } from 'react'
import type { ReactNode } from 'react'
import { useLocation } from 'wouter'
import { post } from '../api/client.ts'
import { loadSession } from '../api/session.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { begunHere, forgetBegun } from '../lib/federation.ts'
import { Door } from '../shell/door.tsx'
import { Button } from '../ui/button.tsx'

/** Where an identity provider sends the browser back to. Only the page that went there has the key to the answer. */
export function SignedIn(): ReactNode {
  const [, navigate] = useLocation()
  const [{ begun, search }] = useState(() => ({ begun: begunHere(), search: location.search }))
  const [error, setError] = useState(
    begun && search !== '' ? '' : 'This sign-in was not begun in this browser window.',
  )
  useEffect(() => {
    // The code leaves the address bar and the history.
    history.replaceState(null, '', '/signed-in')
    forgetBegun()
    if (!begun || search === '') return
    post('/auth/oidc/finish', { ...begun, search })
      .then(loadSession)
      .then(() => navigate('/', { replace: true }))
      .catch((failure: unknown) => setError(passkeyFailure(failure)))
  }, [begun, search, navigate])
  return (
    <Door title={error === '' ? 'Signing in' : 'Not signed in'}>
      <p className="door-error" role="alert">
        {error}
      </p>
      {error !== '' && (
        <Button kind="primary" onPress={() => navigate('/', { replace: true })}>
          To the sign-in page
        </Button>
      )}
    </Door>
  )
}
