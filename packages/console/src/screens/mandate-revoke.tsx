import { useState } from 'react'
import type { ReactNode } from 'react'
import { Input } from 'react-aria-components/Input'
import { Label } from 'react-aria-components/Label'
import { TextField } from 'react-aria-components/TextField'
import { post } from '../api/client.ts'
import { invalidate } from '../api/resource.ts'
import type { MandateView } from '../api/mandate-types.ts'
import { count, plural } from '../lib/format.ts'
import { LISTED } from '../lib/held.ts'
import { fallsWith } from '../lib/mandate-tree.ts'
import { partyName } from '../lib/mandate-words.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { visible } from '../lib/visible.ts'
import { Button } from '../ui/button.tsx'
import { ModalDialog } from '../ui/dialog.tsx'

interface Revoked {
  readonly revision: { readonly epoch: number; readonly n: number }
  readonly appliedMs?: number
}

/** Shows what ends with it before anything ends. */
export function RevokeDialog(props: {
  mandate: MandateView
  /** Every one that is held; undefined where they could not be read. */
  mandates: readonly MandateView[] | undefined
  onClose: () => void
}): ReactNode {
  const { mandate, mandates, onClose } = props
  // As it was when the dialog opened: what is read while it is open must not change under the press.
  const [held] = useState(mandates)
  const falls = fallsWith(mandate.id, held ?? [])
  const [reason, setReason] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const [done, setDone] = useState<Revoked>()

  const revoke = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      const path = `/mandates/${encodeURIComponent(mandate.id)}/revoke`
      setDone(await post<Revoked>(path, { reason: reason.trim() }))
      invalidate('/mandates', 0)
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(false)
    }
  }
  return (
    <ModalDialog title={done ? 'Ended' : 'End this mandate'} open onClose={onClose}>
      {done ? (
        <>
          <p role="status">
            It is over, and everything below it, in revision {done.revision.epoch}.{done.revision.n}
            {done.appliedMs !== undefined && (
              <>
                ; every gateway applied it within{' '}
                <strong className="num">{Math.ceil(done.appliedMs)} ms</strong>
              </>
            )}
            .
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
            void revoke()
          }}
        >
          <p className="wrap">
            <strong>{visible(mandate.statement.task)}</strong>, from{' '}
            {partyName(mandate.statement.delegator)} to {partyName(mandate.statement.delegate)}.
          </p>
          {held === undefined && (
            <p className="muted">What was passed on of it could not be read. All of it ends too.</p>
          )}
          {held !== undefined && falls.length === 0 && (
            <p className="muted">Nothing that was passed on of it is in force here.</p>
          )}
          {falls.length > 0 && (
            <div>
              <p>
                <strong>
                  {(held?.length ?? 0) >= LISTED && 'At least '}
                  {plural(falls.length, 'mandate')} below it {falls.length === 1 ? 'ends' : 'end'}{' '}
                  with it:
                </strong>
              </p>
              {/* A long list scrolls, so the keyboard must be able to. */}
              {/* oxlint-disable jsx-a11y/no-noninteractive-tabindex */}
              <ul className="falls" tabIndex={0} aria-label="What ends with it">
                {falls.map(({ id, chain, statement }) => (
                  <li key={id} className="wrap">
                    {visible(statement.task)}{' '}
                    <span className="muted">
                      from {partyName(statement.delegator)} to {partyName(statement.delegate)}, step{' '}
                      {count(chain.length)}
                    </span>
                  </li>
                ))}
              </ul>
              {/* oxlint-enable jsx-a11y/no-noninteractive-tabindex */}
            </div>
          )}
          <p className="muted">
            What was passed on without being registered here ends as well. It cannot be undone: give
            a new one instead.
          </p>
          <TextField value={reason} onChange={setReason} isRequired autoFocus>
            <Label>Reason, for the log and for whoever comes next</Label>
            <Input maxLength={500} placeholder="What changed" />
          </TextField>
          <p className="door-error" role="alert">
            {error}
          </p>
          <div className="dialog-acts">
            <Button kind="quiet" onPress={onClose}>
              Cancel
            </Button>
            <Button
              kind="danger"
              icon="close"
              type="submit"
              busy={busy}
              disabled={reason.trim() === ''}
            >
              {falls.length === 0 ? 'End it now' : `End it and ${count(falls.length)} below`}
            </Button>
          </div>
        </form>
      )}
    </ModalDialog>
  )
}
