import type { ReactNode } from 'react'
import { Link } from 'wouter'
import type { Approval, ApprovalStatus } from '../api/types.ts'
import { instanceName } from '../lib/format.ts'
import { moneyOf } from '../lib/money.ts'
import { visible } from '../lib/visible.ts'
import { Badge } from '../ui/badge.tsx'
import type { Tone } from '../ui/badge.tsx'
import type { IconName } from '../ui/icon.tsx'
import { Ago, Countdown } from '../ui/parts.tsx'

const STATUS: Readonly<Record<ApprovalStatus, readonly [string, Tone, IconName]>> = {
  pending: ['Waiting', 'needs', 'needs'],
  approved: ['Approved', 'allow', 'allow'],
  used: ['Approved, used', 'allow', 'allow'],
  denied: ['Denied', 'deny', 'deny'],
  expired: ['Expired', 'neutral', 'absent'],
}

export function ApprovalStatusBadge({ status }: { status: ApprovalStatus }): ReactNode {
  const [word, tone, icon] = STATUS[status]
  return (
    <Badge tone={tone} icon={icon}>
      {word}
    </Badge>
  )
}

/** One request in a list. */
export function ApprovalLine({ approval }: { approval: Approval }): ReactNode {
  return (
    <Link href={`/approvals/${approval.id}`} className="approval-line">
      <ApprovalStatusBadge status={approval.status} />
      <span className="approval-what">
        <span className="call">
          {approval.system}.<b>{approval.operation}</b>
        </span>
        <span className="approval-args">{summary(approval)}</span>
      </span>
      <span className="approval-who muted">
        {approval.agent}{' '}
        <span className="approval-instance">{instanceName(approval.instance)}</span>
      </span>
      <span className="approval-when muted">
        {approval.status === 'pending' ? (
          <>
            expires in{' '}
            <Countdown
              at={approval.expiresAt}
              of={approval.expiresAt - approval.requestedAt}
              done="expired"
            />
          </>
        ) : (
          <Ago at={approval.requestedAt} />
        )}
      </span>
    </Link>
  )
}

/** The first arguments on one line; the whole of them stands on the request's own page. */
function summary({ input, wholeNumbers }: Approval): string {
  if (typeof input !== 'object' || input === null) return String(input)
  return Object.entries(input)
    .map(([name, value]) => {
      const amount = moneyOf(name, input, wholeNumbers)
      const reading = amount === undefined ? '' : ` (${amount})`
      return `${name}: ${typeof value === 'object' ? '…' : visible(String(value))}${reading}`
    })
    .join(' · ')
}
