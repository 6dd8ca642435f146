import { useState } from 'react'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import type { Asked, BackchannelStatement } from '../api/asked-types.ts'
import { post } from '../api/client.ts'
import { invalidate, useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import { checkAsked } from '../lib/ceremony.ts'
import { duration, instanceName } from '../lib/format.ts'
import { readMoney } from '../lib/money.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { signStatement } from '../lib/sign.ts'
import { visible } from '../lib/visible.ts'
import { Button } from '../ui/button.tsx'
import { Countdown, Facts, Panel } from '../ui/parts.tsx'

/** Agents that ask whoever is signed in to act for them; nothing where none does. */
export function AskedPanel(): ReactNode {
  const { data } = useResource<readonly Asked[]>('/backchannel')
  const waiting = (data ?? [])
    .filter(({ status }) => status === 'pending')
    .toSorted((a, b) => a.statement.expiresAt - b.statement.expiresAt)
  if (waiting.length === 0) return null
  return (
    <Panel title="Agents ask to act for you">
      {waiting.map((asked) => (
        <AskedBox key={asked.id} asked={asked} />
      ))}
    </Panel>
  )
}

function AskedBox({ asked }: { asked: Asked }): ReactNode {
  const { operator } = useSession()
  const [busy, setBusy] = useState<'allow' | 'refuse'>()
  const [error, setError] = useState('')
  const { statement } = asked
  const path = `/backchannel/${encodeURIComponent(asked.id)}`

  const decide = async (decision: 'allow' | 'refuse'): Promise<void> => {
    setBusy(decision)
    setError('')
    try {
      if (decision === 'refuse') await post(`${path}/refuse`)
      else {
        await signStatement<BackchannelStatement, unknown>(
          { options: `${path}/options`, submit: `${path}/allow` },
          {},
          (offered) => checkAsked(asked, operator?.name ?? '', offered),
        )
      }
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(undefined)
      invalidate('/backchannel', 0)
    }
  }
  return (
    <section aria-label={`${asked.agent} asks to act for you`}>
      <Facts
        rows={[
          [
            'Agent',
            <Link key="a" href={`/agents/${asked.agent}`}>
              {asked.agent} {instanceName(statement.client)}
            </Link>,
          ],
          ['It says', <q key="m">{visible(statement.message)}</q>],
          ['At', `${visible(asked.system)}: ${visible(asked.systemDescription)}`],
          [
            'May',
            asked.operations
              .map(({ name, description }) => `${visible(name)} (${visible(description)})`)
              .join(' · '),
          ],
          ['May pay', paymentsOf(statement)],
          [
            'For how long',
            statement.refreshSeconds > 0
              ? `${duration(statement.refreshSeconds * 1000)}, without asking again; it ends when you sign out here`
              : 'five minutes at most, once',
          ],
          [
            'Time left',
            <Countdown
              key="t"
              at={statement.expiresAt}
              of={statement.expiresAt - asked.requestedAt}
              done="expired"
            />,
          ],
        ]}
      />
      <div className="decide-acts">
        <Button
          kind="primary"
          icon="key"
          disabled={busy === 'refuse'}
          busy={busy === 'allow'}
          onPress={() => void decide('allow')}
        >
          Allow with passkey
        </Button>
        <Button
          kind="danger"
          icon="deny"
          disabled={busy === 'allow'}
          busy={busy === 'refuse'}
          onPress={() => void decide('refuse')}
        >
          Refuse
        </Button>
      </div>
      <p className="door-error" role="alert">
        {error}
      </p>
    </section>
  )
}

function paymentsOf({ details }: BackchannelStatement): string {
  if (details.length === 0) return 'as its policies allow; it names no payment'
  return details
    .map(({ amount, currency, creditor, operations }) => {
      const money = readMoney(amount, currency) ?? `${amount} minor units of ${visible(currency)}`
      return `${money} at most in one call to ${visible(creditor)}, by ${operations.map(visible).join(', ')}`
    })
    .join(' · ')
}
