import { useState } from 'react'
import type { ReactNode } from 'react'
import { Input } from 'react-aria-components/Input'
import { Label } from 'react-aria-components/Label'
import { Radio, RadioGroup } from 'react-aria-components/RadioGroup'
import { TextField } from 'react-aria-components/TextField'
import { post } from '../api/client.ts'
import { invalidate } from '../api/resource.ts'
import type { AgentInfo, QuarantineResult } from '../api/types.ts'
import { instanceName } from '../lib/format.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { Button } from '../ui/button.tsx'
import { ModalDialog } from '../ui/dialog.tsx'

/** One dialog, one reason, one press: one instance, or the whole agent. */
export function QuarantineDialog(props: {
  agent: AgentInfo
  whole: string
  subject: string
  onClose: () => void
}): ReactNode {
  const [subject, setSubject] = useState(props.subject)
  const [reason, setReason] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const [done, setDone] = useState<QuarantineResult>()

  const cut = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      setDone(await post<QuarantineResult>('/quarantine', { subject, reason: reason.trim() }))
      for (const path of ['/agents', '/quarantine', '/incidents']) invalidate(path, 0)
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(false)
    }
  }
  const close = (
    <Button
      kind={done ? 'primary' : 'quiet'}
      autoFocus={done !== undefined}
      onPress={props.onClose}
    >
      {done ? 'Close' : 'Cancel'}
    </Button>
  )
  return (
    <ModalDialog
      title={done ? 'Cut off' : `Quarantine ${props.agent.name}`}
      open
      onClose={props.onClose}
    >
      {done ? (
        <>
          <p role="status">
            {subject === props.whole
              ? `Every instance of ${props.agent.name} is cut off`
              : `${instanceName(subject)} is cut off`}
            , in revision {done.revision.epoch}.{done.revision.n}
            {done.appliedMs !== undefined && (
              <>
                ; every gateway applied it within{' '}
                <strong className="num">{Math.ceil(done.appliedMs)} ms</strong>
              </>
            )}
            .
          </p>
          <div className="dialog-acts">{close}</div>
        </>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault()
            void cut()
          }}
        >
          <p className="muted">
            Its certificate, its tokens, its open connections and its segment are cut at once.
            Releasing it takes a passkey.
          </p>
          <RadioGroup value={subject} onChange={setSubject} className="radios">
            <Label>What to cut off</Label>
            <Radio value={props.whole} className="radio">
              The whole agent, now and when it starts again
            </Radio>
            {props.agent.instances.map(({ spiffeId, quarantined }) => (
              <Radio key={spiffeId} value={spiffeId} isDisabled={quarantined} className="radio">
                Only instance {instanceName(spiffeId)}
                {quarantined ? ' (cut off already)' : ''}
              </Radio>
            ))}
          </RadioGroup>
          <TextField value={reason} onChange={setReason} isRequired autoFocus>
            <Label>Reason, for the log and for whoever comes next</Label>
            <Input maxLength={500} placeholder="What you saw" />
          </TextField>
          <p className="door-error" role="alert">
            {error}
          </p>
          <div className="dialog-acts">
            {close}
            <Button
              kind="danger"
              icon="lock"
              type="submit"
              busy={busy}
              disabled={reason.trim() === ''}
            >
              Quarantine now
            </Button>
          </div>
        </form>
      )}
    </ModalDialog>
  )
}
