import { useState } from 'react'
import type { ReactNode } from 'react'
import { Input } from 'react-aria-components/Input'
import { Label } from 'react-aria-components/Label'
import { TextField } from 'react-aria-components/TextField'
import { post } from '../api/client.ts'
import { invalidate } from '../api/resource.ts'
import type { Incident } from '../api/types.ts'
import { subjectName } from '../lib/format.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { Button } from '../ui/button.tsx'
import { ModalDialog } from '../ui/dialog.tsx'

/** Takes an alarm away, and nothing else: so it asks for the reason alone. */
export function CloseIncident(props: { incident: Incident; onClose: () => void }): ReactNode {
  const { incident, onClose } = props
  const [reason, setReason] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const close = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      await post(`/incidents/${encodeURIComponent(incident.id)}/close`, { reason: reason.trim() })
      invalidate('/incidents', 0)
      onClose()
    } catch (failure) {
      setError(passkeyFailure(failure))
      setBusy(false)
    }
  }
  return (
    <ModalDialog
      title={`${subjectName(incident.subject).name}: a false alarm`}
      open
      onClose={onClose}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void close()
        }}
      >
        <p className="muted">
          Its risk and its signals stay as they are, and the next alarm opens another incident.
          Nothing was cut off, so nothing is given back.
        </p>
        <TextField value={reason} onChange={setReason} isRequired autoFocus>
          <Label>Why it was none, for the log and for whoever comes next</Label>
          <Input maxLength={500} placeholder="What you found" />
        </TextField>
        <p className="door-error" role="alert">
          {error}
        </p>
        <div className="dialog-acts">
          <Button kind="quiet" onPress={onClose}>
            Cancel
          </Button>
          <Button kind="primary" type="submit" busy={busy} disabled={reason.trim() === ''}>
            Close it
          </Button>
        </div>
      </form>
    </ModalDialog>
  )
}
