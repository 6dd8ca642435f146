import { useState } from 'react'
import type { ReactNode } from 'react'
import { invalidate } from '../api/resource.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { Button } from '../ui/button.tsx'
import { ModalDialog } from '../ui/dialog.tsx'

/** What is about to happen to what signs identities, before it does. Cancelling is what Enter does at first. */
export function ConfirmAct(props: {
  title: string
  button: string
  text: readonly string[]
  children?: ReactNode
  danger?: boolean
  act: () => Promise<unknown>
  onClose: () => void
}): ReactNode {
  const { title, button, text, children, danger = false, act, onClose } = props
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const go = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      await act()
      for (const path of ['/ca', '/register']) invalidate(path, 0)
      onClose()
    } catch (failure) {
      setError(passkeyFailure(failure))
      setBusy(false)
    }
  }
  return (
    <ModalDialog title={title} open onClose={onClose}>
      {text.map((sentence) => (
        <p key={sentence} className="dialog-text">
          {sentence}
        </p>
      ))}
      {children}
      <p className="door-error" role="alert">
        {error}
      </p>
      <div className="dialog-acts">
        <Button kind="quiet" autoFocus onPress={onClose}>
          Cancel
        </Button>
        <Button
          kind={danger ? 'danger' : 'primary'}
          icon="key"
          busy={busy}
          onPress={() => void go()}
        >
          {button}
        </Button>
      </div>
    </ModalDialog>
  )
}
