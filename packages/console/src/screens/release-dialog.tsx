import { useState } from 'react'
import type { ReactNode } from 'react'
import { Input } from 'react-aria-components/Input'
import { Label } from 'react-aria-components/Label'
import { TextField } from 'react-aria-components/TextField'
import { invalidate } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { Quarantine, ReleaseResult, ReleaseStatement } from '../api/types.ts'
import { checkRelease } from '../lib/ceremony.ts'
import { agentName, instanceName } from '../lib/format.ts'
import { whyNotRelease } from '../lib/may.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { signStatement } from '../lib/sign.ts'
import { Button } from '../ui/button.tsx'
import { ModalDialog } from '../ui/dialog.tsx'

/** Gives authority back, so it takes a passkey over the quarantine, its subject and the reason. */
export function ReleaseDialog(props: { quarantine: Quarantine; onClose: () => void }): ReactNode {
  const { id, subject, release: begun } = props.quarantine
  const [reason, setReason] = useState(begun?.statement.reason ?? '')
  const [waits, setWaits] = useState<ReleaseResult>()
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const session = useSession()
  const blocked =
    whyNotRelease(session) ||
    (begun?.signed.includes(session.operator?.name ?? '')
      ? 'You have signed it. It needs another person.'
      : '')

  const release = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      const path = `/quarantine/${encodeURIComponent(id)}/release`
      const text = reason.trim()
      const result = await signStatement<ReleaseStatement, ReleaseResult>(
        { options: `${path}/options`, submit: path },
        { reason: text },
        (offered) => checkRelease(id, subject, text, offered),
      )
      for (const stale of ['/agents', '/quarantine', '/incidents']) invalidate(stale, 0)
      if (result.released) props.onClose()
      else setWaits(result)
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(false)
    }
  }
  const what = instanceName(subject) === subject ? agentName(subject) : instanceName(subject)
  return (
    <ModalDialog title={`Release ${what}`} open onClose={props.onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void release()
        }}
      >
        <p className="muted">
          It was cut off because: {props.quarantine.reason}. Releasing lets it call again under the
          same policies; its past stays in the log.
        </p>
        <TextField
          value={reason}
          onChange={setReason}
          isRequired
          autoFocus
          isReadOnly={begun !== undefined}
        >
          <Label>Why it is safe again</Label>
          <Input maxLength={500} placeholder="What you found and mended" />
        </TextField>
        {begun && (
          <p className="muted">
            Signed by {begun.signed.length} of {begun.quorum}: {begun.signed.join(', ')}. The reason
            is the one the first signature covers.
          </p>
        )}
        {waits && (
          <p role="status">
            Your signature counts: {waits.signed.length} of {waits.quorum}. Another operator has to
            sign before it is released.
          </p>
        )}
        {blocked !== '' && <p className="muted">{blocked}</p>}
        <p className="door-error" role="alert">
          {error}
        </p>
        <div className="dialog-acts">
          <Button kind="quiet" onPress={props.onClose}>
            Cancel
          </Button>
          <Button
            kind="primary"
            icon="key"
            type="submit"
            busy={busy}
            disabled={reason.trim() === '' || blocked !== '' || waits !== undefined}
          >
            Release with passkey
          </Button>
        </div>
      </form>
    </ModalDialog>
  )
}
