import { startAuthentication } from '@simplewebauthn/browser'
import type { PublicKeyCredentialRequestOptionsJSON } from '@simplewebauthn/browser'
import { useEffect, useState } from 'react'
import type { ReactNode } from 'react'
import { Input } from 'react-aria-components/Input'
import { Label } from 'react-aria-components/Label'
import { TextField } from 'react-aria-components/TextField'
import { get, post } from '../api/client.ts'
import { loadSession } from '../api/session.ts'
import { signInAt } from '../lib/federation.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { Door } from '../shell/door.tsx'
import { Button } from '../ui/button.tsx'

/** Passkey first; a code only where the passkey is not at hand, and then only to read and contain. */
export function SignIn({ bootstrap }: { bootstrap: boolean }): ReactNode {
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const [totp, setTotp] = useState(false)
  const [providers, setProviders] = useState<readonly string[]>([])
  useEffect(() => {
    // Without them there is the passkey.
    get<readonly { readonly name: string }[]>('/auth/oidc').then(
      (found) => setProviders(found.map(({ name }) => name)),
      () => undefined,
    )
  }, [])

  const attempt = async (act: () => Promise<unknown>): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      await act()
      await loadSession()
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(false)
    }
  }
  const passkey = async (): Promise<void> => {
    const optionsJSON = await post<PublicKeyCredentialRequestOptionsJSON>('/auth/login/options')
    const response = await startAuthentication({ optionsJSON })
    await post('/auth/login/verify', { response })
  }

  return (
    <Door title="Sign in">
      {bootstrap ? (
        <div className="notice">
          <p>
            <strong>No operator is enrolled yet.</strong> The first one enrols with the one-time
            link that <code>sallyport init</code> or <code>npm start</code> printed in its terminal.
          </p>
        </div>
      ) : (
        <p className="muted">Your passkey signs you in, and later signs what you approve.</p>
      )}
      <p className="door-error" role="alert">
        {error}
      </p>
      {totp ? (
        <TotpForm
          busy={busy}
          onCancel={() => setTotp(false)}
          onSubmit={(operator, code) => attempt(() => post('/auth/totp', { operator, code }))}
        />
      ) : (
        <div className="door-acts">
          <Button
            kind="primary"
            icon="key"
            busy={busy}
            disabled={bootstrap}
            onPress={() => void attempt(passkey)}
          >
            Sign in with a passkey
          </Button>
          {providers.map((name) => (
            <Button
              key={name}
              icon="person"
              busy={busy}
              onPress={() => void attempt(() => signInAt(name))}
            >
              Sign in at {name}
            </Button>
          ))}
          {!bootstrap && (
            <Button kind="quiet" onPress={() => setTotp(true)}>
              Use a one-time code instead
            </Button>
          )}
        </div>
      )}
    </Door>
  )
}

function TotpForm(props: {
  busy: boolean
  onCancel: () => void
  onSubmit: (operator: string, code: string) => Promise<void>
}): ReactNode {
  const [operator, setOperator] = useState('')
  const [code, setCode] = useState('')
  return (
    <form
      className="door-acts"
      onSubmit={(event) => {
        event.preventDefault()
        void props.onSubmit(operator.trim(), code.replaceAll(' ', ''))
      }}
    >
      <TextField value={operator} onChange={setOperator} isRequired autoComplete="username">
        <Label>Operator name</Label>
        <Input autoFocus autoCapitalize="none" spellCheck={false} />
      </TextField>
      <TextField value={code} onChange={setCode} isRequired autoComplete="one-time-code">
        <Label>Six-digit code</Label>
        <Input inputMode="numeric" maxLength={7} className="num code-input" />
      </TextField>
      <p className="muted small">
        First ask another operator to confirm it, under Sessions. A code lets you read and contain;
        approving and releasing need the passkey.
      </p>
      <Button kind="primary" type="submit" busy={props.busy}>
        Sign in with the code
      </Button>
      <Button kind="quiet" onPress={props.onCancel}>
        Back to the passkey
      </Button>
    </form>
  )
}
