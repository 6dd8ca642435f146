import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { useResource } from '../api/resource.ts'
import type { BreakGlass } from '../api/types.ts'
import { Icon } from '../ui/icon.tsx'
import { Countdown } from '../ui/parts.tsx'

/** Whoever broke the glass is seen by everybody, on every screen, until somebody else has reviewed it in time. */
export function GlassBanner(): ReactNode {
  const { data } = useResource<readonly BreakGlass[]>('/break-glass')
  const shown = data?.filter(({ open, overdue }) => open || overdue) ?? []
  if (shown.length === 0) return null
  return (
    <div className="glass-banner" role="status">
      {shown.map((one) => (
        <p key={one.id}>
          <Icon name="broken" />
          <span>
            <strong>{one.operator}</strong>{' '}
            {one.open ? (
              <>
                broke the glass and is {one.roles.join(', ')} for{' '}
                <Countdown at={one.endsAt} done="no longer" />: {one.reason}
              </>
            ) : (
              'broke the glass, and the review by somebody else is overdue.'
            )}
          </span>
          <Link href="/sessions">Look at it</Link>
        </p>
      ))}
    </div>
  )
}
