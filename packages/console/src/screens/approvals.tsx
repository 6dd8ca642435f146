import type { ReactNode } from 'react'
import { useResource } from '../api/resource.ts'
import type { Approval } from '../api/types.ts'
import { Page } from '../ui/page.tsx'
import { Empty, Failure, Panel, Skeleton } from '../ui/parts.tsx'
import { AskedPanel } from './asked.tsx'
import { ApprovalLine } from './approval-line.tsx'

/** The inbox: what waits for a person, soonest to expire first, then what is settled. */
export function Approvals(): ReactNode {
  const { data, error, reload } = useResource<readonly Approval[]>('/approvals')
  const waiting = data
    ?.filter(({ status }) => status === 'pending')
    .toSorted((a, b) => a.expiresAt - b.expiresAt)
  const settled = data
    ?.filter(({ status }) => status !== 'pending')
    .toSorted((a, b) => b.requestedAt - a.requestedAt)
  return (
    <Page
      title="Approvals"
      lead="Calls that policy allows only with a person’s signature over their exact arguments."
    >
      {error && <Failure error={error} retry={reload} />}
      <AskedPanel />
      <Panel title="Waiting for a person">
        {!waiting && !error && <Skeleton lines={3} what="Loading approvals" />}
        {waiting?.length === 0 && (
          <Empty title="Nothing waits for you">
            <p>
              When an agent makes a call that needs approval, it appears here at once with its
              arguments and the time it has left. Nothing is approved by default: what nobody signs,
              expires.
            </p>
          </Empty>
        )}
        {waiting?.map((approval) => (
          <ApprovalLine key={approval.id} approval={approval} />
        ))}
      </Panel>
      {settled && settled.length > 0 && (
        <Panel title="Settled">
          {settled.map((approval) => (
            <ApprovalLine key={approval.id} approval={approval} />
          ))}
        </Panel>
      )}
    </Page>
  )
}
