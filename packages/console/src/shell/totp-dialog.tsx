import { useEffect, useState } from 'react'
import type { ReactNode } from 'react'
import { Input } from 'react-aria-components/Input'
import { Label } from 'react-aria-components/Label'
import { TextField } from 'react-aria-components/TextField'
import { post } from '../api/client.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { Button } from '../ui/button.tsx'
import { ModalDialog } from '../ui/dialog.tsx'
import { Copyable, Skeleton } from '../ui/parts.tsx'

/** One-time codes as a fallback for signing in: to read and contain, never to approve. */
export function TotpDialog({ onClose }: { onClose: () => void }): ReactNode {
  const [secret, setSecret] = useState('')
  const [code, setCode] = useState('')
  const [error, setError] = useState('')
  const [done, setDone] = useState(false)
  useEffect(() => {
    post<{ readonly secret: string }>('/auth/totp/setup').then(
      (made) => setSecret(made.secret),
      (failure: unknown) => setError(passkeyFailure(failure)),
    )
  }, [])
  const enable = async (): Promise<void> => {
    setError('')
    try {
      await post('/auth/totp/enable', { secret, code: code.replaceAll(' ', '') })
      setDone(true)
    } catch (failure) {
      setError(passkeyFailure(failure))
    }
  }
  return (
    <ModalDialog title="One-time codes" open onClose={onClose}>
      {done ? (
        <>
          <p role="status">
            Done. Where your passkey is not at hand, a code signs you in once another operator has
            confirmed it, to read and to contain.
          </p>
          <div className="dialog-acts">
            <Button kind="primary" autoFocus onPress={onClose}>
              Close
            </Button>
          </div>
        </>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault()
            void enable()
          }}
        >
          <p className="muted">
            Put this secret into an authenticator app, then type the code it shows. It is shown only
            now.
          </p>
          {secret === '' && error === '' ? (
            <Skeleton lines={1} what="Making a secret" />
          ) : (
            <Copyable text={secret} label="Copy the secret" />
          )}
          <TextField value={code} onChange={setCode} isRequired autoComplete="one-time-code">
            <Label>Six-digit code</Label>
            <Input inputMode="numeric" maxLength={7} className="react-aria-Input num code-input" />
          </TextField>
          <p className="door-error" role="alert">
            {error}
          </p>
          <div className="dialog-acts">
            <Button kind="quiet" onPress={onClose}>
              Cancel
            </Button>
            <Button kind="primary" type="submit" disabled={secret === '' || code === ''}>
              Turn on
            </Button>
          </div>
        </form>
      )}
    </ModalDialog>
  )
}
