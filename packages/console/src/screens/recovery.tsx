import { useState } from 'react'
import type { ReactNode } from 'react'
import { Input } from 'react-aria-components/Input'
import { Label } from 'react-aria-components/Label'
import { TextField } from 'react-aria-components/TextField'
import { invalidate, useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { Recovery } from '../api/types.ts'
import { whyNotConfirm } from '../lib/may.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { withPasskey } from '../lib/presence.ts'
import { Button } from '../ui/button.tsx'
import { Countdown, Failure, Panel } from '../ui/parts.tsx'

/** A second operator's word for somebody whose passkey is not at hand. */
export function RecoveryPanel(): ReactNode {
  const { data, error, reload } = useResource<readonly Recovery[]>('/recoveries')
  const [operator, setOperator] = useState('')
  const [busy, setBusy] = useState(false)
  const [failed, setFailed] = useState('')
  const why = whyNotConfirm(useSession(), operator.trim())
  const confirm = async (): Promise<void> => {
    setBusy(true)
    setFailed('')
    try {
      const paths = { options: '/recoveries/options', submit: '/recoveries/confirm' }
      await withPasskey(paths, { operator: operator.trim() })
      setOperator('')
      invalidate('/recoveries', 0)
    } catch (failure) {
      setFailed(passkeyFailure(failure))
    } finally {
      setBusy(false)
    }
  }
  return (
    <Panel title="Let somebody sign in by a code">
      {error && <Failure error={error} retry={reload} />}
      <p className="panel-text muted">
        For an operator whose passkey is not at hand. Make sure that it is they: speak with them.
        The code then opens one session, soon, to read and to contain.
      </p>
      {data?.map((one) => (
        <p key={one.operator} className="panel-text" role="status">
          {one.confirmedBy} has confirmed {one.operator}:{' '}
          <Countdown at={one.expiresAt} done="over" /> left.
        </p>
      ))}
      <form
        className="inline-form"
        onSubmit={(event) => {
          event.preventDefault()
          void confirm()
        }}
      >
        <TextField value={operator} onChange={setOperator} isRequired>
          <Label>Operator name</Label>
          <Input autoCapitalize="none" spellCheck={false} maxLength={63} />
        </TextField>
        <Button
          kind="primary"
          icon="key"
          type="submit"
          busy={busy}
          disabled={operator.trim() === '' || why !== ''}
        >
          Confirm with passkey
        </Button>
        <span className="muted">{why}</span>
      </form>
      <p className="door-error" role="alert">
        {failed}
      </p>
    </Panel>
  )
}
