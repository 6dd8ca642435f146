import { useState } from 'react'
import type { ReactNode } from 'react'
import { Button } from 'react-aria-components/Button'
import { Menu, MenuItem, MenuTrigger } from 'react-aria-components/Menu'
import { Popover } from 'react-aria-components/Popover'
import { post } from '../api/client.ts'
import { useLive } from '../api/live.ts'
import { stopReading, useResource } from '../api/resource.ts'
import { loadSession, useSession } from '../api/session.ts'
import type { NetworkInfo } from '../api/types.ts'
import { Badge } from '../ui/badge.tsx'
import { Icon } from '../ui/icon.tsx'
import { Countup } from './countup.tsx'
import { TotpDialog } from './totp-dialog.tsx'
import { ThemeToggle } from './theme-toggle.tsx'

/** Which network, which revision, how fresh, and who is looking. */
export function Header(): ReactNode {
  const { data } = useResource<NetworkInfo>('/network')
  return (
    <header className="header">
      <div className="header-net">
        <strong className="header-name">{data?.network.name ?? '\u00a0'}</strong>
        {data && (
          <>
            <span
              className="revision num"
              title={`Revision ${data.revision.n} of epoch ${data.revision.epoch}; declaration ${data.digest.slice(0, 16)}…`}
            >
              rev {data.revision.epoch}.{data.revision.n}
            </span>
            {data.quorum === 1 && (
              <Badge
                tone="needs"
                icon="person"
                title="One operator's signature is enough for a widening change of this network."
              >
                quorum 1: single operator
              </Badge>
            )}
          </>
        )}
      </div>
      <div className="header-side">
        <Connection />
        <ThemeToggle />
        <OperatorMenu />
      </div>
    </header>
  )
}

const CONNECTION = {
  connecting: { word: 'Connecting', tone: 'needs' },
  live: { word: 'Live', tone: 'allow' },
  reconnecting: { word: 'Reconnecting', tone: 'deny' },
  off: { word: 'Offline', tone: 'deny' },
} as const

/** Whether what is on the page is what is happening. */
function Connection(): ReactNode {
  const connection = useLive((state) => state.connection)
  const since = useLive((state) => state.since)
  const { word, tone } = CONNECTION[connection]
  return (
    <span className={`connection tone-${tone}`} data-connection={connection}>
      <span className="connection-dot" aria-hidden="true" />
      <span role="status">{word}</span>
      {connection === 'reconnecting' && <Countup since={since} />}
    </span>
  )
}

function OperatorMenu(): ReactNode {
  const { operator, method } = useSession()
  const [codes, setCodes] = useState(false)
  if (!operator) return null
  const signOut = async (): Promise<void> => {
    stopReading()
    await post('/auth/logout').catch(() => undefined)
    await loadSession()
  }
  return (
    <>
      <MenuTrigger>
        <Button className="operator" aria-label={`Operator ${operator.displayName}`}>
          <Icon name="person" />
          <span>{operator.displayName}</span>
          <Icon name="down" size={12} />
        </Button>
        <Popover className="popover" placement="bottom end">
          <div className="popover-head">
            <strong>{operator.displayName}</strong>
            <span className="muted">
              {operator.name} · {operator.roles.join(', ')}
            </span>
            {method !== 'passkey' && (
              <span className="muted">
                Signed in {method === 'oidc' ? 'at an identity provider' : 'with a code'}: may read
                and contain, not approve.
              </span>
            )}
          </div>
          <Menu
            className="menu"
            onAction={(key) => (key === 'codes' ? setCodes(true) : void signOut())}
            aria-label="Operator"
          >
            {method === 'passkey' && (
              <MenuItem id="codes" className="menu-item">
                Set up one-time codes
              </MenuItem>
            )}
            <MenuItem id="sign-out" className="menu-item">
              Sign out
            </MenuItem>
          </Menu>
        </Popover>
      </MenuTrigger>
      {codes && <TotpDialog onClose={() => setCodes(false)} />}
    </>
  )
}
