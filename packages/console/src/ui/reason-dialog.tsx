import { useState } from 'react'
import type { ReactNode } from 'react'
import { Input } from 'react-aria-components/Input'
import { Label } from 'react-aria-components/Label'
import { TextField } from 'react-aria-components/TextField'
import { passkeyFailure } from '../lib/passkey.ts'
import { Button } from './button.tsx'
import { ModalDialog } from './dialog.tsx'

/** One act that takes a reason and nothing else. */
export function ReasonDialog(props: {
  title: string
  text: string
  label: string
  placeholder: string
  button: string
  danger?: boolean
  act: (reason: string) => Promise<unknown>
  onClose: () => void
}): ReactNode {
  const { title, text, label, placeholder, button, danger = false, act, onClose } = props
  const [reason, setReason] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const go = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      await act(reason.trim())
      onClose()
    } catch (failure) {
      setError(passkeyFailure(failure))
      setBusy(false)
    }
  }
  return (
    <ModalDialog title={title} open onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void go()
        }}
      >
        <p className="muted">{text}</p>
        <TextField value={reason} onChange={setReason} isRequired autoFocus>
          <Label>{label}</Label>
          <Input maxLength={500} placeholder={placeholder} />
        </TextField>
        <p className="door-error" role="alert">
          {error}
        </p>
        <div className="dialog-acts">
          <Button kind="quiet" onPress={onClose}>
            Cancel
          </Button>
          <Button
            kind={danger ? 'danger' : 'primary'}
            type="submit"
            busy={busy}
            disabled={reason.trim() === ''}
          >
            {button}
          </Button>
        </div>
      </form>
    </ModalDialog>
  )
}
